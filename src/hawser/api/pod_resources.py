"""What a pod as a whole asks for.

Source: Kubernetes documentation, "Resource Management for Pods and Containers", "Sidecar Containers" (KEP-753, how
init containers share resources), "Pod Overhead" and pod-level resources (KEP-2837).
"""

from __future__ import annotations

from functools import lru_cache

from hawser.api.quantity import milli, to_bytes
from hawser.api.types import Obj

Amounts = dict[str, int]
"""Resource name to amount: CPU in thousandths of a core, everything else in its unit (bytes, pieces)."""


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
    _add(total, amounts(spec.get("overhead")))
    return total


def pod_limits(spec: Obj) -> Amounts:
    """The effective limits of a pod, as far as it has some; overhead only adds to what is limited."""
    total = _effective(spec, "limits")
    for name, value in amounts(spec.get("overhead")).items():
        if total.get(name):
            total[name] += value
    return total


def _effective(spec: Obj, part: str) -> Amounts:
    """Containers and sidecars together, or the largest need while the pod initializes.

    Ordinary init containers run one after another beside the sidecars that were started before them.
    """
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _part(container, part))
    peak: Amounts = {}
    sidecars: Amounts = {}
    for container in spec.get("initContainers") or ():
        needed = _part(container, part)
        if container.get("restartPolicy") == "Always":
            _add(total, needed)
            _add(sidecars, needed)
            needed = sidecars
        else:
            _add(needed, sidecars)
        for name, value in needed.items():
            peak[name] = max(peak.get(name, 0), value)
    for name, value in peak.items():
        total[name] = max(total.get(name, 0), value)
    # What the pod states for itself replaces the sum over its containers.
    total.update(_part(spec, part))
    return total


def _part(container: Obj, part: str) -> Amounts:
    return amounts((container.get("resources") or {}).get(part))


def _add(total: Amounts, more: Amounts) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value
