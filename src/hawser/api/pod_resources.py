"""What a pod as a whole asks for.

Source: Kubernetes documentation, "Resource Management for Pods and Containers", "Sidecar Containers" (KEP-753, how
init containers share resources), "Pod Overhead" and pod-level resources (KEP-2837).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeVar

from hawser.api.quantity import Quantity, milli, to_bytes
from hawser.api.types import Obj

Amounts = dict[str, int]
"""Resource name to amount: CPU in thousandths of a core, everything else in its unit (bytes, pieces)."""
Value = TypeVar("Value", int, Quantity)


@lru_cache(maxsize=2048)
def amount(resource: str, quantity: str | int | float) -> int:
    """One quantity in the unit of ``Amounts``. Raises ValueError."""
    return milli(quantity) if resource == "cpu" else to_bytes(quantity)


def amounts(quantities: Obj | None) -> Amounts:
    """A ResourceList in the units of ``Amounts``."""
    return {name: amount(name, quantity) for name, quantity in (quantities or {}).items()}


def pod_requests(spec: Obj) -> Amounts:
    """The effective requests of a pod: what a node must have free for it. Overhead comes on top."""
    total = _effective(spec, "requests")
    add(total, amounts(spec.get("overhead")))
    return total


def pod_limits(spec: Obj) -> Amounts:
    """The effective limits of a pod, as far as it has some; overhead only adds to what is limited."""
    total = _effective(spec, "limits")
    for name, value in amounts(spec.get("overhead")).items():
        if total.get(name):
            total[name] += value
    return total


def together(spec: Obj, needs: Callable[[Obj], dict[str, Value]]) -> dict[str, Value]:
    """What containers and sidecars need together, or the largest need while the pod initializes.

    Ordinary init containers run one after another beside the sidecars that were started before them. needs: of one
    container, by resource, as a dict of the caller's own.
    """
    total: dict[str, Value] = {}
    for container in spec.get("containers") or ():
        add(total, needs(container))
    peak: dict[str, Value] = {}
    sidecars: dict[str, Value] = {}
    for container in spec.get("initContainers") or ():
        needed = needs(container)
        if container.get("restartPolicy") == "Always":
            add(total, needed)
            add(sidecars, needed)
            needed = sidecars
        else:
            add(needed, sidecars)
        enlarge(peak, needed)
    enlarge(total, peak)
    return total


def add(total: dict[str, Value], more: Mapping[str, Value]) -> None:
    """Adds amounts to a total, resource by resource."""
    for name, value in more.items():
        total[name] = total[name] + value if name in total else value


def enlarge(total: dict[str, Value], least: Mapping[str, Value]) -> None:
    """Makes a total at least so large, resource by resource."""
    for name, value in least.items():
        if name not in total or total[name] < value:
            total[name] = value


def _effective(spec: Obj, part: str) -> Amounts:
    total = together(spec, lambda container: _part(container, part))
    # What the pod states for itself replaces the sum over its containers.
    total.update(_part(spec, part))
    return total


def _part(container: Obj, part: str) -> Amounts:
    return amounts((container.get("resources") or {}).get(part))
