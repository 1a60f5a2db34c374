"""How good a node is for a pod: pure functions, 0 (worst) to 100.

Source: Kubernetes reference, "Scheduler Configuration" and "Resource Bin Packing"; weights are the defaults there.
"""

from __future__ import annotations

from collections.abc import Sequence

from hawser.api.taints import PREFER_NO_SCHEDULE, tolerates
from hawser.scheduler.cache import NodeInfo
from hawser.scheduler.shapes import Shape

BEST = 100
WEIGHT_RESOURCES = 1
WEIGHT_BALANCE = 1
WEIGHT_IMAGES = 1
WEIGHT_TAINTS = 3
WEIGHT_NODE_AFFINITY = 2
WEIGHT_SPREAD = 2
WEIGHT_POD_AFFINITY = 2

_MEGABYTE = 1024 * 1024
_SMALL_IMAGE = 23 * _MEGABYTE
_LARGE_IMAGE = 1000 * _MEGABYTE


def least_allocated(shape: Shape, node: NodeInfo) -> int:
    """The share of CPU and memory that stays free, averaged."""
    score = 0
    for resource, used, wanted in zip(("cpu", "memory"), node.scored, shape.scored, strict=True):
        capacity = node.allocatable.get(resource, 0)
        if capacity > 0:
            score += max(0, capacity - used - wanted) * BEST // capacity
    return score // 2


def balanced(shape: Shape, node: NodeInfo) -> int:
    """How alike the used shares of CPU and memory are: neither should run out long before the other."""
    cpu, memory = node.allocatable.get("cpu", 0), node.allocatable.get("memory", 0)
    if cpu <= 0 or memory <= 0:
        return 0
    used_cpu = min(1.0, (node.scored[0] + shape.scored[0]) / cpu)
    used_memory = min(1.0, (node.scored[1] + shape.scored[1]) / memory)
    return int(BEST * (1 - abs(used_cpu - used_memory) / 2))


def images_present(shape: Shape, node: NodeInfo) -> int:
    """How much of the pod's images need not be pulled."""
    if not node.images or not shape.images:
        return 0
    present = sum(node.images.get(_tagged(image), 0) for image in shape.images)
    largest = _LARGE_IMAGE * len(shape.images)
    return BEST * (min(max(present, _SMALL_IMAGE), largest) - _SMALL_IMAGE) // (largest - _SMALL_IMAGE)


def _tagged(image: str) -> str:
    name = image.rpartition("/")[2]
    return image if ":" in name or "@" in name else f"{image}:latest"


def disliked(shape: Shape, node: NodeInfo) -> int:
    """The number of PreferNoSchedule taints that the pod does not tolerate (not yet a score: see ``inverted``)."""
    return sum(
        taint.get("effect") == PREFER_NO_SCHEDULE and not any(tolerates(t, taint) for t in shape.tolerations)
        for taint in node.taints
    )


def normalized(values: Sequence[int]) -> list[int]:
    """Values from 0 up scaled to at most 100; the largest is best."""
    largest = max(values, default=0)
    return [value * BEST // largest for value in values] if largest > 0 else [0] * len(values)


def inverted(values: Sequence[int]) -> list[int]:
    """Values from 0 up turned over: the largest is worst, 0 is 100."""
    return [BEST - value for value in normalized(values)]


def stretched(values: Sequence[int]) -> list[int]:
    """Any values stretched over 0 to 100; the largest is best; all alike are 0."""
    low, high = min(values, default=0), max(values, default=0)
    return [(value - low) * BEST // (high - low) for value in values] if high > low else [0] * len(values)
