"""The annotations by which claims, volumes, scheduler and provisioners speak to each other, and small readings.

Source: Kubernetes documentation, "Persistent Volumes", "Storage Classes"; the reference of well-known annotations.
"""

from __future__ import annotations

from collections.abc import Iterable

from hawser.api.types import Obj

HOSTNAME = "kubernetes.io/hostname"
"""The label of a node that its local volumes name."""
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
STORAGE_PROVISIONER_BETA = "volume.beta.kubernetes.io/storage-provisioner"
CLASS_BETA = "volume.beta.kubernetes.io/storage-class"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
DEFAULT_CLASS_BETA = "storageclass.beta.kubernetes.io/is-default-class"


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
    return str(notes(obj).get(CLASS_BETA, obj["spec"].get("storageClassName") or ""))


def phase(obj: Obj) -> str:
    """The phase of a claim or volume, "" when nobody has set one."""
    return str((obj.get("status") or {}).get("phase") or "")


def is_delayed(storage_class: Obj | None) -> bool:
    """Whether volumes of this class wait for a pod that needs them."""
    return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def default_class(classes: Iterable[Obj]) -> Obj | None:
    """The default class: of several the newest, then the first by name."""
    marked = [one for one in classes if "true" in (notes(one).get(DEFAULT_CLASS), notes(one).get(DEFAULT_CLASS_BETA))]
    marked.sort(key=lambda one: one["metadata"]["name"])
    return max(marked, key=lambda one: str(one["metadata"].get("creationTimestamp") or ""), default=None)
