"""Keeps the node alive: when something runs short, images and dead containers go first, then pods, one at a time.

Source: Kubernetes documentation, "Node-pressure Eviction", "Local ephemeral storage"; events are the kubelet's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.events import EventRecorder
from hawser.exposition import Histogram
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError
from hawser.node.eviction import ranking
from hawser.node.eviction.pressure import RESOURCES, Observation, State, Verdict, judge, met
from hawser.node.eviction.thresholds import Signal, Threshold
from hawser.node.limits import Limits
from hawser.node.metrics.counters import DEFAULT, Counters
from hawser.node.pod import resources, view
from hawser.node.pod.observed import Waiting
from hawser.node.pod.worker import Worker
from hawser.node.stats import disk, host
from hawser.node.stats.collector import Collector
from hawser.node.stats.model import PodUse

log = logging.getLogger(__name__)

_AT_ONCE = 1
"""Seconds of grace that pods get when there is no time."""
_PATIENCE = 30.0
_POLL = 0.25
_DISKS = frozenset({Signal.NODE_DISK, Signal.NODE_INODES, Signal.IMAGE_DISK, Signal.IMAGE_INODES})
_TERMINATION = "TerminationByKubelet"


@dataclass(slots=True)
class Node:
    """What the manager works with. workers: all pods'; root: the agent's folder; reference: the node, for events;
    free_images: takes unused images away."""

    workers: Callable[[], Sequence[Worker]]
    collector: Collector
    runtime: Runtime
    recorder: EventRecorder
    counters: Counters
    root: Path
    reference: Obj
    free_images: Callable[[], Awaitable[int]]


class EvictionManager:
    """Looks at the node every few seconds."""

    def __init__(self, node: Node, limits: Limits) -> None:
        self._node = node
        self._limits = limits
        self._state = State()
        self._images: Path | None = None
        self.conditions: frozenset[str] = frozenset()
        """The conditions that the node shows."""

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            evicted: list[Worker] = []
            try:
                evicted = await self.look()
            except (CRIError, OSError) as err:
                log.warning("the node's resources are looked at later: %s", err)
            if evicted:
                await self._cleaned_up(evicted)
            else:
                await asyncio.sleep(self._limits.housekeeping)

    async def look(self) -> list[Worker]:
        """One look; the pods that were evicted. Raises CRIError, OSError."""
        seen = await self.observe()
        now = time.monotonic()
        verdict = judge(self._limits.thresholds, seen, self._state, now, self._limits.transition)
        self._state, self.conditions = verdict.state, verdict.conditions
        if excessive := await self._excessive():
            return excessive
        return await self._relieve(verdict, seen, now) if verdict.due else []

    def refusal(self, pod: Obj) -> Waiting | None:
        """Why a node under pressure does not take a pod; None when it does."""
        if not self.conditions:
            return None
        text = ranking.refusal(pod, self.conditions, resources.qos(pod))
        return Waiting(ranking.REASON, text) if text else None

    async def observe(self) -> dict[Signal, Observation]:
        """What is left of everything that can be told. Raises OSError."""
        memory = host.memory()
        found = {
            Signal.MEMORY: Observation(max(0, memory.capacity - memory.used.working_set), memory.capacity),
            Signal.PIDS: _left(host.processes_limit(), host.processes()),
        }
        places = (
            (self._node.root, Signal.NODE_DISK, Signal.NODE_INODES),
            (await self._image_folder(), Signal.IMAGE_DISK, Signal.IMAGE_INODES),
        )
        for path, size, inodes in places:
            place = disk.disk(path) if path is not None else None
            if place is None:
                continue
            found[size] = Observation(place.available, place.capacity)
            if place.inodes:
                # Some file systems make inodes as they go and count none.
                found[inodes] = Observation(place.inodes_free, place.inodes)
        return found

    async def _image_folder(self) -> Path | None:
        """Where images lie; None while the runtime does not tell, which is no reason not to look at the rest."""
        if self._images is None:
            try:
                self._images = Path((await self._node.runtime.image_fs()).mountpoint)
            except CRIError as err:
                log.info("the images' disk is looked at later: %s", err)
        return self._images

    async def _excessive(self) -> list[Worker]:
        """Evicts pods that hold more of the node's disk than they may."""
        watched = {view.uid(w.pod): w for w in self._active() if ranking.limited(w.pod)}
        if not watched:
            return []
        evicted = []
        for use in await self._node.collector.disks(set(watched), 0.9 * self._limits.housekeeping):
            worker = watched[use.uid]
            text = ranking.excess(use)
            if text and self._evict(worker, text, _AT_ONCE, disruption=False):
                evicted.append(worker)
        return evicted

    async def _relieve(self, verdict: Verdict, seen: dict[Signal, Observation], now: float) -> list[Worker]:
        threshold = verdict.due[0]
        resource = RESOURCES[threshold.signal]
        log.warning("the node is short of %s", resource)
        node = self._node
        node.recorder.event(node.reference, "Warning", "EvictionThresholdMet", f"Attempting to reclaim {resource}")
        if await self._reclaim(threshold):
            return []
        active = self._active()
        if not active:
            return []
        snapshot = await node.collector.snapshot(full=True)
        uses: dict[str, PodUse] = {use.uid: use for use in snapshot.pods}
        for due in verdict.due:
            ages = node.counters.eviction_age.setdefault(due.signal, Histogram(DEFAULT))
            ages.observe(max(0.0, time.monotonic() - now))
        workers = {view.uid(worker.pod): worker for worker in active}
        for pod in ranking.ranked((worker.pod for worker in active), uses, resource):
            text = ranking.message(pod, uses.get(view.uid(pod)), threshold, seen)
            if self._evict(workers[view.uid(pod)], text, self._grace(threshold, pod), disruption=True):
                node.counters.evictions[threshold.signal] += 1
                return [workers[view.uid(pod)]]
        log.warning("no pod of the node can be evicted")
        return []

    async def _reclaim(self, threshold: Threshold) -> bool:
        """Takes away what is nobody's; whether that was enough."""
        if threshold.signal not in _DISKS or self._images is None:
            return False
        separate = self._images.stat().st_dev != self._node.root.stat().st_dev
        if separate and threshold.signal in (Signal.NODE_DISK, Signal.NODE_INODES):
            return False
        for worker in self._node.workers():
            if has_ended(worker.pod):
                for container in [c for c in worker.records.containers.values() if c.exited]:
                    await worker.records.remove_container(container.id)
        await self._node.free_images()
        return not met(self._limits.thresholds, await self.observe())

    def _active(self) -> list[Worker]:
        return [
            worker
            for worker in self._node.workers()
            if worker.memory.evicted is None and not has_ended(worker.pod) and not view.deleting(worker.pod)
        ]

    def _grace(self, threshold: Threshold, pod: Obj) -> int:
        if threshold.hard:
            return _AT_ONCE
        return max(_AT_ONCE, min(self._limits.max_grace, view.grace_period(pod)))

    def _evict(self, worker: Worker, text: str, grace: int, *, disruption: bool) -> bool:
        if ranking.critical(worker.pod):
            return False
        log.warning("pod %s is evicted: %s", view.full_name(worker.pod), text)
        worker.evict(Waiting(ranking.REASON, text), grace, _TERMINATION if disruption else "")
        return True

    async def _cleaned_up(self, evicted: list[Worker]) -> None:
        """Waits until pods have ended, and takes their volumes away: what they hold is what is short."""
        waiting = list(evicted)
        for _ in range(int(_PATIENCE / _POLL)):
            ended = [w for w in waiting if not any(c.running for c in w.records.containers.values())]
            for worker in ended:
                waiting.remove(worker)
                await asyncio.to_thread(worker.context.folders.empty, worker.uid)
            if not waiting:
                return
            await asyncio.sleep(_POLL)


def _left(limit: int, used: int) -> Observation:
    return Observation(max(0, limit - used), limit)
