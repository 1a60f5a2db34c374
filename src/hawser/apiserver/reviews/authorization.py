"""May I, may they: the reviews of authorization.k8s.io. SelfSubjectAccessReview is ``kubectl auth can-i``."""

from __future__ import annotations

from typing import Any

from hawser.api.errors import APIError, FieldError, bad_request, invalid
from hawser.api.types import Obj
from hawser.apiserver.authorization import base
from hawser.apiserver.authorization.access import Access
from hawser.apiserver.authorization.base import Attributes, Term
from hawser.apiserver.authorization.node import node_of
from hawser.apiserver.authorization.rbac import aggregated
from hawser.apiserver.identity import User
from hawser.apiserver.paths import Target
from hawser.apiserver.reviews import access_validation as validation

_GROUP = "authorization.k8s.io"
_NO_RULES = "node authorizer does not support user rule resolution"


class AuthorizationReviews:
    """Answers them; every method fills in a posted review's status."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def self_subject_access(self, review: Obj, target: Target, user: User) -> None:
        """Whether the asker may. APIError 422."""
        spec = review.get("spec") or {}
        _refuse("SelfSubjectAccessReview", validation.self_subject(review))
        review["status"] = self._status(user, spec)

    async def subject_access(self, review: Obj, target: Target, user: User) -> None:
        """Whether somebody may. APIError 422."""
        spec = review.get("spec") or {}
        _refuse("SubjectAccessReview", validation.subject(review))
        review["status"] = self._status(_subject(spec), spec)

    async def local_subject_access(self, review: Obj, target: Target, user: User) -> None:
        """Whether somebody may do something in one namespace. APIError 400, 422."""
        spec = review.get("spec") or {}
        # The namespace of the path is the object's, as everywhere.
        metadata = review.get("metadata") or {}
        given = metadata.setdefault("namespace", target.namespace)
        review["metadata"] = metadata
        if given != target.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        _refuse("LocalSubjectAccessReview", validation.local_subject(review))
        review["status"] = self._status(_subject(spec), spec)

    async def self_subject_rules(self, review: Obj, target: Target, user: User) -> None:
        """What the asker may do in a namespace. APIError 400."""
        namespace = (review.get("spec") or {}).get("namespace") or ""
        if not namespace:
            raise bad_request("no namespace on request")
        rules, problems = self._access.policy.rules(user, namespace)
        errors = [_NO_RULES] if node_of(user) is not None else []
        errors += [aggregated(problems)] if problems else []
        status: Obj = {
            "resourceRules": [
                _picked(rule, "verbs", "apiGroups", "resources", "resourceNames")
                for rule in rules
                if rule.get("resources")
            ],
            "nonResourceRules": [
                _picked(rule, "verbs", "nonResourceURLs") for rule in rules if rule.get("nonResourceURLs")
            ],
            "incomplete": bool(errors),
        }
        if errors:
            status["evaluationError"] = aggregated(errors)
        review["status"] = status

    def _status(self, user: User, spec: Obj) -> Obj:
        request, problems = _attributes(spec)
        decision = self._access.authorizer.allows(user, request)
        status: Obj = {"allowed": decision.allowed}
        if decision.reason:
            status["reason"] = decision.reason
        if problems:
            status["evaluationError"] = aggregated(problems)
        return status


def _refuse(kind: str, errors: list[FieldError]) -> None:
    if errors:
        raise invalid(_GROUP, kind, "", errors)


def _picked(rule: Obj, *fields: str) -> Obj:
    return {field: rule[field] for field in fields if rule.get(field)}


def _subject(spec: Obj) -> User:
    extra = {key.lower(): tuple(values or ()) for key, values in (spec.get("extra") or {}).items()}
    return User(
        spec.get("user") or "", spec.get("uid") or "", tuple(spec.get("groups") or ()), tuple(sorted(extra.items()))
    )


def _attributes(spec: Obj) -> tuple[Attributes, list[str]]:
    """What is asked, and what of its selectors cannot be understood."""
    path = spec.get("nonResourceAttributes")
    if path is not None:
        return Attributes(path.get("verb", ""), path=path.get("path", "")), []
    asked = spec["resourceAttributes"]
    request = Attributes("")
    for field in ("verb", "group", "resource", "subresource", "namespace", "name"):
        setattr(request, field, asked.get(field) or "")
    fields, bad_fields = _terms(asked.get("fieldSelector"), base.field_terms, ("In", "NotIn"))
    labels, bad_labels = _terms(asked.get("labelSelector"), base.label_terms, _LABEL_OPERATORS)
    request.fields, request.labels = fields, labels
    return request, bad_fields + bad_labels


_LABEL_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def _terms(selector: Obj | None, read: Any, operators: tuple[str, ...]) -> tuple[tuple[Term, ...], list[str]]:
    if not selector:
        return (), []
    if text := selector.get("rawSelector"):
        try:
            return read(text), []
        except APIError as error:
            return (), [error.message]
    found, problems = [], []
    for one in selector.get("requirements") or ():
        key, operator, values = one.get("key", ""), one.get("operator", ""), tuple(one.get("values") or ())
        if operator in operators and (operators == _LABEL_OPERATORS or len(values) == 1):
            found.append(Term(key, operator, values))
        else:
            problems.append(f"unsupported requirement: {key} {operator} {list(values)}")
    return tuple(found), problems
