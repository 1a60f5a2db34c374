"""From the replicas that metrics ask for to those that are set: stabilization, rates and limits. Pure.

Source: "Horizontal Pod Autoscaling", "Configurable scaling behavior"; API reference, HPAScalingRules. Reasons and
messages are kube-controller-manager's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hawser.api.types import Obj

# Without a behavior, one step at most doubles the replicas, or makes four of them.
_FACTOR = 2.0
_LEAST_LIMIT = 4
_LONGEST_WINDOW = 3600.0

Change = tuple[datetime, int]
"""When, and by how many replicas."""


@dataclass(slots=True)
class History:
    """What the metrics of one autoscaler asked for, and what was done about it, as long as that matters."""

    recommended: list[Change] = field(default_factory=list)
    added: list[Change] = field(default_factory=list)
    removed: list[Change] = field(default_factory=list)

    def recommend(self, replicas: int, now: datetime) -> None:
        self.recommended = [*_since(self.recommended, _LONGEST_WINDOW, now), (now, replicas)]

    def scaled(self, before: int, after: int, now: datetime) -> None:
        """Remembers a change; policies look back half an hour at most."""
        if after > before:
            self.added = [*_since(self.added, _LONGEST_WINDOW, now), (now, after - before)]
        else:
            self.removed = [*_since(self.removed, _LONGEST_WINDOW, now), (now, before - after)]


def _since(changes: Iterable[Change], seconds: float, now: datetime) -> list[Change]:
    start = now - timedelta(seconds=seconds)
    return [change for change in changes if change[0] > start]


@dataclass(frozen=True, slots=True)
class Said:
    """Why a number is what it is: a condition's status, reason and message."""

    status: bool
    reason: str
    message: str


_SAME = Said(True, "ReadyForNewScale", "recommended size matches current size")
_UP = Said(
    True,
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
_DOWN = Said(
    True,
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)
_IN_RANGE = Said(False, "DesiredWithinRange", "the desired count is within the acceptable range")
_TOO_MANY = Said(True, "TooManyReplicas", "the desired replica count is more than the maximum replica count")
_TOO_FEW = Said(True, "TooFewReplicas", "the desired replica count is less than the minimum replica count")
_TOO_FAST_UP = Said(True, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
_TOO_FAST_DOWN = Said(
    True, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the autoscaler allows. window: seconds of stabilization when replicas go and it names none itself."""

    least: int
    most: int
    window: float = 300.0


def normalize(
    behavior: Obj | None, history: History, current: int, desired: int, bounds: Bounds, now: datetime
) -> tuple[int, Said, Said]:
    """The replicas to set, and what to say as AbleToScale and ScalingLimited.

    desired: what the metrics ask for, which the history remembers from now on.
    """
    if behavior is None:
        recent = [replicas for _, replicas in _since(history.recommended, bounds.window, now)]
        stable = max((desired, *recent))
        able = _SAME if stable == desired else _DOWN
        found, limited = _within(current, stable, bounds)
    else:
        stable = _stabilized(behavior, history, current, desired, bounds, now)
        able = _SAME if stable == desired else _UP if desired >= current else _DOWN
        found, limited = _rated(behavior, history, current, stable, bounds, now)
    history.recommend(desired, now)
    return found, able, limited


def _within(current: int, desired: int, bounds: Bounds) -> tuple[int, Said]:
    limit = int(max(_FACTOR * current, _LEAST_LIMIT))
    most, why = (limit, _TOO_FAST_UP) if bounds.most > limit else (bounds.most, _TOO_MANY)
    if desired < bounds.least:
        return bounds.least, _TOO_FEW
    return (most, why) if desired > most else (desired, _IN_RANGE)


def _stabilized(behavior: Obj, history: History, current: int, desired: int, bounds: Bounds, now: datetime) -> int:
    """No more than was asked for all the while, no less than was asked for at some time."""
    up = float(behavior["scaleUp"].get("stabilizationWindowSeconds") or 0)
    down = behavior["scaleDown"].get("stabilizationWindowSeconds")
    lowest = min((desired, *(n for _, n in _since(history.recommended, up, now))))
    window = bounds.window if down is None else float(down)
    highest = max((desired, *(n for _, n in _since(history.recommended, window, now))))
    return min(max(current, lowest), highest)


def _rated(
    behavior: Obj, history: History, current: int, desired: int, bounds: Bounds, now: datetime
) -> tuple[int, Said]:
    if desired > current:
        limit = max(current, _limit(behavior["scaleUp"], history, current, now, up=True))
        most, why = (limit, _TOO_FAST_UP) if bounds.most > limit else (bounds.most, _TOO_MANY)
        if desired > most:
            return most, why
    elif desired < current:
        limit = min(current, _limit(behavior["scaleDown"], history, current, now, up=False))
        least, why = (limit, _TOO_FAST_DOWN) if bounds.least < limit else (bounds.least, _TOO_FEW)
        if desired < least:
            return least, why
    return desired, _IN_RANGE


def _limit(rules: Obj, history: History, current: int, now: datetime, *, up: bool) -> int:
    """How far the policies let the replicas go at this moment."""
    select = rules.get("selectPolicy", "Max")
    if select == "Disabled":
        return current
    proposals = []
    for policy in rules.get("policies") or ():
        period, value = float(policy["periodSeconds"]), policy["value"]
        added = sum(change for _, change in _since(history.added, period, now))
        removed = sum(change for _, change in _since(history.removed, period, now))
        start = current - added + removed
        if policy["type"] == "Pods":
            proposals.append(start + value if up else start - value)
        elif up:
            # Rounded up: a small share of few replicas is still one.
            proposals.append(math.ceil(start * (1 + value / 100)))
        else:
            proposals.append(int(start * (1 - value / 100)))
    largest = (select == "Max") == up
    return max(proposals, default=current) if largest else min(proposals, default=current)
