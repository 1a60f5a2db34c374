"""Whether a pod that fits nowhere may make others leave, asked when that is worth asking."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.client.informer import Informer
from hawser.scheduler.cache import Cache
from hawser.scheduler.filters import unavailable
from hawser.scheduler.placement import Decision, NodeCheck, Placement
from hawser.scheduler.preemption import HOPELESS, NOT_STARTED, Preemption, ineligible, preempt
from hawser.scheduler.shapes import PodInfo


class Preemptor:
    """Looks for pods to preempt; what was in vain is not tried again in the same state. pods: all pods' informer."""

    def __init__(self, cache: Cache, pods: Informer) -> None:
        self._cache = cache
        self._pods = pods
        self._rng = random.Random()
        self._in_vain: dict[object, tuple[int, Preemption]] = {}

    def consider(
        self,
        pod: PodInfo,
        placement: Placement,
        decision: Decision,
        promised: str,
        budgets: Sequence[Obj] = (),
        check: NodeCheck | None = None,
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
        why = ineligible(pod, promised, outlook, self._cache, self._preempted)
        if why:
            return Preemption(None, why, keeps=True)
        generation, known = self._in_vain.get(pod.likeness, (-1, None))
        if known is not None and generation == self._cache.generation:
            return known
        offset = self._rng.randrange(nodes)
        result = preempt(pod, outlook, self._cache, budgets, self._started, offset=offset, check=check)
        if result.chosen is None:
            if len(self._in_vain) > 1000:
                self._in_vain.clear()
            self._in_vain[pod.likeness] = (self._cache.generation, result)
        return result

    def _started(self, pod: PodInfo) -> str:
        obj = self._pods.get_key(pod.key) or {}
        return (obj.get("status") or {}).get("startTime") or NOT_STARTED

    def _preempted(self, pod: PodInfo) -> bool:
        """Whether the pod is on its way out to make place for another."""
        if not pod.group.leaving:
            return False
        found = condition(self._pods.get_key(pod.key) or {}, "DisruptionTarget") or {}
        return found.get("status") == "True" and found.get("reason") == "PreemptionByScheduler"
