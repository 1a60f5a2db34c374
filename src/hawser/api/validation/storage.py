"""Validation of storage.k8s.io: classes, attachments, CSI. Source: API reference of each kind."""

from __future__ import annotations

from hawser.api.quantity import parse_quantity
from hawser.api.types import Obj
from hawser.api.validation import rules, values
from hawser.api.validation.persistent import volume_spec
from hawser.api.validation.rules import (
    Errors,
    duplicate,
    each,
    forbidden,
    immutable,
    invalid,
    label_selector,
    required,
    too_long,
    unsupported,
)

_MAX_PARAMETERS = 512
_MAX_BYTES = 256 * 1024
_MAX_MESSAGE = 1024
_BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
_RECLAIM = ("Delete", "Retain")
_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_LIFECYCLES = ("Persistent", "Ephemeral")


def _provisioner(name: str, path: str) -> Errors:
    if not name:
        yield required(path)
    else:
        yield from each(path, name.lower(), rules.qualified_name_errors(name.lower()))


def _parameters(obj: Obj, path: str, empty: bool) -> Errors:
    parameters = obj.get("parameters") or {}
    if len(parameters) > _MAX_PARAMETERS:
        yield too_long(path, _MAX_PARAMETERS)
        return
    if not parameters and not empty:
        yield required(path, "must contain at least one key/value pair")
    if "" in parameters:
        yield invalid(path, "", "field can not be empty.")
    if _bytes(parameters) > _MAX_BYTES:
        yield too_long(path, _MAX_BYTES)


def _bytes(texts: dict[str, str]) -> int:
    return sum(len(key.encode()) + len(text.encode("utf-8", "replace")) for key, text in texts.items())


def storage_class(obj: Obj) -> Errors:
    yield from _provisioner(obj.get("provisioner", ""), "provisioner")
    yield from _parameters(obj, "parameters", True)
    policy, mode = obj.get("reclaimPolicy", ""), obj.get("volumeBindingMode")
    if policy and policy not in _RECLAIM:
        yield unsupported("reclaimPolicy", policy, _RECLAIM)
    if mode is None:
        yield required("volumeBindingMode")
    elif mode not in _BINDING_MODES:
        yield unsupported("volumeBindingMode", mode, _BINDING_MODES)
    yield from _topologies(obj.get("allowedTopologies") or [], "allowedTopologies")


def _topologies(terms: list[Obj], path: str) -> Errors:
    seen: list[dict[str, set[str]]] = []
    for i, term in enumerate(terms):
        at = f"{path}[{i}]"
        found: dict[str, set[str]] = {}
        for j, expression in enumerate(term.get("matchLabelExpressions") or ()):
            here = f"{at}.matchLabelExpressions[{j}]"
            key, listed = expression.get("key", ""), expression.get("values") or []
            if not listed:
                yield required(f"{here}.values")
            for k, value in enumerate(listed):
                if value in listed[:k]:
                    yield duplicate(f"{here}.values[{k}]", value)
            yield from each(f"{here}.key", key, rules.qualified_name_errors(key))
            if key in found:
                yield duplicate(f"{here}.key", key)
            found[key] = set(listed)
        if found in seen:
            yield duplicate(f"{at}.matchLabelExpressions", "")
        seen.append(found)


def storage_class_update(obj: Obj, old: Obj) -> Errors:
    for field, empty in (("parameters", {}), ("provisioner", ""), ("reclaimPolicy", "")):
        if (obj.get(field) or empty) != (old.get(field) or empty):
            yield forbidden(field, f"updates to {field} are forbidden.")
    yield from immutable("volumeBindingMode", obj.get("volumeBindingMode"), old.get("volumeBindingMode"))


def attributes_class(obj: Obj) -> Errors:
    yield from _provisioner(obj.get("driverName", ""), "driverName")
    yield from _parameters(obj, "parameters", False)


def attributes_class_update(obj: Obj, old: Obj) -> Errors:
    for field in ("driverName", "parameters"):
        if obj.get(field) != old.get(field):
            yield forbidden(field, f"updates to {field} are forbidden.")


def attachment(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    attacher, source, node = spec.get("attacher", ""), spec.get("source") or {}, spec.get("nodeName", "")
    inline, volume = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    if not attacher:
        yield required("spec.attacher")
    path = "spec.source"
    if (inline is None) == (volume is None):
        detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        yield required(path, detail) if inline is None else forbidden(path, detail)
    elif volume == "":
        yield required(f"{path}.persistentVolumeName", "must specify non empty persistentVolumeName")
    elif inline is not None:
        yield from volume_spec(inline, f"{path}.inlineVolumeSpec", inline=True)
    yield from each("spec.nodeName", node, rules.subdomain_errors(node))
    yield from _attachment_status(obj)


def _attachment_status(obj: Obj) -> Errors:
    status = obj.get("status") or {}
    if _bytes(status.get("attachmentMetadata") or {}) > _MAX_BYTES:
        yield too_long("status.attachmentMetadata", _MAX_BYTES)
    for field in ("attachError", "detachError"):
        if len(((status.get(field) or {}).get("message") or "").encode()) > _MAX_MESSAGE:
            yield too_long(f"status.{field}.message", _MAX_BYTES)


def attachment_create(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    yield from values.csi_driver_name(spec.get("attacher", ""), "spec.attacher")
    name = (spec.get("source") or {}).get("persistentVolumeName")
    if name is not None:
        yield from each("spec.source.persistentVolumeName", name, rules.subdomain_errors(name))


def attachment_update(obj: Obj, old: Obj) -> Errors:
    yield from values.same("spec", obj.get("spec"), old.get("spec"))


def attachment_status(obj: Obj, old: Obj) -> Errors:
    yield from _attachment_status(obj)


def csi_node(obj: Obj) -> Errors:
    seen = set()
    for i, driver in enumerate((obj.get("spec") or {}).get("drivers") or ()):
        path = f"spec.drivers[{i}]"
        name, node = driver.get("name", ""), driver.get("nodeID", "")
        yield from values.csi_driver_name(name, f"{path}.name")
        if not node:
            yield required(f"{path}.nodeID")
        if len(node.encode()) > 256:
            yield invalid(f"{path}.nodeID", node, "must be 256 characters or less")
        yield from rules.not_negative(driver.get("allocatable") or {}, f"{path}.allocatable", "count")
        if name in seen:
            yield duplicate(f"{path}.name", name)
        seen.add(name)
        keys = driver.get("topologyKeys") or []
        for j, key in enumerate(keys):
            if not key:
                yield required(path)
            if key in keys[:j]:
                yield duplicate(path, key)
            yield from each(path, key, rules.qualified_name_errors(key))


def csi_node_update(obj: Obj, old: Obj) -> Errors:
    before: dict[str, list[Obj]] = {}
    for driver in (old.get("spec") or {}).get("drivers") or ():
        before.setdefault(driver.get("name", ""), []).append({**driver, "allocatable": None})
    for driver in (obj.get("spec") or {}).get("drivers") or ():
        known = before.get(driver.get("name", ""))
        # What the node can take may change while it runs (MutableCSINodeAllocatableCount).
        if known is not None and {**driver, "allocatable": None} not in known:
            yield invalid("CSINodeDriver", driver, rules.IMMUTABLE)


def csi_driver(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    for field, shown in (
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ):
        if spec.get(field) is None:
            yield required(f"spec.{shown}")
    policy = spec.get("fsGroupPolicy")
    if policy is not None and policy not in _GROUP_POLICIES:
        yield unsupported("spec.fsGroupPolicy", policy, _GROUP_POLICIES)
    yield from _token_requests(spec.get("tokenRequests") or [], "spec.tokenRequests")
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in _LIFECYCLES:
            yield unsupported("spec.volumeLifecycleModes", mode, _LIFECYCLES)
    if spec.get("seLinuxMount") is None:
        yield required("spec.seLinuxMount")
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        detail = "must be greater than or equal to 10 seconds"
        yield invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, detail)


def _token_requests(requests: list[Obj], path: str) -> Errors:
    audiences = set()
    for i, request in enumerate(requests):
        audience, seconds = request.get("audience", ""), request.get("expirationSeconds")
        if audience in audiences:
            yield duplicate(f"{path}[{i}].audience", audience)
            continue
        audiences.add(audience)
        if seconds is None:
            continue
        at = f"{path}[{i}].expirationSeconds"
        if seconds < 600:
            yield invalid(at, seconds, "may not specify a duration less than 10 minutes")
        if seconds > 1 << 32:
            yield invalid(at, seconds, "may not specify a duration larger than 2^32 seconds")


def csi_driver_update(obj: Obj, old: Obj) -> Errors:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    yield from values.same("spec.attachedRequired", spec.get("attachRequired"), before.get("attachRequired"))
    field = "volumeLifecycleModes"
    yield from values.same(f"spec.{field}", spec.get(field), before.get(field))


def storage_capacity(obj: Obj) -> Errors:
    yield from label_selector(obj.get("nodeTopology"), "nodeTopology")
    name, capacity = obj.get("storageClassName", ""), obj.get("capacity")
    yield from each("storageClassName", name, rules.subdomain_errors(name))
    if capacity is not None and parse_quantity(capacity) < 0:
        yield invalid("capacity", capacity, rules.NEGATIVE)


def storage_capacity_update(obj: Obj, old: Obj) -> Errors:
    yield from values.same("nodeTopology", obj.get("nodeTopology"), old.get("nodeTopology"))
    yield from immutable("storageClassName", obj.get("storageClassName"), old.get("storageClassName"))
