"""Resources of other vendors, and the DeviceClasses and ResourceClaims that give them.

Source: KEP-5004 (extended resources by DRA); API reference, DeviceClassSpec.
"""

from __future__ import annotations

from hawser.api.types import Obj

IMPLICIT = "deviceclass.resource.kubernetes.io/"
"""Before a DeviceClass' name: the extended resource that every class is."""
CLAIM = "resource.kubernetes.io/extended-resource-claim"
"""The annotation of claims that the scheduler makes for the extended resources of a pod."""


def is_native(name: str) -> bool:
    """Whether a resource is Kubernetes' own."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """Whether a resource may be a device of a class."""
    return not is_native(name) or name.startswith(IMPLICIT)


def resource_of(device_class: Obj) -> str:
    """The extended resource that a DeviceClass says it is; empty if it says none."""
    return (device_class.get("spec") or {}).get("extendedResourceName") or ""


def claimant(claim: Obj) -> Obj | None:
    """The owner reference to the pod for whose extended resources a claim was made; None for other claims."""
    metadata = claim["metadata"]
    if (metadata.get("annotations") or {}).get(CLAIM) != "true":
        return None
    owners = metadata.get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller") and owner.get("kind") == "Pod"), None)
