"""What CEL expressions of admission see of a request: object, oldObject, request, namespaceObject, authorizer.

Source: Kubernetes documentation, "Validating Admission Policy" and "Dynamic Admission Control" (matchConditions).
Everything is made when an expression first refers to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from hawser.api.cel.library.authorizer import Check
from hawser.api.cel.program import Program
from hawser.api.cel.request_types import NAMESPACE, VARIABLES
from hawser.api.cel.schemas import converted
from hawser.api.errors import APIError
from hawser.api.kind import Kind
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Request
from hawser.apiserver.admission.deliberation import Deliberation, Result
from hawser.apiserver.admission.webhooks import review
from hawser.apiserver.authorization.base import Attributes, Decision, field_terms, label_terms
from hawser.apiserver.identity import User

Allows = Callable[[User, Attributes], Decision]
_T = TypeVar("_T")
_NAMESPACE_FIELDS = frozenset(field.name for field in NAMESPACE.shape.fields["metadata"].type.shape.fields.values())


class Input:
    """The variables of one request.

    kind: the version that the policy or webhook wants to see; obj and old are in it. namespace: the committed object
    of the request's namespace, or None. allows: the server's authorizer; None when there is none to ask.
    """

    __slots__ = ("_allows", "_kind", "_known", "_namespace", "_new", "_old", "_request", "deliberation")

    def __init__(
        self,
        request: Request,
        kind: Kind,
        obj: Obj | None,
        old: Obj | None,
        namespace: Callable[[], Obj | None],
        allows: Allows | None = None,
    ) -> None:
        self._request = request
        self._kind = kind
        self._new = obj
        self._old = old
        self._namespace = namespace
        self._allows = allows
        self._known: dict[str, Any] = {}
        self.deliberation: Deliberation | None = None
        """Set where expressions may be given up and tried again."""

    def attempt(self, program: Program, values: Sequence[Any], limit: int, more: object = None) -> Result:
        """What a program says of the request. more: what it depends on beside that. LaboriousError."""
        if self.deliberation is None:
            return program.attempt(values, limit)
        return self.deliberation.attempt(program, values, limit, (self._new, self._old, more))

    def values(self, used: frozenset[str]) -> list[Any]:
        """The values of the variables, in the order of VARIABLES; None of those that are not used."""
        return [self.value(name) if name in used else None for name in VARIABLES]

    def value(self, name: str) -> Any:
        """One of them."""
        if name not in self._known:
            self._known[name] = _MAKERS[name](self)
        return self._known[name]

    def _admission_request(self) -> Obj:
        asked: Obj = review.build("v1", "", self._request, self._kind, None, None)["request"]
        for field in ("uid", "object", "oldObject"):
            asked.pop(field, None)
        if asked.get("options") is None:
            asked.pop("options", None)
        return asked

    def _namespace_object(self) -> Any:
        found = self._looked_up(self._namespace)
        if found is None:
            return None
        meta = {k: v for k, v in (found.get("metadata") or {}).items() if k in _NAMESPACE_FIELDS}
        shown = {"metadata": meta, "spec": found.get("spec") or {}, "status": found.get("status") or {}}
        return converted(NAMESPACE, shown)

    def _looked_up(self, call: Callable[[], _T]) -> _T:
        return call() if self.deliberation is None else self.deliberation.looked_up(call)

    def _authorizer(self) -> Check:
        return Check(self._decide)

    def _request_resource(self) -> Check:
        request = self._request
        found = Check(self._decide).to("kubernetes.authorization.GroupCheck", group=self._request.kind.group)
        found = found.to("kubernetes.authorization.ResourceCheck", resource=request.kind.plural)
        given = {"subresource": request.subresource, "namespace": request.namespace, "name": request.name}
        return found.to(found.type_name, **{key: value for key, value in given.items() if value})

    def _decide(self, user: str, attributes: Mapping[str, Any]) -> tuple[bool, str]:
        allows = self._allows
        if allows is None:
            raise RuntimeError("no authorizer is configured")
        who = _account(user) if user else self._request.user
        asked = Attributes("")
        for name in _ATTRIBUTES:
            setattr(asked, name, str(attributes.get(name, "")))
        try:
            asked.fields = field_terms(str(attributes.get("fieldSelector", "")))
            asked.labels = label_terms(str(attributes.get("labelSelector", "")))
        except APIError:
            # What cannot be read limits nothing: the question is about everything then.
            asked.fields = asked.labels = ()
        decision = self._looked_up(lambda: allows(who, asked))
        return decision.allowed, decision.reason


_ATTRIBUTES = ("verb", "group", "resource", "subresource", "namespace", "name", "path")


def _account(name: str) -> User:
    namespace = name.split(":")[2]
    return User(name, groups=("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"))


_MAKERS: dict[str, Callable[[Input], Any]] = {
    "object": lambda one: one._new,
    "oldObject": lambda one: one._old,
    "namespaceObject": Input._namespace_object,
    "request": Input._admission_request,
    "authorizer": Input._authorizer,
    "authorizer.requestResource": Input._request_resource,
}
