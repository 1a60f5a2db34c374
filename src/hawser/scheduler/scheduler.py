"""The scheduler: takes pods without a node from the API, decides, and writes bindings.

Source: Kubernetes documentation, "Kubernetes Scheduler", "Scheduling Framework", "Pod Scheduling Readiness", and "Pod
Priority and Preemption".
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import POD_DISRUPTION_BUDGET
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager, sentence
from hawser.scheduler import hints
from hawser.scheduler.backing import Backing
from hawser.scheduler.binding import Binder
from hawser.scheduler.cache import Cache, NodeInfo
from hawser.scheduler.configuration import Configuration, load
from hawser.scheduler.counts import Counts
from hawser.scheduler.deciding import Decider, Placed
from hawser.scheduler.filters import Refusal
from hawser.scheduler.gang_placer import GangPlacer
from hawser.scheduler.placement import Decision, Placement
from hawser.scheduler.preemption import Preemption, displaced
from hawser.scheduler.preemptor import Preemptor, is_preempted, started_at
from hawser.scheduler.preparing import Preparations
from hawser.scheduler.queue import NO_CLAIMS, Entry, SchedulingQueue
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.siblings import Siblings
from hawser.scheduler.volume_binder import VolumeBinder
from hawser.scheduler.watching import Watching
from hawser.scheduler.writing import Writer

log = logging.getLogger(__name__)

BINDINGS_AT_ONCE = 32


class Scheduler(Controller):
    """One loop that decides, pod by pod, and bindings that are written beside it.

    rng: breaks ties between equally good nodes.
    """

    name = "scheduler"
    workers = 0

    def __init__(self, rng: random.Random | None = None, configuration: Configuration | None = None) -> None:
        self._rng = rng or random.Random()
        self._configuration = configuration or Configuration()

    def configure(self, options: Mapping[str, Any]) -> None:
        path = options.get("scheduler_config")
        if path is not None:
            self._configuration = load(path)

    def setup(self, manager: Manager) -> None:
        settings = self._configuration
        self._manager = manager
        self._cache = Cache()
        self._counts = Counts(manager.clock)
        self._waiting = SchedulingQueue(manager.clock, settings.first_backoff, settings.longest_backoff)
        self._placements: dict[str, Placement] = {}
        names = {profile.name for profile in settings.profiles}
        self._preparations = Preparations()
        self._watching = Watching(
            manager, self._cache, self._waiting, names, self._forget, self._preparations, self._refusal
        )
        labels, self._hints = self._watching.namespace_labels, self._watching.hints
        siblings = Siblings(manager, self._forget)
        for profile in settings.profiles:
            self._placements[profile.name] = Placement(
                self._cache, self._rng, labels, profile, siblings, self._counts.points
            )
        self._decider = Decider(self._cache, self._placements)
        self._volumes = VolumeBinder(manager, self._cache, self._waiting.wake, self._preparations)
        self._writer = Writer(manager, self._watching.pods, self._preparations)
        found = self._watching.pods.get_key
        self._preemptor = Preemptor(
            self._cache,
            lambda pod: started_at(found(pod.key) or {}),
            lambda pod: is_preempted(found(pod.key) or {}),
            random.Random(),
        )
        self._backing = Backing(manager, self._back)
        self._binder = Binder(
            self._cache,
            self._waiting,
            self._decider,
            self._volumes,
            self._writer,
            self._hints,
            self._counts,
            self._preparations,
        )
        self._gangs = GangPlacer(
            manager,
            self._cache,
            self._waiting,
            self._decider,
            self._writer,
            self._counts,
            self._bind,
            self._consider,
            self._hints,
        )

    def _refusal(self, pod: PodInfo, node: NodeInfo) -> Refusal | None:
        return self._decider.refusal(pod, node)

    def exposed(self) -> Iterable[str]:
        return self._counts.lines(self._waiting, self._cache, self._watching.pods.list())

    async def run(self) -> None:
        """Places pods until it is cancelled."""
        slots = asyncio.Semaphore(BINDINGS_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            while True:
                await slots.acquire()
                entry = await self._waiting.pop()
                work = self._guarded(entry, self._place(entry))
                tasks.create_task(work).add_done_callback(lambda _: slots.release())
                # Lets the decision be made, the binding start, and events in.
                await asyncio.sleep(0)

    async def _guarded(self, entry: Entry, work: Awaitable[None]) -> None:
        """Does something for one pod; what goes wrong concerns only this pod, and is tried again."""
        try:
            await work
        except Exception as err:
            log.warning("pod %s is not placed: %s", entry.pod.key, sentence(err))
            log.debug("pod %s is not placed", entry.pod.key, exc_info=True)
            self._counts.failed(entry)
            self._cache.forget(entry.pod)
            self._waiting.delay(entry)

    async def _place(self, entry: Entry) -> None:
        pod = entry.pod
        # The pods of a group are tried together.
        pods = [each.pod for each in self._waiting.gang(pod.gang)] if pod.gang else (pod,)
        if await self._learn(pods):
            self._waiting.again(entry)
        elif self._decider.lacks_claims(pod):
            self._waiting.gate(entry, NO_CLAIMS)
        elif pod.gang:
            await self._gangs.place(entry)
        else:
            await self._place_one(entry)

    async def _learn(self, pods: Sequence[PodInfo]) -> bool:
        """Begins to watch what the first pods need that use volumes or devices; whether that took its time."""
        decider = self._decider
        for pod in pods:
            if pod.claims and decider.promises is None:
                await self._volumes.start()
                decider.promises = self._volumes.promises
            elif pod.shape.extended and not self._backing.is_known:
                await self._backing.start()
            elif decider.devices is None and decider.wants_devices(pod):
                await self._start_devices()
            else:
                continue
            return True
        return False

    async def _place_one(self, entry: Entry) -> None:
        """Decides for one pod at once, before anything is awaited, and writes what comes of it."""
        pod = entry.pod
        promised = self._cache.nomination(pod.key)
        decision = self._decider.decide(pod, promised)
        self._counts.algorithm.of().observe(self._manager.clock.monotonic() - entry.began)
        if decision.node is not None:
            await self._put(entry, decision.node, promised)
            return
        result = self._consider(pod, decision, promised)
        if promised and (result is None or result.keeps or result.chosen is not None):
            self._cache.nominate(pod, promised)
        else:
            self._release(promised)
        if result is not None:
            self._counts.preemptions.add()
            if result.chosen is not None:
                await self._preempt(entry)
                return
        await self._refuse(entry, decision, result)

    async def _put(self, entry: Entry, node: str, promised: str) -> None:
        """Binds a pod to the node that was found for it, wherever it was promised a place."""
        placed = self._decider.place(entry.pod, node)
        if promised != node:
            self._release(promised)
        await self._bind(entry, placed)

    def _release(self, promised: str) -> None:
        """Others may have what was kept for a pod on a node, if it was promised one."""
        if promised in self._cache.nodes:
            self._waiting.wake(self._hints.node_changed(self._cache.nodes[promised]))

    async def _start_devices(self) -> None:
        """Begins to watch devices and their claims: what it takes is loaded when the first pod wants some."""
        from hawser.scheduler.device_binder import DeviceBinder

        if self._binder.devices is None:
            pods, wake = self._watching.pods, self._waiting.wake
            self._binder.devices = DeviceBinder(
                self._manager, self._cache, pods, wake, self._writer, self._counts, self._preparations
            )
        await self._binder.devices.start()
        self._decider.devices = self._binder.devices.devices
        self._decider.back(self._decider.backed)

    def _back(self, backed: Mapping[str, str]) -> None:
        """Other extended resources are devices of a class now."""
        self._decider.back(backed)
        self._waiting.wake(hints.refused_by("NodeResourcesFit", "DynamicResources"), "DeviceClassUpdate")

    async def _bind(self, entry: Entry, placed: Placed) -> None:
        self._waiting.placed(entry)
        if placed.prepares:
            # Nobody else waits for volumes and devices.
            self._tasks.create_task(self._guarded(entry, self._binder.prepare_and_bind(entry, placed)))
        else:
            await self._binder.bind(entry, placed)

    async def _refuse(self, entry: Entry, decision: Decision, result: Preemption | None) -> None:
        """Neither a free node nor one that can be made free."""
        self._counts.unschedulable(entry)
        self._waiting.attend(entry)
        freed = await self._deallocate(entry.pod, decision)
        entry.missed |= bool(freed)
        self._park(entry, decision)
        if result is None:
            await self._writer.report(entry, decision.message)
            return
        message = self._decider.explain(entry.pod, decision, result.message, freed)
        await self._writer.report(entry, message, None if result.keeps else "")

    def _park(self, entry: Entry, decision: Decision) -> None:
        """Nothing can take the pod now. Who is promised a node waits by itself: no other pod can have its place."""
        key = entry.pod.key
        self._waiting.park(entry, decision.plugins, ("promised", key) if self._cache.nomination(key) else None)

    async def _deallocate(self, pod: PodInfo, decision: Decision) -> str:
        """Frees a claim that keeps the pod from its place, if nobody uses it; what was done, or nothing."""
        binder = self._binder.devices
        if binder is None or decision.blocked or not self._decider.wants_devices(pod):
            return ""
        try:
            return await binder.deallocate(pod, decision, self._decider.placement(pod).profile.device_seconds)
        except APIError as err:
            log.warning("a claim of pod %s is not deallocated: %s", pod.key, err.message)
            return ""

    # Preemption

    def _consider(
        self, pod: PodInfo, decision: Decision, promised: str, budgets: Sequence[Obj] = ()
    ) -> Preemption | None:
        """Whether others should leave for the pod."""
        check = None if decision.blocked else self._decider.check(pod)
        assert not isinstance(check, Refusal)
        began = perf_counter()
        result = self._preemptor.consider(pod, self._decider.placement(pod), decision, promised, budgets, check)
        if result is not None:
            status = "Success" if result.chosen is not None else "Unschedulable"
            self._counts.points.of("PostFilter", status, pod.shape.scheduler).observe(perf_counter() - began)
        return result

    async def _preempt(self, entry: Entry) -> None:
        """Makes others leave for the pod, which stays in flight until they have been told."""
        pod = entry.pod
        self._waiting.attend(entry)
        budgets = (await self._manager.client.list(POD_DISRUPTION_BUDGET)).items
        if self._waiting.get(pod.key) is not entry:
            return
        # Budgets took their time: things may have changed.
        promised = self._cache.nomination(pod.key)
        decision = self._decider.decide(pod, promised)
        if decision.node is not None:
            await self._put(entry, decision.node, promised)
            return
        result = self._consider(pod, decision, promised, budgets)
        chosen = result.chosen if result is not None else None
        if chosen is None:
            if promised and result is not None and result.keeps:
                self._cache.nominate(pod, promised)
            else:
                self._release(promised)
            await self._refuse(entry, decision, result)
            return
        self._counts.victims.of().observe(len(chosen.victims))
        self._counts.unschedulable(entry)
        lesser = displaced(self._cache.nodes[chosen.node], pod)
        for other in lesser:
            self._cache.nominate(other, "")
        self._cache.nominate(pod, chosen.node)
        if promised != chosen.node:
            self._release(promised)
        await self._writer.report(entry, decision.message, chosen.node)
        await self._writer.withdraw(lesser)
        going = await self._writer.evict(pod, chosen)
        for other in lesser:
            self._waiting.wake_one(other.key)
        if going:
            self._park(entry, decision)
        else:
            self._waiting.delay(entry)

    def _forget(self) -> None:
        for placement in self._placements.values():
            placement.forget()
