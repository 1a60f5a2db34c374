"""Validation of PersistentVolumeClaims. Source: API reference, PersistentVolumeClaimSpec; "Persistent Volumes"."""

from __future__ import annotations

from hawser.api.quantity import parse_quantity
from hawser.api.storage import CLASS_BETA
from hawser.api.types import Obj
from hawser.api.validation import rules, values
from hawser.api.validation.differences import differences
from hawser.api.validation.persistent import VOLUME_MODES, access_modes
from hawser.api.validation.resources import amounts
from hawser.api.validation.rules import (
    Errors,
    duplicate,
    each,
    forbidden,
    immutable,
    invalid,
    label_selector,
    required,
    unsupported,
)

_FIXED = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
_RESIZING = (
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizePending",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
)


def claim(obj: Obj) -> Errors:
    yield from claim_spec(obj.get("spec") or {}, "spec")


def claim_spec(spec: Obj, path: str) -> Errors:
    """A PersistentVolumeClaimSpec, also of a template."""
    modes = spec.get("accessModes") or []
    if not modes:
        yield required(f"{path}.accessModes", "at least 1 access mode is required")
    yield from label_selector(spec.get("selector"), f"{path}.selector")
    yield from access_modes(modes, f"{path}.accessModes")
    amount = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if amount is None:
        yield required(f"{path}.resources[storage]")
    else:
        yield from values.positive_quantity(amount, f"{path}.resources[storage]")
    if name := spec.get("storageClassName"):
        yield from each(f"{path}.storageClassName", name, rules.subdomain_errors(name))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        yield unsupported(f"{path}.volumeMode", mode, VOLUME_MODES)
    yield from _data_sources(spec, path)
    if name := spec.get("volumeAttributesClassName"):
        yield from each(f"{path}.volumeAttributesClassName", name, rules.subdomain_errors(name))


def _data_sources(spec: Obj, path: str) -> Errors:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None:
        yield from _data_source(source, f"{path}.dataSource")
    if reference is not None:
        yield from _data_source(reference, f"{path}.dataSourceRef")
        if namespace := reference.get("namespace"):
            yield from each(f"{path}.dataSourceRef.namespace", namespace, rules.label_errors(namespace))
    if source is None or reference is None:
        return
    if reference.get("namespace"):
        yield invalid(path, f"{path}.dataSource", "may not be specified when dataSourceRef.namespace is specified")
    elif {**source} != {key: value for key, value in reference.items() if key != "namespace"}:
        yield invalid(path, f"{path}.dataSource", "must match dataSourceRef")


def _data_source(source: Obj, path: str) -> Errors:
    for field in ("name", "kind"):
        if not source.get(field):
            yield required(f"{path}.{field}")
    group, kind = source.get("apiGroup") or "", source.get("kind", "")
    if not group and kind != "PersistentVolumeClaim":
        yield invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
    if group:
        yield from each(f"{path}.apiGroup", group, rules.subdomain_errors(group))


def claim_update(obj: Obj, old: Obj) -> Errors:
    """Only the volume's name, once, and the size and attributes of what is bound may change."""
    spec, before = dict(obj.get("spec") or {}), dict(old.get("spec") or {})
    annotations, annotated = ((o.get("metadata") or {}).get("annotations") or {} for o in (obj, old))
    size, had = (((s.get("resources") or {}).get("requests") or {}).get("storage") for s in (spec, before))
    attributes, attributed = spec.get("volumeAttributesClassName"), before.get("volumeAttributesClassName")
    compared = _comparable(spec, before, (obj.get("status") or {}).get("phase") == "Bound")
    if annotations.get(CLASS_BETA) != annotated.get(CLASS_BETA):
        yield invalid(f"metadata.annotations.{CLASS_BETA}", annotations.get(CLASS_BETA, ""), rules.IMMUTABLE)
    elif "storageClassName" not in before and CLASS_BETA not in annotated:
        # A claim without a class may get one: the default class comes later than some claims.
        compared.pop("storageClassName", None)
    if compared != before:
        yield forbidden("spec", "\n".join((_FIXED, *differences(compared, before, "spec"))))
    if size is not None and had is not None and parse_quantity(size) < parse_quantity(had):
        capacity = ((old.get("status") or {}).get("capacity") or {}).get("storage", "0")
        if parse_quantity(size) <= parse_quantity(capacity):
            yield forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
    yield from immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    if attributed is not None and attributes != attributed:
        at = "spec.volumeAttributesClassName"
        if attributes is None:
            yield forbidden(at, "update from non-nil value to nil is forbidden")
        elif not attributes:
            yield forbidden(at, "update from non-nil value to an empty string is forbidden")


def _comparable(spec: Obj, before: Obj, bound: bool) -> Obj:
    """The new spec with what may differ as it was."""
    compared = dict(spec)
    fields = ["volumeAttributesClassName"]
    if not before.get("volumeName"):
        fields.append("volumeName")
    for field in fields:
        compared.pop(field, None)
        if field in before:
            compared[field] = before[field]
    if bound and "requests" in (spec.get("resources") or {}):
        requests = {**spec["resources"]["requests"], **_storage(before)}
        compared["resources"] = {**spec["resources"], "requests": requests}
    return compared


def _storage(spec: Obj) -> Obj:
    requests = (spec.get("resources") or {}).get("requests") or {}
    return {"storage": requests["storage"]} if "storage" in requests else {}


def claim_status(obj: Obj, old: Obj) -> Errors:
    status, spec = obj.get("status") or {}, obj.get("spec") or {}
    if not spec.get("accessModes"):
        yield required("Spec.accessModes")
    yield from amounts(status.get("capacity"), "status.capacity")
    for resource, state in (status.get("allocatedResourceStatuses") or {}).items():
        path = f"status.allocatedResourceStatus[{resource}]"
        if resource != "storage" and "/" not in resource:
            yield invalid(path, resource, "must be a valid resource name")
        if state not in _RESIZING and "/" not in state:
            yield unsupported(path, state, sorted(_RESIZING))
    yield from amounts(status.get("allocatedResources"), "status.allocatedResources")
    seen = set()
    for i, condition in enumerate(status.get("conditions") or ()):
        kind = condition.get("type", "")
        if kind in seen:
            yield duplicate(f"status.conditions[{i}].type", kind)
        seen.add(kind)
