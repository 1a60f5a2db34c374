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
    """The effective requests of a pod: what a node must have free for it.

    Ordinary init containers run one after another beside the sidecars that were started before them, so the pod needs
    the larger of that and of all containers and sidecars together; overhead comes on top.
    """
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _requests(container))
    peak: Amounts = {}
    sidecars: Amounts = {}
    for container in spec.get("initContainers") or ():
        needed = _requests(container)
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
    total.update(_requests(spec))
    _add(total, amounts(spec.get("overhead")))
    return total


def _requests(container: Obj) -> Amounts:
    return amounts((container.get("resources") or {}).get("requests"))


def _add(total: Amounts, more: Amounts) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value
