"""Who may say what of a ResourceClaim: its allocation is the scheduler's, the state of its devices their drivers'.

Source: Kubernetes documentation, "Hardening Guide - Dynamic Resource Allocation": besides ``resourceclaims/status``,
``resourceclaims/binding`` for allocation and reservations, and for devices ``resourceclaims/driver`` by the driver's
name, with the verbs ``associated-node:…`` (of service accounts on the claim's node) or ``arbitrary-node:…``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hawser.api.errors import APIError, FieldError, invalid
from hawser.api.kind import Kind
from hawser.api.kinds import RESOURCE_CLAIM
from hawser.api.types import Obj
from hawser.api.validation.rules import forbidden
from hawser.apiserver.admission.base import Operation, Plugin, Request
from hawser.apiserver.authorization.access import Access
from hawser.apiserver.authorization.base import MASTERS, Attributes, denied
from hawser.apiserver.identity import User

_NODE = "authentication.kubernetes.io/node-name"
_VERBS = {"UpdateOptions": "update", "PatchOptions": "patch"}


class ClaimStatus(Plugin):
    """See the module. In kube-apiserver this is part of the validation, so it has no name there."""

    name = "ClaimStatus"

    def __init__(self, access: Access) -> None:
        self._authorizer = access.authorizer

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Changes of claims' status."""
        return kind is RESOURCE_CLAIM and subresource == "status" and operation is Operation.UPDATE

    def validate(self, request: Request) -> None:
        """APIError 422."""
        if MASTERS in request.user.groups:
            return
        errors = list(self._errors(request))
        if errors:
            raise invalid(request.kind.group, request.kind.kind, request.name, errors)

    def _errors(self, request: Request) -> Iterator[FieldError]:
        new, old = request.new.get("status") or {}, (request.old or {}).get("status") or {}
        verb = _VERBS.get(request.options.kind, "update")
        if any((new.get(field) or None) != (old.get(field) or None) for field in ("allocation", "reservedFor")):
            refusal = self._refusal(request, [verb], "binding", "", "")
            if refusal is not None:
                why = "changing status.allocation or status.reservedFor requires"
                yield forbidden(
                    "status", f'{why} resource="resourceclaims/binding", verb="{verb}" permission: {refusal.message}'
                )
        verbs = [f"arbitrary-node:{verb}"]
        if _is_there(request.user, _node_of(new)):
            verbs.insert(0, f"associated-node:{verb}")
        for driver in sorted(changed_drivers(new, old)):
            refusal = self._refusal(request, verbs, "driver", request.namespace, driver)
            if refusal is not None:
                needed = f'resource="resourceclaims/driver", verb="[{" ".join(verbs)}]" permission'
                yield forbidden("status.devices", f"changing status.devices requires {needed}: {refusal.message}")

    def _refusal(
        self, request: Request, verbs: Sequence[str], subresource: str, namespace: str, name: str
    ) -> APIError | None:
        """Why the user may not, by the first of several verbs that would do; None if one does."""
        first: APIError | None = None
        for verb in verbs:
            asked = Attributes(verb, RESOURCE_CLAIM.group, RESOURCE_CLAIM.plural, subresource, namespace, name)
            decision = self._authorizer.allows(request.user, asked)
            if decision.allowed:
                return None
            first = first or denied(request.user, asked, decision.reason)
        return first


def changed_drivers(new: Obj, old: Obj) -> set[str]:
    """The drivers whose devices a status says something else of. What goes with its allocation is nobody's word."""
    before = {_key(device): device for device in old.get("devices") or ()}
    after = {_key(device): device for device in new.get("devices") or ()}
    results = ((new.get("allocation") or {}).get("devices") or {}).get("results") or ()
    allocated = {_key(result) for result in results}
    said = {key[0] for key, device in after.items() if before.get(key) != device}
    return said | {key[0] for key in before.keys() - after.keys() if key in allocated}


def _key(device: Obj) -> tuple[str, ...]:
    return tuple(device.get(field) or "" for field in ("driver", "pool", "device", "shareID"))


def _node_of(status: Obj) -> str:
    """The only node on which the claim's devices are; empty if there are more."""
    terms: list[Obj] = ((status.get("allocation") or {}).get("nodeSelector") or {}).get("nodeSelectorTerms") or []
    if len(terms) != 1 or terms[0].get("matchExpressions"):
        return ""
    fields: list[Obj] = terms[0].get("matchFields") or []
    if len(fields) != 1 or fields[0]["key"] != "metadata.name" or fields[0]["operator"] != "In":
        return ""
    values: list[str] = fields[0].get("values") or []
    return values[0] if len(values) == 1 else ""


def _is_there(user: User, node: str) -> bool:
    """Whether the user is a service account whose token is bound to the node."""
    return bool(node) and user.name.startswith("system:serviceaccount:") and dict(user.extra).get(_NODE) == (node,)
