"""The columns of HorizontalPodAutoscalers, PodDisruptionBudgets, ResourceQuotas and PriorityClasses.

LimitRanges have the columns of kinds without any of their own, as in Kubernetes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hawser.api.printers.base import AGE, NAME, NONE, UNKNOWN, UNSET, Column, Printer, age, name, part
from hawser.api.types import Obj

_SHOWN_METRICS = 2
_FIELDS = {
    "External": "external",
    "Pods": "pods",
    "Object": "object",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}


def _metric(spec: Obj, status: Obj) -> str:
    """``current/target`` of one metric; resources with their name."""
    field = _FIELDS.get(spec.get("type", ""))
    if field is None:
        return "<unknown type>"
    target, current = part(part(spec, field), "target"), part(part(status, field), "current")
    if field in ("resource", "containerResource"):
        label = f"{part(spec, field).get('name', '')}: "
        if "averageValue" in target:
            return f"{label}{current.get('averageValue', UNKNOWN)}/{target['averageValue']}"
        used, wanted = current.get("averageUtilization"), target.get("averageUtilization")
        return f"{label}{UNKNOWN if used is None else f'{used}%'}/{'<auto>' if wanted is None else f'{wanted}%'}"
    if field == "pods":
        return f"{current.get('averageValue', UNKNOWN)}/{target.get('averageValue', NONE)}"
    if "averageValue" in target:
        return f"{current.get('averageValue', UNKNOWN)}/{target['averageValue']} (avg)"
    return f"{current.get('value', UNKNOWN)}/{target.get('value', NONE)}"


def _metrics(specs: list[Obj], statuses: list[Obj]) -> str:
    if not specs:
        return NONE
    shown = [_metric(spec, statuses[i] if i < len(statuses) else {}) for i, spec in enumerate(specs[:_SHOWN_METRICS])]
    more = len(specs) - _SHOWN_METRICS
    return ", ".join(shown) + (f" + {more} more..." if more > 0 else "")


def _autoscaler(obj: Obj, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    target, low = part(spec, "scaleTargetRef"), spec.get("minReplicas")
    return [
        name(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _metrics(spec.get("metrics") or [], status.get("currentMetrics") or []),
        UNSET if low is None else str(low),
        spec.get("maxReplicas") or 0,
        status.get("currentReplicas") or 0,
        age(obj, now),
    ]


def _disruption_budget(obj: Obj, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    return [
        name(obj),
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        part(obj, "status").get("disruptionsAllowed") or 0,
        age(obj, now),
    ]


def _resource_quota(obj: Obj, now: datetime) -> list[Any]:
    status = part(obj, "status")
    hard, used = part(status, "hard"), part(status, "used")
    requests: list[str] = []
    limits: list[str] = []
    for resource in sorted(hard):
        shown = f"{resource}: {used.get(resource, '0')}/{hard[resource]}"
        (limits if resource.startswith("limits.") else requests).append(shown)
    return [name(obj), ", ".join(requests), ", ".join(limits), age(obj, now)]


def _priority_class(obj: Obj, now: datetime) -> list[Any]:
    default = bool(obj.get("globalDefault"))
    return [name(obj), obj.get("value", 0), default, age(obj, now), obj.get("preemptionPolicy", "")]


AUTOSCALER = Printer(
    (
        NAME,
        Column("Reference", description="What is scaled."),
        Column("Targets", description="What is measured, and what it should be."),
        Column("MinPods", description="The least number of pods."),
        Column("MaxPods", description="The greatest number of pods."),
        Column("Replicas", description="How many pods there are."),
        AGE,
    ),
    _autoscaler,
)
DISRUPTION_BUDGET = Printer(
    (
        NAME,
        Column("Min Available", description="How many pods must stay available."),
        Column("Max Unavailable", description="How many pods may be unavailable."),
        Column("Allowed Disruptions", "integer", description="How many pods may be evicted now."),
        AGE,
    ),
    _disruption_budget,
)
RESOURCE_QUOTA = Printer(
    (
        NAME,
        Column("Request", description="What is used and allowed of everything but limits."),
        Column("Limit", description="What is used and allowed of limits."),
        AGE,
    ),
    _resource_quota,
)
PRIORITY_CLASS = Printer(
    (
        NAME,
        Column("Value", "integer", description="The priority of pods of the class."),
        Column("Global-Default", "boolean", description="Whether pods without a class are of this one."),
        AGE,
        Column("PreemptionPolicy", description="Whether pods of the class preempt others."),
    ),
    _priority_class,
)
