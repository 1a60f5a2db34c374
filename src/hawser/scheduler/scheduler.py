"""The scheduler: takes pods without a node from the API, decides, and writes bindings.

Source: Kubernetes documentation, "Kubernetes Scheduler", "Scheduling Framework", "Pod Scheduling Readiness", and "Pod
Priority and Preemption".
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine

from hawser.api.errors import APIError
from hawser.api.kinds import POD_DISRUPTION_BUDGET
from hawser.client.controller import Controller, Manager, sentence
from hawser.scheduler import hints
from hawser.scheduler.cache import Cache
from hawser.scheduler.filters import Refusal
from hawser.scheduler.placement import Decision, Placement
from hawser.scheduler.preemption import displaced
from hawser.scheduler.preemptor import Preemptor
from hawser.scheduler.profile import Profile
from hawser.scheduler.queue import Entry, SchedulingQueue
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.siblings import Siblings
from hawser.scheduler.watching import Watching
from hawser.scheduler.writing import Writer

log = logging.getLogger(__name__)

BINDINGS_AT_ONCE = 32
NO_DEVICES = Refusal("DynamicResources", ("dynamic resource allocation is not supported by this scheduler",), True)

Job = Coroutine[None, None, None]


class Scheduler(Controller):
    """One loop that decides, pod by pod, and bindings that are written beside it.

    rng: breaks ties between equally good nodes.
    """

    name = "scheduler"
    workers = 0

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._profiles = [Profile()]

    def setup(self, manager: Manager) -> None:
        self._manager = manager
        self._cache = Cache()
        self._waiting = SchedulingQueue(manager.clock)
        self._placements: dict[str, Placement] = {}
        names = {profile.name for profile in self._profiles}
        self._watching = Watching(manager, self._cache, self._waiting, names, self._forget)
        self._writer = Writer(manager, self._watching.pods)
        self._preemptor = Preemptor(self._cache, self._watching.pods, self._rng)
        siblings = Siblings(manager, self._forget)
        for profile in self._profiles:
            self._placements[profile.name] = Placement(
                self._cache, self._rng, self._watching.namespace_labels, profile, siblings
            )

    async def run(self) -> None:
        """Places pods until it is cancelled."""
        slots = asyncio.Semaphore(BINDINGS_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await slots.acquire()
                entry = await self._waiting.pop()
                tasks.create_task(self._place(entry)).add_done_callback(lambda _: slots.release())
                # Lets the binding start, and events in.
                await asyncio.sleep(0)

    def _place(self, entry: Entry) -> Job:
        """Decides for one pod; returns what is to be written about it."""
        pod = entry.pod
        promised = self._cache.nomination(pod.key)
        if promised:
            # The room that is kept for the pod is not taken for it.
            self._cache.nominate(pod, "")
        decision = self._decide(pod, promised)
        if decision.node is not None:
            self._cache.assume(pod, decision.node)
            return self._bind(entry, decision.node)
        result = self._preemptor.consider(pod, self._placements[pod.shape.scheduler], decision, promised)
        if promised and (result is None or result.keeps):
            self._cache.nominate(pod, promised)
        if result is not None and result.chosen is not None:
            return self._preempt(entry, decision, promised)
        self._waiting.park(entry, decision.plugins)
        if result is None:
            return self._writer.report(entry, decision.message)
        message = f"{decision.message} preemption: {result.message}"
        return self._writer.report(entry, message, None if result.keeps else "")

    def _decide(self, pod: PodInfo, promised: str) -> Decision:
        if pod.shape.devices:
            return self._blocked(NO_DEVICES)
        return self._placements[pod.shape.scheduler].decide(pod, promised=promised)

    def _blocked(self, refusal: Refusal) -> Decision:
        message = f"0/{self._cache.ready} nodes are available: {refusal.reasons[0]}."
        return Decision(None, message, {refusal: self._cache.ready}, blocked=True)

    # Pods that found a place

    async def _bind(self, entry: Entry, node: str) -> None:
        pod = entry.pod
        try:
            await self._writer.bind(pod, node)
        except Exception as err:
            self._unplace(pod)
            if isinstance(err, APIError) and err.code == 404:
                self._waiting.delete(pod.key)
                return
            log.warning("pod %s is not bound to %s: %s", pod.key, node, sentence(err))
            self._writer.event(pod, "Warning", "FailedScheduling", f"binding rejected: {sentence(err)}")
            self._waiting.delay(entry)
            return
        self._waiting.delete(pod.key)

    def _unplace(self, pod: PodInfo) -> None:
        """The pod did not get the place that was counted as its own: others may have it."""
        node = self._cache.node_of(pod.key)
        self._cache.forget(pod.key)
        if node is not None and not self._cache.is_placed(pod.key):
            self._waiting.wake(hints.room_made(node, pod.group, self._watching.namespace_labels))

    async def _preempt(self, entry: Entry, decision: Decision, promised: str) -> None:
        """Makes others leave for the pod, which stays in flight until they have been told."""
        pod = entry.pod
        placement = self._placements[pod.shape.scheduler]
        budgets = (await self._manager.client.list(POD_DISRUPTION_BUDGET)).items
        result = self._preemptor.consider(pod, placement, decision, promised, budgets)
        if result is not None and result.chosen is not None and pod.key in self._waiting:
            chosen = result.chosen
            lesser = displaced(self._cache.nodes[chosen.node], pod)
            for other in lesser:
                self._cache.nominate(other, "")
            self._cache.nominate(pod, chosen.node)
            await self._writer.report(entry, decision.message, chosen.node)
            await self._writer.withdraw(lesser)
            await self._writer.evict(pod, chosen)
            for other in lesser:
                self._waiting.wake_one(other.key)
        # Whatever happened meanwhile: there may be room now.
        entry.missed = True
        self._waiting.park(entry, decision.plugins)

    def _forget(self) -> None:
        for placement in self._placements.values():
            placement.forget()
