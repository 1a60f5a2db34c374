"""Whether a pod that fits nowhere may make others leave, asked when that is worth asking."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.scheduler.cache import Cache
from hawser.scheduler.deciding import Checks
from hawser.scheduler.filters import unavailable
from hawser.scheduler.placement import Decision, Placement
from hawser.scheduler.preemption import HOPELESS, NOT_STARTED, Preemption, Started, ineligible, preempt
from hawser.scheduler.shapes import PodInfo


def started_at(pod: Obj) -> str:
    """When a pod was started, or NOT_STARTED."""
    return (pod.get("status") or {}).get("startTime") or NOT_STARTED


def is_preempted(pod: Obj) -> bool:
    """Whether a pod is to make place for another."""
    found = condition(pod, "DisruptionTarget") or {}
    return found.get("status") == "True" and found.get("reason") == "PreemptionByScheduler"


class Preemptor:
    """Looks for pods to preempt; what was in vain is not tried again in the same state.

    started: see Started. preempted: whether a pod is to make place for another. rng: decides where the search begins.
    """

    def __init__(
        self, cache: Cache, started: Started, preempted: Callable[[PodInfo], bool], rng: random.Random
    ) -> None:
        self._cache = cache
        self._started = started
        self._preempted = preempted
        self._rng = rng
        self._in_vain: dict[object, tuple[int, Preemption]] = {}

    def consider(
        self,
        pod: PodInfo,
        placement: Placement,
        decision: Decision,
        promised: str,
        budgets: Sequence[Obj] = (),
        check: Checks | None = None,
    ) -> Preemption | None:
        """Who should leave for the pod, or why nobody; None when that is no question.

        decision: why it has no place; promised: what it was promised before, and keeps no room any more.
        """
        nodes = self._cache.ready
        if not placement.profile.preempts or not nodes:
            return None
        if decision.blocked:
            return Preemption(None, unavailable(nodes, {HOPELESS: nodes}))
        outlook = placement.outlook(pod)
        outlook.refresh()
        why = ineligible(pod, promised, outlook, self._cache, self._is_leaving)
        if why:
            return Preemption(None, why, keeps=True)
        # What volumes and devices allow changes without the nodes.
        generation, known = self._in_vain.get(pod.likeness, (-1, None))
        if check is None and known is not None and generation == self._cache.generation:
            return known
        offset = self._rng.randrange(nodes)
        result = preempt(pod, outlook, self._cache, budgets, self._started, offset=offset, check=check)
        if result.chosen is None:
            if len(self._in_vain) > 1000:
                self._in_vain.clear()
            self._in_vain[pod.likeness] = (self._cache.generation, result)
        return result

    def _is_leaving(self, pod: PodInfo) -> bool:
        """Whether the pod is on its way out to make place for another."""
        return pod.group.leaving and self._preempted(pod)
