"""From a decision to a pod that is bound: volumes first, then the binding; and back, when one of them fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from time import perf_counter
from typing import TYPE_CHECKING

from hawser.api.errors import APIError
from hawser.client.controller import sentence
from hawser.scheduler.cache import Cache
from hawser.scheduler.counts import Counts
from hawser.scheduler.deciding import Decider, Placed
from hawser.scheduler.hints import Hints, refused_by
from hawser.scheduler.preparing import CANCELED, Preparation, Preparations, Unbound
from hawser.scheduler.queue import Entry, SchedulingQueue
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.volume_binder import VolumeBinder
from hawser.scheduler.writing import FAILED, Writer

if TYPE_CHECKING:
    from hawser.scheduler.device_binder import DeviceBinder

log = logging.getLogger(__name__)


class Binder:
    """Makes what is counted as placed true in the API. devices: set when a pod claims some."""

    def __init__(
        self,
        cache: Cache,
        queue: SchedulingQueue,
        decider: Decider,
        volumes: VolumeBinder,
        writer: Writer,
        hints: Hints,
        counts: Counts,
        preparations: Preparations,
    ) -> None:
        self._cache = cache
        self._queue = queue
        self._decider = decider
        self._volumes = volumes
        self._writer = writer
        self._hints = hints
        self._counts = counts
        self._preparations = preparations
        self.devices: DeviceBinder | None = None

    async def bind(self, entry: Entry, placed: Placed) -> None:
        """Writes the binding of a pod; what fails is tried again later."""
        pod = entry.pod
        began = perf_counter()
        try:
            await self._writer.bind(pod, placed.node)
        except Exception as err:
            self._timed("Bind", "Error", pod, began)
            self._counts.failed(entry)
            if isinstance(err, APIError) and err.code == 404:
                self._queue.delete(pod.key)
            await self._give_back(entry, placed)
            if self._queue.get(pod.key) is not entry:
                return
            log.warning("pod %s is not bound to %s: %s", pod.key, placed.node, sentence(err))
            await self._fail(entry, f'running Bind plugin "DefaultBinder": {sentence(err)}')
            return
        self._timed("Bind", "Success", pod, began)
        if self._decider.promises is not None:
            self._decider.promises.end(placed.binding)
        self._counts.scheduled(entry)
        self._queue.delete(pod.key)

    async def prepare_and_bind(self, entry: Entry, placed: Placed) -> None:
        """The same for a pod whose volumes are to be bound or devices to be allocated before; that may take minutes."""
        pod = entry.pod
        began = perf_counter()
        with self._preparations.of(pod.uid) as preparation:
            await self._writer.expect(pod, placed.node)
            message = await self._prepare(placed, preparation)
        if message:
            self._timed("PreBind", "Error", pod, began)
            self._counts.failed(entry)
            await self._give_back(entry, placed)
            await self._fail(entry, message)
            return
        self._timed("PreBind", "Success", pod, began)
        if self._queue.get(pod.key) is entry:
            await self.bind(entry, placed)
        else:
            await self._give_back(entry, placed)

    async def _prepare(self, placed: Placed, preparation: Preparation) -> str:
        """Sees to volumes and devices at once; what went wrong, in kube-scheduler's words, or nothing."""
        profile = self._decider.placement(placed.pod).profile
        failed: list[str] = []

        async def step(plugin: str, work: Coroutine[None, None, None]) -> None:
            try:
                await work
            except Exception as err:
                what = str(err) if isinstance(err, Unbound) else sentence(err)
                failed.append(f'running PreBind plugin "{plugin}": {what}')
                # The other need not go on.
                preparation.call_off()

        steps = []
        if placed.binding.static or placed.binding.dynamic:
            work = self._volumes.bind(placed.binding, placed.node, preparation, profile.bind_seconds)
            steps.append(step("VolumeBinding", work))
        if placed.devices is not None:
            assert self.devices is not None
            seconds = profile.device_seconds
            work = self.devices.bind(placed.devices, placed.pod, placed.node, preparation, seconds)
            steps.append(step("DynamicResources", work))
        await asyncio.gather(*steps)
        if not failed and not preparation.finish():
            # Everything was written already when it was called off.
            failed.append(CANCELED)
        return failed[0] if failed else ""

    async def _fail(self, entry: Entry, message: str) -> None:
        """The pod is tried again later, and nobody is to expect it where it should have gone."""
        if self._queue.get(entry.pod.key) is entry:
            self._queue.delay(entry)
            await self._writer.report(entry, message, "", FAILED)

    async def _give_back(self, entry: Entry, placed: Placed) -> None:
        """Undoes what was done for a pod that is not bound."""
        self._unplace(placed)
        if placed.devices is not None and self.devices is not None:
            self._queue.wake(refused_by("DynamicResources"))
            # The claims of a pod that goes are deallocated by their controller, if it finds them reserved.
            if self._queue.get(placed.pod.key) is entry:
                await self.devices.release(placed.devices, placed.pod)

    def _timed(self, point: str, status: str, pod: PodInfo, began: float) -> None:
        self._counts.points.of(point, status, pod.shape.scheduler).observe(perf_counter() - began)

    def _unplace(self, placed: Placed) -> None:
        """The pod did not get the place that was counted as its own: others may have it."""
        pod = placed.pod
        node = self._cache.node_of(pod.key)
        self._decider.unplace(placed)
        if node is not None and not self._cache.is_placed(pod.key):
            self._queue.wake(self._hints.room_made(node, pod), "AssignedPodDelete")
