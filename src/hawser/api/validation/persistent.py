"""Validation of PersistentVolumes. Source: API reference, PersistentVolumeSpec; "Persistent Volumes"."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from hawser.api.types import Obj
from hawser.api.validation import rules, values
from hawser.api.validation.differences import differences
from hawser.api.validation.rules import Errors, each, forbidden, immutable, invalid, required, unsupported
from hawser.api.validation.scheduling import node_selector
from hawser.api.validation.volumes import backsteps, host_path

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
_RECLAIM = ("Delete", "Recycle", "Retain")
_INLINE = "may not be specified in the context of inline volumes"
_SOURCES = (
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
)


def access_modes(modes: list[str], path: str) -> Errors:
    """Known ones; the one for a single pod stands alone."""
    for mode in modes:
        if mode not in ACCESS_MODES:
            yield unsupported(path, mode, ACCESS_MODES)
    known = {mode for mode in modes if mode in ACCESS_MODES}
    if "ReadWriteOncePod" in known and len(known) > 1:
        yield forbidden(path, "may not use ReadWriteOncePod with other access modes")


def volume(obj: Obj) -> Errors:
    yield from volume_spec(obj.get("spec") or {}, "spec")


def volume_spec(spec: Obj, path: str, inline: bool = False) -> Errors:
    """A PersistentVolumeSpec. inline: that of a VolumeAttachment."""
    if inline:
        yield from _inline(spec, path)
    modes = spec.get("accessModes") or []
    if not modes:
        yield required(f"{path}.accessModes")
    yield from access_modes(modes, f"{path}.accessModes")
    if not inline:
        yield from _capacity(spec.get("capacity") or {}, f"{path}.capacity")
        policy = spec.get("persistentVolumeReclaimPolicy", "")
        if policy and policy not in _RECLAIM:
            yield unsupported(f"{path}.persistentVolumeReclaimPolicy", policy, _RECLAIM)
        if (affinity := spec.get("nodeAffinity")) is not None:
            yield from _affinity(affinity, f"{path}.nodeAffinity")
    yield from _source(spec, path)
    if inline:
        return
    name, mode = spec.get("storageClassName", ""), spec.get("volumeMode")
    if name:
        yield from each(f"{path}.storageClassName", name, rules.subdomain_errors(name))
    if mode is not None and mode not in VOLUME_MODES:
        yield unsupported(f"{path}.volumeMode", mode, VOLUME_MODES)
    if (attributes := spec.get("volumeAttributesClassName")) is not None:
        at = f"{path}.volumeAttributesClassName"
        if not attributes:
            yield required(at, "an empty string is disallowed")
        else:
            yield from each(at, attributes, rules.subdomain_errors(attributes))
        if "csi" not in spec:
            yield required(f"{path}.csi", "has to be specified when using volumeAttributesClassName")


def _inline(spec: Obj, path: str) -> Errors:
    if "claimRef" in spec:
        yield forbidden(f"{path}.claimRef", _INLINE)
    for field in ("capacity", "nodeAffinity", "storageClassName"):
        if spec.get(field):
            yield forbidden(f"{path}.{field}", _INLINE)
    if "csi" not in spec:
        yield required(f"{path}.csi", "has to be specified in the context of inline volumes")
    if spec.get("persistentVolumeReclaimPolicy", "Retain") != "Retain":
        detail = "may only be Retain in the context of inline volumes"
        yield forbidden(f"{path}.persistentVolumeReclaimPolicy", detail)
    if spec.get("volumeMode", "Filesystem") != "Filesystem":
        detail = "may not specify volumeMode other than Filesystem in the context of inline volumes"
        yield forbidden(f"{path}.volumeMode", detail)


def _capacity(capacity: Obj, path: str) -> Errors:
    if not capacity:
        yield required(path)
    if "storage" not in capacity or len(capacity) > 1:
        yield unsupported(path, capacity, ("storage",))
    for resource, amount in capacity.items():
        yield from values.positive_quantity(amount, f"{path}[{resource}]")


def _affinity(affinity: Obj, path: str) -> Errors:
    if (selector := affinity.get("required")) is None:
        yield required(f"{path}.required", "must specify required node constraints")
    else:
        yield from node_selector(selector, f"{path}.required")


def _source(spec: Obj, path: str) -> Errors:
    """Exactly one source."""
    found = [name for name in _SOURCES if name in spec]
    if not found:
        yield required(path, "must specify a volume type")
    for i, name in enumerate(found):
        at = f"{path}.{name}"
        if i and name != "flexVolume":
            yield forbidden(at, "may not specify more than 1 volume type")
            continue
        if (check := _CHECKS.get(name)) is not None:
            yield from check(spec[name], at)
        for field in _REQUIRED.get(name, ()):
            if not spec[name].get(field):
                yield required(f"{at}.{field}")
        if name == "local" and "nodeAffinity" not in spec:
            yield required(f"{path}.nodeAffinity", "Local volume requires node affinity")
    root = posixpath.normpath((spec.get("hostPath") or {}).get("path") or ".") == "/"
    if root and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        detail = "may not be 'recycle' for a hostPath mount of '/'"
        yield forbidden(f"{path}.persistentVolumeReclaimPolicy", detail)


def _local(source: Obj, path: str) -> Errors:
    if not source.get("path"):
        yield required(f"{path}.path")
    else:
        yield from each(f"{path}.path", source["path"], backsteps(source["path"]))


def _nfs(source: Obj, path: str) -> Errors:
    if source.get("path") and not source["path"].startswith("/"):
        yield invalid(f"{path}.path", source["path"], "must be an absolute path")


_SECRETS = (
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
    "nodeStageSecretRef",
)


def _csi(source: Obj, path: str) -> Errors:
    yield from values.csi_driver_name(source.get("driver", ""), f"{path}.driver")
    if not source.get("volumeHandle"):
        yield required(f"{path}.volumeHandle")
    for field in _SECRETS:
        if (reference := source.get(field)) is None:
            continue
        name, namespace = reference.get("name", ""), reference.get("namespace", "")
        for part, text, check in (
            ("name", name, rules.subdomain_errors(name)),
            ("namespace", namespace, rules.label_errors(namespace)),
        ):
            if not text:
                yield required(f"{path}.{field}.{part}")
            else:
                yield from each(f"{path}.{field}.{part}", text, check)


_CHECKS: dict[str, Callable[[Obj, str], Errors]] = {
    "csi": _csi,
    "hostPath": host_path,
    "local": _local,
    "nfs": _nfs,
}
_REQUIRED: dict[str, tuple[str, ...]] = {
    "awsElasticBlockStore": ("volumeID",),
    "azureDisk": ("diskName", "diskURI"),
    "azureFile": ("secretName", "shareName"),
    "cephfs": ("monitors",),
    "cinder": ("volumeID",),
    "flexVolume": ("driver",),
    "gcePersistentDisk": ("pdName",),
    "glusterfs": ("endpoints", "path"),
    "iscsi": ("targetPortal", "iqn"),
    "nfs": ("server", "path"),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "quobyte": ("registry", "volume"),
    "rbd": ("monitors", "image"),
    "scaleIO": ("gateway", "system", "volumeName"),
    "storageos": ("volumeName",),
    "vsphereVolume": ("volumePath",),
}


_FIXED = "spec.persistentvolumesource is immutable after creation"


def volume_update(obj: Obj, old: Obj) -> Errors:
    """The source stays; a node affinity and a secret for expansion may come later."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    now, was = ({name: s[name] for name in _SOURCES if name in s} for s in (spec, before))
    field = "controllerExpandSecretRef"
    if "csi" in now and "csi" in was and field not in was["csi"]:
        now["csi"] = {key: value for key, value in now["csi"].items() if key != field}
    if now != was:
        changed = differences(now, was, "spec")
        yield forbidden("spec.persistentvolumesource", "\n".join((_FIXED, *changed)))
    yield from immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    if "nodeAffinity" in before and spec.get("nodeAffinity") != before["nodeAffinity"]:
        # MutablePVNodeAffinity is off by default.
        yield invalid(
            "nodeAffinity", spec.get("nodeAffinity"), "field is immutable, except for updating from beta label to GA"
        )
    if "volumeAttributesClassName" in before and "volumeAttributesClassName" not in spec:
        yield forbidden("spec.volumeAttributesClassName", "update from non-nil value to nil is forbidden")
