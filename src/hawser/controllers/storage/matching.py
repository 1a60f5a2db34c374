"""Which volume a claim gets. Pure.

Source: Kubernetes documentation, "Persistent Volumes", binding; component-helpers' storage/volume of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from hawser.api import storage
from hawser.api.selectors import LabelSelector
from hawser.api.storage import capacity, class_of, mode, requested
from hawser.api.types import Obj


def is_bound_to(volume: Obj, claim: Obj) -> bool:
    """Whether a volume is for this claim, by name and, where it says one, by uid."""
    reference = volume["spec"].get("claimRef")
    return bool(reference) and storage.is_for(reference, claim)


def best(claim: Obj, volumes: Iterable[Obj], delayed: bool) -> Obj | None:
    """The volume that a claim is to be bound to: one that is for it already, else the smallest that will do.

    delayed: the claim waits for its pod, so that only what somebody has bound to it already is taken.
    """
    found: Obj | None = None
    for volume in volumes:
        reserved = is_bound_to(volume, claim)
        if (volume["spec"].get("claimRef") and not reserved) or volume["metadata"].get("deletionTimestamp"):
            continue
        if not storage.is_enough(volume, claim):
            continue
        if reserved:
            return volume
        if delayed or storage.phase(volume) != "Available" or class_of(volume) != class_of(claim):
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
    if not storage.has_modes(volume, claim):
        return "incompatible accessMode"
    if not storage.has_attributes(volume, claim):
        return "volumeAttributesClassName does not match"
    return ""


def _order(volume: Obj) -> tuple[Decimal, str]:
    return capacity(volume), volume["metadata"]["name"]


def _selects(claim: Obj, volume: Obj) -> bool:
    selector = claim["spec"].get("selector")
    return not selector or LabelSelector.from_object(selector).matches(volume["metadata"].get("labels"))
