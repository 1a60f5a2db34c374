"""The question and the answer of authorization, and what of a request is asked about.

Source: Kubernetes documentation, "Authorization" (request attributes, field and label selectors among them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from hawser.api.errors import APIError
from hawser.api.field_selectors import FieldSelector
from hawser.api.selectors import LabelSelector, Operator
from hawser.apiserver.identity import User
from hawser.apiserver.paths import Target

MASTERS = "system:masters"
"""Members of this group may do everything, whatever the policy says."""

_SESSIONS = ("attach", "exec", "portforward")
_SELECTED = ("list", "watch", "deletecollection")


class Term(NamedTuple):
    """One requirement of a selector. operator: In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(slots=True)
class Attributes:
    """One question to the authorizer; resource is empty for paths that are not resources.

    fields, labels: what a list, watch or deletion of a collection is limited to.
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    fields: tuple[Term, ...] = ()
    labels: tuple[Term, ...] = ()

    @property
    def combined(self) -> str:
        """``resource`` or ``resource/subresource``."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. reason: why, or what stood in the way; may be empty.

    lasting: it holds for objects of any name, until the policy changes.
    """

    allowed: bool
    reason: str = ""
    lasting: bool = field(default=False, compare=False)

    def __bool__(self) -> bool:
        return self.allowed


NO_OPINION = Decision(False)
MASTER = Decision(True, lasting=True)


class Authorizer(Protocol):
    """Decides requests."""

    def allows(self, user: User, request: Attributes) -> Decision:
        """Whether the user may do this, and why."""
        ...


class Union:
    """Asks one authorizer after the other; the first that allows decides. system:masters need not ask."""

    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)

    def allows(self, user: User, request: Attributes) -> Decision:
        """Whether any of them allows it; the reasons of those that do not are joined."""
        if MASTERS in user.groups:
            return MASTER
        reasons = []
        for authorizer in self._authorizers:
            decision = authorizer.allows(user, request)
            if decision.allowed:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(False, "\n".join(reasons)) if reasons else NO_OPINION


def enforce(authorizer: Authorizer, user: User, target: Target) -> bool:
    """APIError 403 in Kubernetes' words unless the user may; whether that answer is lasting."""
    if MASTERS in user.groups:
        return True
    request = attributes(target)
    decision = authorizer.allows(user, request)
    if decision.allowed and request.verb == "get" and request.subresource in _SESSIONS and request.resource == "pods":
        # A WebSocket begins with GET, but a session in a pod is no reading (v1.35 on).
        request.verb = "create"
        decision = authorizer.allows(user, request)
    if not decision.allowed:
        raise denied(user, request, decision.reason)
    return decision.lasting and target.subresource not in _SESSIONS


def attributes(target: Target) -> Attributes:
    """What a request asks for. A list of one object by its name asks for that object."""
    request = Attributes(
        target.verb,
        target.group,
        target.resource,
        target.subresource,
        target.namespace,
        target.name,
        target.path,
    )
    if target.query and target.verb in _SELECTED:
        _select(request, target.query)
    return request


def _select(request: Attributes, query: dict[str, str]) -> None:
    """Selectors that cannot be read are left out here; who serves the request refuses them."""
    try:
        if text := query.get("fieldSelector"):
            request.fields = field_terms(text)
        if text := query.get("labelSelector"):
            request.labels = label_terms(text)
    except APIError:
        pass
    if not request.name:
        for key, operator, values in request.fields:
            if key == "metadata.name" and operator == "In":
                request.name = values[0]


def field_terms(text: str) -> tuple[Term, ...]:
    """The requirements of a field selector. APIError 400."""
    found = FieldSelector.parse(text).requirements
    return tuple(Term(one.path, "NotIn" if one.negated else "In", (one.value,)) for one in found)


_OPERATORS = {
    Operator.EXISTS: "Exists",
    Operator.DOES_NOT_EXIST: "DoesNotExist",
    Operator.IN: "In",
    Operator.EQUALS: "In",
    Operator.DOUBLE_EQUALS: "In",
    Operator.NOT_IN: "NotIn",
    Operator.NOT_EQUALS: "NotIn",
}


def label_terms(text: str) -> tuple[Term, ...]:
    """The requirements of a label selector; those that compare numbers are left out. APIError 400."""
    found = LabelSelector.parse(text).requirements
    return tuple(Term(one.key, _OPERATORS[one.operator], one.values) for one in found if one.operator in _OPERATORS)


def denied(user: User, request: Attributes, reason: str = "") -> APIError:
    """The 403 of an authorizer's no."""
    tail = f": {reason}" if reason else ""
    who = f'User "{user.name}" cannot {request.verb}'
    if not request.resource:
        return APIError(403, "Forbidden", f'forbidden: {who} path "{request.path}"{tail}', details={})
    kind = f"{request.resource}.{request.group}" if request.group else request.resource
    subject = f'{kind} "{request.name}"' if request.name else kind
    scope = f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
    details = {"name": request.name, "group": request.group, "kind": request.resource}
    return APIError(
        403,
        "Forbidden",
        f'{subject} is forbidden: {who} resource "{request.combined}" in API group "{request.group}" {scope}{tail}',
        details={key: value for key, value in details.items() if value},
    )
