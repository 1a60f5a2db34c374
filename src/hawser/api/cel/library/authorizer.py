"""Authorization checks in expressions: declarations only, the decisions are those of whoever binds ``authorizer``.

Source: Kubernetes documentation, "Kubernetes authorizer library".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from hawser.api.cel.declarations import Overload, method
from hawser.api.cel.values import Opaque

AUTHORIZER = "kubernetes.authorization.Authorizer"
_PATH = "kubernetes.authorization.PathCheck"
_GROUP = "kubernetes.authorization.GroupCheck"
_RESOURCE = "kubernetes.authorization.ResourceCheck"
_DECISION = "kubernetes.authorization.Decision"


class Decide(Protocol):
    """Answers whether something is allowed, and why: (allowed, reason). Raises when that cannot be told."""

    def __call__(self, user: str, attributes: Mapping[str, Any]) -> tuple[bool, str]:
        """user: empty for the one of the request, ``system:serviceaccount:ns:name`` otherwise.

        attributes: verb and path, or verb, group, resource, subresource, namespace, name.
        """
        ...


@dataclass(frozen=True, slots=True)
class Check(Opaque):
    """An authorizer, and a question on the way to being asked."""

    decide: Decide
    type_name: str = AUTHORIZER
    user: str = ""
    attributes: tuple[tuple[str, str], ...] = ()

    def to(self, kind: str, **attributes: str) -> Check:
        return replace(self, type_name=kind, attributes=(*self.attributes, *attributes.items()))

    def account(self, namespace: str, name: str) -> Check:
        return replace(self, user=f"system:serviceaccount:{namespace}:{name}")

    def check(self, verb: str) -> Decision:
        try:
            allowed, reason = self.decide(self.user, {**dict(self.attributes), "verb": verb})
        except Exception as error:
            return Decision(False, "", str(error))
        return Decision(allowed, reason, "")


@dataclass(frozen=True, slots=True)
class Decision(Opaque):
    """An answer."""

    allowed: bool
    reason: str
    error: str

    type_name = _DECISION


def _field(kind: str, name: str) -> Any:
    return lambda check, value: check.to(kind, **{name: value})


def overloads() -> Iterator[Overload]:
    """The declarations."""
    yield method(AUTHORIZER, f"path(string) -> {_PATH}", _field(_PATH, "path"))
    yield method(AUTHORIZER, f"group(string) -> {_GROUP}", _field(_GROUP, "group"))
    yield method(AUTHORIZER, f"serviceAccount(string, string) -> {AUTHORIZER}", Check.account)
    yield method(_GROUP, f"resource(string) -> {_RESOURCE}", _field(_RESOURCE, "resource"))
    for name in ("subresource", "namespace", "name", "fieldSelector", "labelSelector"):
        yield method(_RESOURCE, f"{name}(string) -> {_RESOURCE}", _field(_RESOURCE, name))
    yield method(_RESOURCE, f"check(string) -> {_DECISION}", Check.check)
    yield method(_PATH, f"check(string) -> {_DECISION}", Check.check)
    yield method(_DECISION, "allowed() -> bool", lambda d: d.allowed)
    yield method(_DECISION, "reason() -> string", lambda d: d.reason)
    yield method(_DECISION, "errored() -> bool", lambda d: bool(d.error))
    yield method(_DECISION, "error() -> string", lambda d: d.error)
