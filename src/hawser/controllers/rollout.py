"""The arithmetic of a Deployment's rollout: which ReplicaSet gets how many replicas next. Pure.

Source: Deployment documentation ("Rolling Update Deployment", "Proportional scaling", "Rollover") and API reference
(maxSurge rounds up, maxUnavailable rounds down, never both zero).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hawser.api.scalars import DecodeError, integer
from hawser.api.types import Obj

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"


@dataclass(frozen=True, slots=True)
class Limits:
    """replicas: asked for. surge, unavailable: how many more and fewer there may be, in pods."""

    replicas: int
    surge: int
    unavailable: int

    @property
    def most(self) -> int:
        return self.replicas + self.surge

    @property
    def least(self) -> int:
        return self.replicas - self.unavailable


def limits(deployment: Obj) -> Limits:
    """The limits of a Deployment's strategy."""
    spec = deployment["spec"]
    replicas = int(spec.get("replicas", 1))
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate" or not replicas:
        return Limits(replicas, 0, 0)
    rolling = strategy.get("rollingUpdate") or {}
    surge = scaled(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = scaled(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    if not surge and not unavailable:
        unavailable = 1
    return Limits(replicas, surge, min(unavailable, replicas))


def scaled(value: int | str, total: int, *, up: bool) -> int:
    """An IntOrString of pods: a number, or a percentage of total rounded up or down."""
    if isinstance(value, int):
        return value
    percent = int(value.removesuffix("%"))
    return (percent * total + (99 if up else 0)) // 100


def asked(rs: Obj) -> int:
    """spec.replicas of a ReplicaSet."""
    return int(rs["spec"].get("replicas", 1))


def seen(rs: Obj, count: str) -> int:
    """A count of its status: replicas, availableReplicas …"""
    return int(rs.get("status", {}).get(count) or 0)


def available(rs: Obj) -> int:
    """How many of the pods it will keep are available: its status may be older than its size."""
    return min(seen(rs, "availableReplicas"), asked(rs))


def new_replicas(bounds: Limits, new: Obj | None, others: Sequence[Obj], *, recreate: bool) -> int:
    """What the new ReplicaSet is scaled up to now: as far as maxSurge allows."""
    current = asked(new) if new is not None else 0
    if recreate:
        return bounds.replicas
    room = bounds.most - current - sum(asked(rs) for rs in others)
    if room <= 0:
        return current
    return min(current + room, max(bounds.replicas, 0)) if current < bounds.replicas else current


def old_replicas(bounds: Limits, new: Obj, old: Sequence[Obj]) -> dict[str, int]:
    """What old ReplicaSets are scaled down to now, by name: only those that change.

    Unhealthy pods go first, since removing them costs no availability; then as many as keep ``bounds.least`` available.
    """
    total = asked(new) + sum(asked(rs) for rs in old)
    new_unavailable = asked(new) - available(new)
    removable = total - bounds.least - new_unavailable
    if removable <= 0:
        return {}
    left = {rs["metadata"]["name"]: asked(rs) for rs in old}
    oldest_first = sorted(old, key=age)
    cleaned = 0
    for rs in oldest_first:
        name = rs["metadata"]["name"]
        cut = min(removable - cleaned, left[name] - available(rs))
        left[name] -= cut
        cleaned += cut
    spare = sum(available(rs) for rs in (new, *old)) - bounds.least
    for rs in oldest_first:
        if spare <= 0:
            break
        cut = min(left[rs["metadata"]["name"]], spare)
        left[rs["metadata"]["name"]] -= cut
        spare -= cut
    return {
        rs["metadata"]["name"]: left[rs["metadata"]["name"]] for rs in old if left[rs["metadata"]["name"]] != asked(rs)
    }


def proportional(bounds: Limits, active: Sequence[Obj], *, rolling: bool) -> dict[str, int]:
    """New sizes after the Deployment itself was scaled in the middle of a rollout, by name: only those that change.

    Each active ReplicaSet takes its share of the difference; the rounding remainder goes to the largest.
    """
    total = sum(asked(rs) for rs in active)
    allowed = bounds.most if rolling and bounds.replicas else bounds.replicas
    difference = allowed - total
    # Larger sets first; of equal ones newer first when growing, older first when shrinking.
    by_age = sorted(active, key=age, reverse=difference > 0)
    ordered = sorted(by_age, key=asked, reverse=True)
    sizes: dict[str, int] = {}
    given = 0
    running = sum(seen(rs, "replicas") for rs in active)
    for rs in ordered:
        share = _share(rs, bounds, difference, given, running) if difference else 0
        sizes[rs["metadata"]["name"]] = asked(rs) + share
        given += share
    if ordered and difference != given:
        first = ordered[0]["metadata"]["name"]
        sizes[first] = max(0, sizes[first] + difference - given)
    return {
        rs["metadata"]["name"]: sizes[rs["metadata"]["name"]]
        for rs in active
        if sizes[rs["metadata"]["name"]] != asked(rs)
    }


def _share(rs: Obj, bounds: Limits, difference: int, given: int, running: int) -> int:
    size = asked(rs)
    was = annotated(rs, MAX) or running
    if not size or not was:
        return 0
    wanted = size * (bounds.replicas + bounds.surge) / was
    share = int(wanted + 0.5) - size
    rest = difference - given
    return min(share, rest) if difference > 0 else max(share, rest)


def annotated(rs: Obj, name: str) -> int:
    """A number of an annotation; 0 when absent or not a number."""
    try:
        return max(0, integer((rs["metadata"].get("annotations") or {}).get(name, "")))
    except DecodeError:
        return 0


def age(rs: Obj) -> tuple[str, str]:
    """Sort key: the oldest first."""
    return rs["metadata"].get("creationTimestamp") or "", rs["metadata"]["name"]


def revision(obj: Obj) -> int:
    """The revision annotation of a ReplicaSet or Deployment."""
    return annotated(obj, "deployment.kubernetes.io/revision")


def sizes_annotations(bounds: Limits) -> Mapping[str, str]:
    """What a ReplicaSet remembers of the Deployment for proportional scaling."""
    return {DESIRED: str(bounds.replicas), MAX: str(bounds.most)}
