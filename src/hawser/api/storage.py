"""Claims, volumes and their classes: the annotations by which all speak of them, and what is read of them.

Source: Kubernetes documentation, "Persistent Volumes", "Storage Classes"; the reference of well-known annotations;
component-helpers' storage/volume for what a class, and who a volume is for, is taken from.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from hawser.api.quantity import parse_quantity
from hawser.api.types import Obj

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
STORAGE_PROVISIONER_BETA = "volume.beta.kubernetes.io/storage-provisioner"
CLASS_BETA = "volume.beta.kubernetes.io/storage-class"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
DEFAULT_MARKS = (DEFAULT_CLASS, "storageclass.beta.kubernetes.io/is-default-class")
"""The annotations of which one makes a StorageClass the default one."""


def notes(obj: Obj) -> Obj:
    """The annotations of an object; not to be changed."""
    return obj["metadata"].get("annotations") or {}


def with_annotations(obj: Obj, more: dict[str, str]) -> Obj:
    """The object with these annotations, too."""
    metadata = obj["metadata"]
    return {**obj, "metadata": {**metadata, "annotations": {**(metadata.get("annotations") or {}), **more}}}


def without_annotation(obj: Obj, name: str) -> Obj:
    """The object without an annotation."""
    metadata = obj["metadata"]
    left = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != name}
    return {**obj, "metadata": {**metadata, "annotations": left}}


def class_of(obj: Obj) -> str:
    """The class of a claim or volume by name, "" for none; the annotation of old goes before the field."""
    return str(notes(obj).get(CLASS_BETA, (obj.get("spec") or {}).get("storageClassName") or ""))


def phase(obj: Obj) -> str:
    """The phase of a claim or volume, "" when nobody has set one."""
    return str((obj.get("status") or {}).get("phase") or "")


def mode(obj: Obj) -> str:
    """The volumeMode of a claim or volume."""
    return str(obj["spec"].get("volumeMode") or "Filesystem")


def requested(claim: Obj) -> Decimal:
    """How many bytes a claim asks for."""
    return parse_quantity(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0"))


def capacity(volume: Obj) -> Decimal:
    """How many bytes a volume holds."""
    return parse_quantity((volume["spec"].get("capacity") or {}).get("storage", "0"))


def held(claim: Obj) -> Decimal:
    """How many bytes a claim has."""
    return parse_quantity(((claim.get("status") or {}).get("capacity") or {}).get("storage", "0"))


def has_modes(volume: Obj, claim: Obj) -> bool:
    """Whether the volume can be accessed in every way that the claim asks for."""
    return set(claim["spec"].get("accessModes") or ()) <= set(volume["spec"].get("accessModes") or ())


def has_attributes(volume: Obj, claim: Obj) -> bool:
    """Whether both have the same VolumeAttributesClass, or none."""
    has, wanted = (obj["spec"].get("volumeAttributesClassName") or "" for obj in (volume, claim))
    return bool(has == wanted)


def is_enough(volume: Obj, claim: Obj) -> bool:
    """Whether the volume has the size, the modes and the attributes that the claim asks for."""
    return (
        capacity(volume) >= requested(claim)
        and mode(volume) == mode(claim)
        and has_modes(volume, claim)
        and has_attributes(volume, claim)
    )


def is_for(reference: Obj, claim: Obj) -> bool:
    """Whether a volume's claimRef is this claim, by name and, where it says one, by uid."""
    metadata = claim["metadata"]
    if (reference.get("namespace"), reference.get("name")) != (metadata["namespace"], metadata["name"]):
        return False
    return not reference.get("uid") or bool(reference["uid"] == metadata["uid"])


def is_delayed(storage_class: Obj | None) -> bool:
    """Whether volumes of this class wait for a pod that needs them."""
    return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def default_class(classes: Iterable[Obj], marks: tuple[str, ...] = DEFAULT_MARKS) -> Obj | None:
    """The class that is marked as default: of several the newest, of equally old ones the first by name.

    marks: the annotations of which one says so.
    """
    marked = [one for one in classes if any(notes(one).get(mark) == "true" for mark in marks)]
    marked.sort(key=lambda one: one["metadata"]["name"])
    return max(marked, key=lambda one: str(one["metadata"].get("creationTimestamp") or ""), default=None)
