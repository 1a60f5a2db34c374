"""Who may do what: a fixed rule table, as Kubernetes' bootstrap policy grants its own components.

Source: Kubernetes' RBAC reference, "Default roles and role bindings". RBAC objects replace the table's users later; the
Protocol stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hawser.api.errors import APIError, unauthorized
from hawser.apiserver.identity import ANONYMOUS, User
from hawser.apiserver.paths import Target


@dataclass(frozen=True, slots=True)
class Attributes:
    """One question to the authorizer; resource is empty for paths that are not resources."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Authorizer(Protocol):
    """Decides requests."""

    def allows(self, user: User, request: Attributes) -> bool:
        """Whether the user may do this."""
        ...


_ANY = frozenset({"*"})
_READ = frozenset({"get", "list", "watch"})
_WRITE = frozenset({"create", "update", "patch", "delete"})
_EDIT = _WRITE | {"deletecollection"}


@dataclass(frozen=True, slots=True)
class _Rule:
    """Resources are ``group/resource`` or ``group/resource/subresource``; ``*`` is any."""

    verbs: frozenset[str]
    resources: frozenset[str]


def _rule(verbs: frozenset[str], *resources: str) -> _Rule:
    return _Rule(verbs, frozenset(resources))


_ROLES: dict[str, tuple[_Rule, ...]] = {
    "system:nodes": (
        _rule(
            _READ,
            "/services",
            "/nodes",
            "/pods",
            "/configmaps",
            "/secrets",
            "/namespaces",
            "/serviceaccounts",
            "discovery.k8s.io/endpointslices",
            "node.k8s.io/runtimeclasses",
        ),
        _rule(_WRITE, "/nodes", "/nodes/status", "/pods/status", "/events", "coordination.k8s.io/leases"),
        _rule(_READ, "coordination.k8s.io/leases"),
        _rule(frozenset({"create", "delete"}), "/pods"),
    ),
    "system:kube-scheduler": (
        _rule(_READ, "*"),
        _rule(_WRITE, "/events", "/pods/binding", "/pods/status", "coordination.k8s.io/leases"),
        _rule(frozenset({"delete"}), "/pods"),
    ),
    "system:kube-controller-manager": (_rule(_READ, "*"), _rule(_EDIT, "*")),
}
_PUBLIC = ("/healthz", "/livez", "/readyz", "/version")
_DISCOVERY = ("/api", "/apis", "/openapi")


class RuleAuthorizer:
    """The rule table: system:masters may do everything; roles go by group or user name."""

    def allows(self, user: User, request: Attributes) -> bool:
        """Whether the user may do this."""
        if "system:masters" in user.groups:
            return True
        if not request.resource:
            return self._path(user, request)
        what = f"{request.group}/{request.resource}"
        if request.subresource:
            what += f"/{request.subresource}"
        return any(self._role(role, request.verb, what) for role in (user.name, *user.groups) if role in _ROLES)

    @staticmethod
    def _role(role: str, verb: str, what: str) -> bool:
        return any(verb in rule.verbs and (what in rule.resources or "*" in rule.resources) for rule in _ROLES[role])

    @staticmethod
    def _path(user: User, request: Attributes) -> bool:
        if request.verb not in ("get", "head"):
            return False
        if _below(request.path, _PUBLIC):
            return True
        return user is not ANONYMOUS and (
            _below(request.path, _DISCOVERY)
            or (request.path == "/metrics" and user.name == "system:kube-controller-manager")
        )


def _below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root + "/") for root in roots)


def enforce(allows: Callable[[User, Attributes], bool], user: User, target: Target) -> None:
    """APIError 403 in Kubernetes' words unless the user may; for nobody it is 401."""
    request = Attributes(
        target.verb,
        target.group,
        target.resource,
        target.subresource,
        target.namespace,
        target.name,
        target.path,
    )
    if allows(user, request):
        return
    if user is ANONYMOUS:
        raise unauthorized()
    raise denied(user, request)


def denied(user: User, request: Attributes) -> APIError:
    """The 403 of an authorizer's no."""
    if not request.resource:
        return APIError(
            403,
            "Forbidden",
            f'forbidden: User "{user.name}" cannot {request.verb} path "{request.path}"',
            details={},
        )
    resource = f"{request.resource}/{request.subresource}" if request.subresource else request.resource
    who = f"{request.resource}.{request.group}" if request.group else request.resource
    subject = f'{who} "{request.name}"' if request.name else who
    scope = f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
    details = {"name": request.name, "group": request.group, "kind": request.resource}
    return APIError(
        403,
        "Forbidden",
        f'{subject} is forbidden: User "{user.name}" cannot {request.verb} resource "{resource}" in API group '
        f'"{request.group}" {scope}',
        details={key: value for key, value in details.items() if value},
    )
