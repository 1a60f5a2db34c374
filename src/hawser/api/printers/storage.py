"""The columns of storage: volumes, claims, classes, CSI."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hawser.api.printers.base import AGE, NAME, NONE, UNSET, Column, Printer, age, name, part, wide
from hawser.api.storage import DEFAULT_MARKS, class_of, notes
from hawser.api.types import Obj

_MODES = (
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
)
_DEFAULT_ATTRIBUTES = ("volumeattributesclass.alpha.kubernetes.io/is-default-class",)


def access_modes(modes: list[str] | None) -> str:
    """``RWO,ROX``, each once and in this order."""
    return ",".join(short for mode, short in _MODES if mode in (modes or ()))


def _phase(obj: Obj) -> str:
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else str(part(obj, "status").get("phase") or "")


def _volume(volume: Obj, now: datetime) -> list[Any]:
    spec, claim = part(volume, "spec"), part(part(volume, "spec"), "claimRef")
    return [
        name(volume),
        part(spec, "capacity").get("storage", "0"),
        access_modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        _phase(volume),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if "claimRef" in spec else "",
        class_of(volume),
        spec.get("volumeAttributesClassName", UNSET),
        part(volume, "status").get("reason", ""),
        age(volume, now),
        spec.get("volumeMode", UNSET),
    ]


def _claim(claim: Obj, now: datetime) -> list[Any]:
    spec, status = part(claim, "spec"), part(claim, "status")
    bound = bool(spec.get("volumeName"))
    return [
        name(claim),
        _phase(claim),
        spec.get("volumeName", ""),
        part(status, "capacity").get("storage", "0") if bound else "",
        access_modes(status.get("accessModes")) if bound else "",
        class_of(claim),
        spec.get("volumeAttributesClassName", UNSET),
        age(claim, now),
        spec.get("volumeMode", UNSET),
    ]


def _marked(obj: Obj, annotations: tuple[str, ...]) -> str:
    """The name of a class, ``(default)`` after it when it is one."""
    found = notes(obj)
    return f"{name(obj)} (default)" if any(found.get(key) == "true" for key in annotations) else name(obj)


def _storage_class(obj: Obj, now: datetime) -> list[Any]:
    return [
        _marked(obj, DEFAULT_MARKS),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        bool(obj.get("allowVolumeExpansion")),
        age(obj, now),
    ]


def _attributes_class(obj: Obj, now: datetime) -> list[Any]:
    return [_marked(obj, _DEFAULT_ATTRIBUTES), obj.get("driverName", ""), age(obj, now)]


def _attachment(attachment: Obj, now: datetime) -> list[Any]:
    spec = part(attachment, "spec")
    return [
        name(attachment),
        spec.get("attacher", ""),
        part(spec, "source").get("persistentVolumeName", ""),
        spec.get("nodeName", ""),
        bool(part(attachment, "status").get("attached")),
        age(attachment, now),
    ]


def _csi_node(node: Obj, now: datetime) -> list[Any]:
    return [name(node), len(part(node, "spec").get("drivers") or []), age(node, now)]


def _csi_driver(driver: Obj, now: datetime) -> list[Any]:
    spec = part(driver, "spec")
    audiences = spec.get("tokenRequests")
    return [
        name(driver),
        spec.get("attachRequired", True),
        spec.get("podInfoOnMount", False),
        spec.get("storageCapacity", False),
        UNSET if audiences is None else ",".join(request.get("audience", "") for request in audiences),
        spec.get("requiresRepublish", False),
        ",".join(spec.get("volumeLifecycleModes") or ()) or NONE,
        age(driver, now),
    ]


def _capacity(obj: Obj, _now: datetime) -> list[Any]:
    return [name(obj), obj.get("storageClassName", ""), obj.get("capacity", UNSET)]


PERSISTENT_VOLUME = Printer(
    (
        NAME,
        Column("Capacity", description="How much the volume holds."),
        Column("Access Modes", description="The ways in which the volume can be mounted."),
        Column("Reclaim Policy", description="What becomes of the volume when its claim is gone."),
        Column("Status", description="Whether the volume is available, bound or released."),
        Column("Claim", description="The claim that the volume is bound to."),
        Column("StorageClass", description="StorageClass of the pv"),
        Column("VolumeAttributesClass", description="VolumeAttributesClass of the pv"),
        Column("Reason", description="Why the volume is in its status."),
        AGE,
        wide("VolumeMode", "Whether the volume is a file system or a block device."),
    ),
    _volume,
)
PERSISTENT_VOLUME_CLAIM = Printer(
    (
        NAME,
        Column("Status", description="Whether the claim is bound."),
        Column("Volume", description="The volume that the claim is bound to."),
        Column("Capacity", description="How much the volume holds."),
        Column("Access Modes", description="The ways in which the volume can be mounted."),
        Column("StorageClass", description="StorageClass of the pvc"),
        Column("VolumeAttributesClass", description="VolumeAttributesClass of the pvc"),
        AGE,
        wide("VolumeMode", "Whether the volume is a file system or a block device."),
    ),
    _claim,
)
STORAGE_CLASS = Printer(
    (
        NAME,
        Column("Provisioner", description="What makes the volumes."),
        Column("ReclaimPolicy", description="What becomes of volumes when their claims are gone."),
        Column("VolumeBindingMode", description="When volumes are made and bound."),
        Column("AllowVolumeExpansion", description="Whether volumes can grow."),
        AGE,
    ),
    _storage_class,
)
VOLUME_ATTRIBUTES_CLASS = Printer(
    (NAME, Column("DriverName", description="The CSI driver that the attributes are for."), AGE), _attributes_class
)
VOLUME_ATTACHMENT = Printer(
    (
        NAME,
        Column("Attacher", format="name", description="The driver that attaches the volume."),
        Column("PV", description="The volume."),
        Column("Node", description="The node that the volume is attached to."),
        Column("Attached", "boolean", description="Whether the volume is attached."),
        AGE,
    ),
    _attachment,
)
CSI_NODE = Printer(
    (
        NAME,
        Column("Drivers", "integer", description="How many CSI drivers are registered on the node."),
        AGE,
    ),
    _csi_node,
)
CSI_DRIVER = Printer(
    (
        NAME,
        Column("AttachRequired", "boolean", description="Whether volumes are attached before they are mounted."),
        Column("PodInfoOnMount", "boolean", description="Whether the driver is told about the pod."),
        Column("StorageCapacity", "boolean", description="Whether the scheduler looks at the driver's capacity."),
        Column("TokenRequests", description="The audiences of tokens that the driver gets."),
        Column("RequiresRepublish", "boolean", description="Whether volumes are published again and again."),
        Column("Modes", description="The life cycles of volumes that the driver supports."),
        AGE,
    ),
    _csi_driver,
)
CSI_STORAGE_CAPACITY = Printer(
    (
        NAME,
        Column("StorageClassName", description="The class that the capacity is of."),
        Column("Capacity", description="How much can still be had."),
    ),
    _capacity,
)
