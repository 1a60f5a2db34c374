"""Where the pods of a group would go if others made place for them: pure, and all or nothing.

Each pod that fits nowhere preempts as it would alone, with those before it already in their places, so that nobody is
made to leave for a group that would not be whole afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hawser.scheduler.cache import Cache
from hawser.scheduler.deciding import Decider, Placed
from hawser.scheduler.placement import Decision
from hawser.scheduler.preemption import Candidate, Preemption
from hawser.scheduler.shapes import PodInfo

Consider = Callable[[PodInfo, Decision], Preemption | None]
"""Whether others should leave for a pod that has no place."""


@dataclass(frozen=True, slots=True)
class Muster:
    """seats: the node of each pod that has one then, by key. preempting: for which pods others leave, and who."""

    seats: Mapping[str, str]
    preempting: Sequence[tuple[PodInfo, Candidate]]


def muster(cache: Cache, decider: Decider, pods: Sequence[PodInfo], least: int, consider: Consider) -> Muster | None:
    """The plan for a group's pods; None when fewer than ``least`` would have a node. The cache is left as it was."""
    placed: list[Placed] = []
    gone: list[tuple[PodInfo, str, bool]] = []
    preempting: list[tuple[PodInfo, Candidate]] = []
    grows = cache.gangs.get(pods[0].gang, 0) >= least
    try:
        for pod in pods:
            decision = decider.decide(pod)
            node = decision.node
            # Once a new group is whole nobody leaves for more of it; pods that come later are on their own.
            if node is None and (grows or cache.gangs.get(pod.gang, 0) < least):
                result = consider(pod, decision)
                if result is not None and result.chosen is not None:
                    node = result.chosen.node
                    preempting.append((pod, result.chosen))
                    for victim in result.chosen.victims:
                        gone.append((victim, node, cache.is_assumed(victim.key)))
                        cache.remove_pod(victim.key)
            if node is not None:
                placed.append(decider.place(pod, node))
        whole = cache.gangs.get(pods[0].gang, 0) >= least
    finally:
        for each in reversed(placed):
            decider.unplace(each)
        for victim, node, assumed in gone:
            (cache.assume if assumed else cache.set_pod)(victim, node)
    return Muster({each.pod.key: each.node for each in placed}, preempting) if whole and preempting else None
