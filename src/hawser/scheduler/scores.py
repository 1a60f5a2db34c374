"""How good a node is for a pod: pure functions, 0 (worst) to 100.

Source: Kubernetes reference, "Scheduler Configuration" and "Resource Bin Packing".
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

from hawser.api.taints import PREFER_NO_SCHEDULE, tolerates
from hawser.scheduler.cache import NodeInfo
from hawser.scheduler.profile import CPU_AND_MEMORY, Packing, Profile, Resources
from hawser.scheduler.shapes import Shape

BEST = 100

_MEGABYTE = 1024 * 1024
_SMALL_IMAGE = 23 * _MEGABYTE
_LARGE_IMAGE = 1000 * _MEGABYTE

Score = Callable[[Shape, NodeInfo], int]


def least_allocated(shape: Shape, node: NodeInfo) -> int:
    """The share of CPU and memory that stays free, averaged."""
    score = parts = 0
    used, wanted = node.scored, shape.scored
    cpu, memory = node.allocatable.get("cpu", 0), node.allocatable.get("memory", 0)
    if cpu:
        score += max(0, cpu - used[0] - wanted[0]) * BEST // cpu
        parts += 1
    if memory:
        score += max(0, memory - used[1] - wanted[1]) * BEST // memory
        parts += 1
    return score // parts if parts else 0


def balanced(shape: Shape, node: NodeInfo) -> int:
    """Whether the used shares of CPU and memory become more alike, or less: neither should run out long before another.

    From 50 (they were alike, and now one is used up) to 100; 75 where nothing changes.
    """
    cpu, memory = node.allocatable.get("cpu", 0), node.allocatable.get("memory", 0)
    requests, requested = shape.requests, node.requested
    wanted_cpu, wanted_memory = requests.get("cpu", 0), requests.get("memory", 0)
    if not wanted_cpu and not wanted_memory:
        # Best-effort pods would all go where the balance is.
        return 0
    if not cpu or not memory:
        return _changed(BEST, BEST)
    used_cpu, used_memory = requested.get("cpu", 0), requested.get("memory", 0)
    before = _even(used_cpu / cpu, used_memory / memory)
    after = _even((used_cpu + wanted_cpu) / cpu, (used_memory + wanted_memory) / memory)
    return _changed(before, after)


def _even(one: float, other: float) -> int:
    """How alike two shares are; what is more than all is all."""
    if one > 1.0 or other > 1.0:
        one, other = min(1.0, one), min(1.0, other)
    return int(BEST * (1 - abs(one - other) / 2))


def _changed(before: int, after: int) -> int:
    """The score for a change of evenness, each from 50 to 100."""
    half = BEST // 2
    return half + (half + after - before) // 2


def balance_of(resources: Resources) -> Score:
    """``balanced`` over other resources than CPU and memory."""
    names = [name for name, _ in resources]

    def score(shape: Shape, node: NodeInfo) -> int:
        if not any(shape.requests.get(name) for name in names):
            return 0
        before: list[float] = []
        after: list[float] = []
        for name in names:
            whole = node.allocatable.get(name, 0)
            if whole and (name in ("cpu", "memory") or shape.requests.get(name)):
                used = node.requested.get(name, 0)
                before.append(min(1.0, used / whole))
                after.append(min(1.0, (used + shape.requests.get(name, 0)) / whole))
        return _changed(_evenness(before), _evenness(after))

    return score


def _evenness(shares: Sequence[float]) -> int:
    if len(shares) < 2:
        return BEST
    mean = sum(shares) / len(shares)
    deviation = math.sqrt(sum((share - mean) ** 2 for share in shares) / len(shares))
    return int(BEST * (1 - deviation))


def packing_of(profile: Profile) -> Score:
    """The score of a profile's scoringStrategy."""
    if profile.packing is Packing.LEAST and profile.resources == CPU_AND_MEMORY:
        return least_allocated
    points = profile.ratio

    def one(used: int, whole: int) -> int:
        if profile.packing is Packing.LEAST:
            return max(0, whole - used) * BEST // whole
        if profile.packing is Packing.MOST:
            return min(used, whole) * BEST // whole
        return interpolated(points, min(used, whole) * BEST // whole)

    def score(shape: Shape, node: NodeInfo) -> int:
        total = weights = 0
        for name, weight in profile.resources:
            whole = node.allocatable.get(name, 0)
            if name in ("cpu", "memory"):
                index = int(name == "memory")
                used = node.scored[index] + shape.scored[index]
            elif not shape.requests.get(name):
                continue
            else:
                used = node.requested.get(name, 0) + shape.requests[name]
            if whole:
                value = one(used, whole)
                total += value * weight
                weights += weight if value or profile.packing is not Packing.RATIO else 0
        if not weights:
            return 0
        return round(total / weights) if profile.packing is Packing.RATIO else total // weights

    return score


def interpolated(points: Sequence[tuple[int, int]], at: int) -> int:
    """The value of a broken line at a place; level before its first point and after its last."""
    after = bisect_right([x for x, _ in points], at)
    if after == 0:
        return points[0][1]
    if after == len(points):
        return points[-1][1]
    (x, y), (next_x, next_y) = points[after - 1], points[after]
    return y + int((next_y - y) * (at - x) / (next_x - x))


def images_present(images: Mapping[str, float], count: int, node: NodeInfo) -> int:
    """How much of the pod's images need not be pulled.

    images: the pod's, with the share of all nodes that have each (as often as the pod has it): what is rare should not
    draw all pods to one node. count: how many the pod has.
    """
    present = sum(int(node.images.get(name, 0) * share) for name, share in images.items())
    largest = _LARGE_IMAGE * count
    return BEST * (min(max(present, _SMALL_IMAGE), largest) - _SMALL_IMAGE) // (largest - _SMALL_IMAGE)


def tagged(image: str) -> str:
    """An image's name with its tag, as nodes report it."""
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


def stretched(values: Sequence[float]) -> list[int]:
    """Any values stretched over 0 to 100; the largest is best; all alike are 0."""
    low, high = min(values, default=0), max(values, default=0)
    return [int((value - low) * BEST / (high - low)) for value in values] if high > low else [0] * len(values)


def thinned(values: Sequence[int | None]) -> list[int]:
    """Of how crowded places are: the less the better, and a place that does not count (None) is worst."""
    counted = [value for value in values if value is not None]
    low, high = min(counted, default=0), max(counted, default=0)
    if high == 0:
        return [0 if value is None else BEST for value in values]
    return [0 if value is None else BEST * (high + low - value) // high for value in values]
