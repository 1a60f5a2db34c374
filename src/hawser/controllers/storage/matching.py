"""Which volume a claim gets. Pure.

Source: Kubernetes documentation, "Persistent Volumes", binding; component-helpers' storage/volume of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from hawser.api.quantity import parse_quantity
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.controllers.storage.terms import class_of, phase


def is_bound_to(volume: Obj, claim: Obj) -> bool:
    """Whether a volume is for this claim, by name and, where it says one, by uid."""
    reference = volume["spec"].get("claimRef")
    metadata = claim["metadata"]
    if not reference or (reference.get("name"), reference.get("namespace")) != (
        metadata["name"],
        metadata["namespace"],
    ):
        return False
    return not reference.get("uid") or bool(reference["uid"] == metadata["uid"])


def best(claim: Obj, volumes: Iterable[Obj], delayed: bool) -> Obj | None:
    """The volume that a claim is to be bound to: one that is for it already, else the smallest that will do.

    delayed: the claim waits for its pod, so that only what somebody has bound to it already is taken.
    """
    found: Obj | None = None
    for volume in volumes:
        reserved = is_bound_to(volume, claim)
        if (volume["spec"].get("claimRef") and not reserved) or volume["metadata"].get("deletionTimestamp"):
            continue
        if not _has_modes(claim, volume) or capacity(volume) < requested(claim):
            continue
        if mode(claim) != mode(volume) or _attributes(claim) != _attributes(volume):
            continue
        if reserved:
            return volume
        if delayed or phase(volume) != "Available" or class_of(volume) != class_of(claim):
            continue
        if not _selects(claim, volume):
            continue
        if found is None or _order(volume) < _order(found):
            found = volume
    return found


def mismatch(claim: Obj, volume: Obj) -> str:
    """What keeps a claim from the volume that it names; "" for nothing. kube-controller-manager's words."""
    if capacity(volume) < requested(claim):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if mode(claim) != mode(volume):
        return "incompatible volumeMode"
    if not _has_modes(claim, volume):
        return "incompatible accessMode"
    if _attributes(claim) != _attributes(volume):
        return "volumeAttributesClassName does not match"
    return ""


def requested(claim: Obj) -> Decimal:
    """How much a claim asks for."""
    return parse_quantity((claim["spec"].get("resources") or {}).get("requests", {}).get("storage", "0"))


def capacity(volume: Obj) -> Decimal:
    """How much a volume holds."""
    return parse_quantity((volume["spec"].get("capacity") or {}).get("storage", "0"))


def held(claim: Obj) -> Decimal:
    """How much a claim has."""
    return parse_quantity(((claim.get("status") or {}).get("capacity") or {}).get("storage", "0"))


def mode(obj: Obj) -> str:
    """The volumeMode of a claim or volume."""
    return str(obj["spec"].get("volumeMode") or "Filesystem")


def _order(volume: Obj) -> tuple[Decimal, str]:
    return capacity(volume), volume["metadata"]["name"]


def _has_modes(claim: Obj, volume: Obj) -> bool:
    return set(claim["spec"].get("accessModes") or ()) <= set(volume["spec"].get("accessModes") or ())


def _attributes(obj: Obj) -> str:
    return str(obj["spec"].get("volumeAttributesClassName") or "")


def _selects(claim: Obj, volume: Obj) -> bool:
    selector = claim["spec"].get("selector")
    return not selector or LabelSelector.from_object(selector).matches(volume["metadata"].get("labels"))
