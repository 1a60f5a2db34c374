"""The quality of service class of a pod. Source: "Pod Quality of Service Classes"; KEP-2837 for pod-level resources."""

from __future__ import annotations

from decimal import Decimal

from hawser.api.quantity import parse_quantity
from hawser.api.types import Obj

_COMPUTE = ("cpu", "memory")


def qos_class(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort, from requests and limits for CPU and memory.

    What the pod states for itself replaces what its containers state.
    """
    own = spec.get("resources") or {}
    if own.get("limits") or own.get("requests"):
        parts = [own]
    else:
        containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        parts = [container.get("resources") or {} for container in containers]
    requests: dict[str, Decimal] = {}
    limits: dict[str, Decimal] = {}
    limited = True
    for resources in parts:
        _add(requests, resources.get("requests"))
        limited = _add(limits, resources.get("limits")) == len(_COMPUTE) and limited
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if limited and requests == limits else "Burstable"


def _add(total: dict[str, Decimal], amounts: dict[str, str] | None) -> int:
    """Add what there is of CPU and memory; how many of them there are."""
    found = 0
    for name in _COMPUTE:
        amount = parse_quantity((amounts or {}).get(name, "0"))
        if amount > 0:
            total[name] = total.get(name, Decimal(0)) + amount
            found += 1
    return found
