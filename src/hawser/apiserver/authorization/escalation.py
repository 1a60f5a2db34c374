"""Nobody may hand out more than they hold.

Source: Kubernetes documentation, "Using RBAC Authorization" (privilege escalation prevention and bootstrapping): who
writes a role must hold what it grants or have the verb ``escalate`` on it; who writes a binding must hold what the role
grants or have the verb ``bind`` on the role. Messages are kube-apiserver's.
"""

from __future__ import annotations

from collections.abc import Iterable

from hawser.api.errors import APIError, forbidden, not_found
from hawser.api.kind import Kind
from hawser.api.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from hawser.api.rbac import EVERYTHING, GROUP, compact, covers, describe, quoted
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation, Plugin, Request
from hawser.apiserver.authorization.access import Access
from hawser.apiserver.authorization.base import MASTERS, Attributes
from hawser.apiserver.authorization.policy import MissingRole
from hawser.apiserver.authorization.rbac import aggregated
from hawser.apiserver.identity import User

_ROLES = (ROLE, CLUSTER_ROLE)
_BINDINGS = (ROLE_BINDING, CLUSTER_ROLE_BINDING)


class Escalation(Plugin):
    """See the module. In kube-apiserver this is part of the storage of these kinds, so it has no name there."""

    name = "RBACEscalation"

    def __init__(self, access: Access) -> None:
        self._policy = access.policy
        self._authorizer = access.authorizer

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Creations and changes of roles and bindings."""
        return kind in (*_ROLES, *_BINDINGS) and operation in (Operation.CREATE, Operation.UPDATE)

    def validate(self, request: Request) -> None:
        """APIError 403 for what the user does not hold, 404 for bindings to roles that are not there."""
        if MASTERS in request.user.groups or _only_for_collection(request):
            return
        if request.kind in _ROLES:
            self._check_role(request)
        else:
            self._check_binding(request)

    def _check_role(self, request: Request) -> None:
        kind = request.kind
        name = request.name if request.operation is Operation.UPDATE else ""
        if self._may(request.user, "escalate", GROUP, kind.plural, request.namespace, name):
            return
        aggregates = "aggregationRule" in request.new or "aggregationRule" in (request.old or {})
        if aggregates and self._missing(request, EVERYTHING):
            raise _refused(request, "must have cluster-admin privileges to use the aggregationRule")
        self._confirm(request, request.new.get("rules") or ())

    def _check_binding(self, request: Request) -> None:
        reference = request.new["roleRef"]
        plural = ROLE.plural if reference["kind"] == "Role" else CLUSTER_ROLE.plural
        group, name = reference["apiGroup"], reference["name"]
        if self._may(request.user, "bind", group, plural, request.namespace, name):
            return
        try:
            rules = self._policy.find(reference["kind"], name, request.namespace).rules
        except MissingRole:
            raise not_found(GROUP, reference["kind"].lower(), name) from None
        self._confirm(request, rules)

    def _may(self, user: User, verb: str, group: str, plural: str, namespace: str, name: str) -> bool:
        asked = Attributes(verb, group, plural, namespace=namespace, name=name)
        return self._authorizer.allows(user, asked).allowed

    def _missing(self, request: Request, rules: Iterable[Obj]) -> list[Obj]:
        held, _ = self._policy.rules(request.user, request.namespace)
        return covers(held, rules)

    def _confirm(self, request: Request, rules: Iterable[Obj]) -> None:
        missing = self._missing(request, rules)
        if not missing:
            return
        user = request.user
        told = sorted({describe(rule) for rule in compact(missing)})
        message = (
            f'user "{user.name}" (groups={quoted(user.groups)}) is attempting to grant RBAC permissions not currently '
            "held:\n" + "\n".join(told)
        )
        _, errors = self._policy.rules(user, request.namespace)
        if errors:
            message += f"; resolution errors: {aggregated(errors) if len(errors) > 1 else f'[{errors[0]}]'}"
        raise _refused(request, message)


def _refused(request: Request, message: str) -> APIError:
    kind = request.kind
    return forbidden(kind.group, kind.plural, request.new["metadata"]["name"], message)


def _only_for_collection(request: Request) -> bool:
    """Whether a change is only of what lets the garbage collector delete the object."""
    if request.old is None:
        return False
    return _without_owners(request.new) == _without_owners(request.old)


def _without_owners(obj: Obj) -> Obj:
    left = {k: v for k, v in obj["metadata"].items() if k not in ("ownerReferences", "finalizers", "managedFields")}
    return {**obj, "metadata": left}
