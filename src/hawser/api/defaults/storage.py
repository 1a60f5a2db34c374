"""Defaults of storage: volumes, claims, classes, CSI drivers. Source: API reference of each kind."""

from __future__ import annotations

from hawser.api.defaults.volume import persistent_source
from hawser.api.types import Obj

_MODE = "Filesystem"


def _pending(obj: Obj) -> None:
    status = obj.get("status")
    if status is None:
        status = obj["status"] = {}
    if not status.get("phase"):
        status["phase"] = "Pending"


def _fill(spec: Obj, values: Obj) -> None:
    for field, value in values.items():
        spec.setdefault(field, list(value) if isinstance(value, tuple) else value)


def persistent_volume(volume: Obj) -> None:
    """Retained, a file system; what its source leaves out."""
    _pending(volume)
    spec = volume.setdefault("spec", {})
    if not spec.get("persistentVolumeReclaimPolicy"):
        spec["persistentVolumeReclaimPolicy"] = "Retain"
    spec.setdefault("volumeMode", _MODE)
    persistent_source(spec)


def persistent_volume_claim(claim: Obj) -> None:
    """A file system, not bound yet."""
    _pending(claim)
    claim.setdefault("spec", {}).setdefault("volumeMode", _MODE)


def storage_class(obj: Obj) -> None:
    """Volumes are made at once, and deleted with their claims."""
    _fill(obj, {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"})


_DRIVER: Obj = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False,
    "seLinuxMount": False,
}


def csi_driver(driver: Obj) -> None:
    """A driver that attaches persistent volumes and wants to know nothing."""
    spec = driver.setdefault("spec", {})
    _fill(spec, _DRIVER)
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]
