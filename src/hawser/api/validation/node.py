"""Validation of Nodes and RuntimeClasses. Source: API reference, NodeSpec, Taint and RuntimeClass."""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.resources import amounts, requirements
from hawser.api.validation.rules import Errors, duplicate, each, forbidden, immutable, one_of, required
from hawser.api.validation.scheduling import EFFECTS, tolerations


def node(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    seen = set()
    for i, taint in enumerate(spec.get("taints") or ()):
        path = f"spec.taints[{i}]"
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        yield from each(f"{path}.key", key, rules.qualified_name_errors(key))
        yield from each(f"{path}.value", value, rules.label_value_errors(value))
        yield from one_of(f"{path}.effect", effect, EFFECTS)
        if (key, effect) in seen:
            yield duplicate(path, taint)
        seen.add((key, effect))
    for i, cidr in enumerate(spec.get("podCIDRs") or ()):
        yield from each(f"spec.podCIDRs[{i}]", cidr, rules.cidr_errors(cidr))
    status = obj.get("status") or {}
    for field in ("capacity", "allocatable"):
        yield from amounts(status.get(field), f"status.{field}")


def node_update(obj: Obj, old: Obj) -> Errors:
    """Addresses of pods and the provider's name of a node are set once."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    for field, shown in (("podCIDRs", "podCIDR"), ("providerID", "providerID")):
        if before.get(field) and spec.get(field) != before[field]:
            yield forbidden(f"spec.{field}", f'node updates may not change {shown} except from "" to valid')


def runtime_class(obj: Obj) -> Errors:
    handler = obj.get("handler", "")
    if not handler:
        yield required("handler")
    else:
        yield from each("handler", handler, rules.label_errors(handler))
    yield from requirements({"limits": (obj.get("overhead") or {}).get("podFixed")}, "overhead")
    scheduling = obj.get("scheduling") or {}
    yield from rules.labels(scheduling.get("nodeSelector"), "scheduling.nodeSelector")
    yield from tolerations(scheduling.get("tolerations") or [], "scheduling.tolerations")


def runtime_class_update(obj: Obj, old: Obj) -> Errors:
    yield from immutable("handler", obj.get("handler"), old.get("handler"))
