"""Validation of PodDisruptionBudgets and PriorityClasses.

Source: API reference of each kind; "Specifying a Disruption Budget", "Pod Priority and Preemption".
"""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.api.validation.conditions import conditions
from hawser.api.validation.rules import (
    Errors,
    forbidden,
    immutable,
    invalid,
    label_selector,
    not_negative,
    one_of,
    unsupported,
)
from hawser.api.validation.workloads import amount

_UNHEALTHY = ("AlwaysAllow", "IfHealthyBudget")
_SYSTEM = "system-"
_HIGHEST = 1_000_000_000
SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
"""The classes that Kubernetes itself has, with their values."""


def disruption_budget(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        yield invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    if least is not None:
        yield from amount(least, "spec.minAvailable")
    if most is not None:
        yield from amount(most, "spec.maxUnavailable")
    yield from label_selector(spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in _UNHEALTHY:
        yield unsupported("spec.unhealthyPodEvictionPolicy", policy, _UNHEALTHY)


def disruption_budget_status_update(obj: Obj, old: Obj) -> Errors:
    status = obj.get("status") or {}
    yield from conditions(status.get("conditions"), "status.conditions")
    yield from not_negative(status, "status", "disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")


def priority_class_create(obj: Obj) -> Errors:
    name, value = (obj.get("metadata") or {}).get("name", ""), obj.get("value", 0)
    if name.startswith(_SYSTEM):
        if wrong := _not_a_system_class(name, value, bool(obj.get("globalDefault"))):
            detail = f"priority class names with '{_SYSTEM}' prefix are reserved for system use only. error: {wrong}"
            yield forbidden("metadata.name", detail)
    elif value > _HIGHEST:
        yield forbidden("value", f"maximum allowed value of a user defined priority is {_HIGHEST}")
    yield from one_of("preemptionPolicy", obj.get("preemptionPolicy"), ("Never", "PreemptLowerPriority"))


def _not_a_system_class(name: str, value: int, default: bool) -> str:
    known = SYSTEM_CLASSES.get(name)
    if known is None:
        return f"{name} is not a known system priority class"
    if value != known:
        return f"value of {name} PriorityClass must be {known}"
    return f"globalDefault of {name} PriorityClass must be false" if default else ""


def priority_class_update(obj: Obj, old: Obj) -> Errors:
    """Pods carry the value of their class, so it stays what it is."""
    if obj.get("value", 0) != old.get("value", 0):
        yield forbidden("value", "may not be changed in an update.")
    yield from immutable("preemptionPolicy", obj.get("preemptionPolicy"), old.get("preemptionPolicy"))
