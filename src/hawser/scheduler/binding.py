"""From a decision to a pod that is bound: volumes first, then the binding; and back, when one of them fails."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING

from hawser.api.errors import APIError
from hawser.client.controller import sentence
from hawser.scheduler import hints
from hawser.scheduler.cache import Cache
from hawser.scheduler.counts import Counts
from hawser.scheduler.deciding import Decider, Placed
from hawser.scheduler.queue import Entry, SchedulingQueue
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.terms import NamespaceLabels
from hawser.scheduler.volume_binder import Unbound, VolumeBinder, failure
from hawser.scheduler.writing import Writer

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
        namespace_labels: NamespaceLabels,
        counts: Counts,
    ) -> None:
        self._cache = cache
        self._queue = queue
        self._decider = decider
        self._volumes = volumes
        self._writer = writer
        self._namespace_labels = namespace_labels
        self._counts = counts
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
            await self._give_back(placed)
            if isinstance(err, APIError) and err.code == 404:
                self._queue.delete(pod.key)
                return
            log.warning("pod %s is not bound to %s: %s", pod.key, placed.node, sentence(err))
            self._writer.event(pod, "Warning", "FailedScheduling", f"binding rejected: {sentence(err)}")
            self._queue.delay(entry)
            return
        self._timed("Bind", "Success", pod, began)
        self._counts.scheduled(entry)
        self._queue.delete(pod.key)

    async def prepare_and_bind(self, entry: Entry, placed: Placed) -> None:
        """The same for a pod whose volumes are to be bound or devices to be allocated before; that may take minutes."""
        pod = entry.pod
        profile = self._decider.placement(pod).profile
        began = perf_counter()
        plugin = "VolumeBinding"
        try:
            if self._decider.promises is not None:
                await self._volumes.bind(placed.binding, placed.node, profile.bind_seconds)
                self._decider.promises.end(placed.binding)
            if placed.devices is not None:
                plugin = "DynamicResources"
                assert self.devices is not None
                await self.devices.bind(placed.devices, pod, placed.node, profile.device_seconds)
        except (APIError, Unbound) as err:
            self._timed("PreBind", "Error", pod, began)
            self._counts.failed(entry)
            await self._give_back(placed)
            self._writer.event(pod, "Warning", "FailedScheduling", failure(err, plugin))
            self._queue.delay(entry)
            return
        self._timed("PreBind", "Success", pod, began)
        if self._queue.get(pod.key) is entry:
            await self.bind(entry, placed)
        else:
            await self._give_back(placed)

    async def _give_back(self, placed: Placed) -> None:
        """Undoes what was done for a pod that is not bound."""
        self._unplace(placed)
        if placed.devices is not None and self.devices is not None:
            self._queue.wake(hints.refused_by("DynamicResources"))
            await self.devices.release(placed.devices, placed.pod)

    def _timed(self, point: str, status: str, pod: PodInfo, began: float) -> None:
        self._counts.points.of(point, status, pod.shape.scheduler).observe(perf_counter() - began)

    def _unplace(self, placed: Placed) -> None:
        """The pod did not get the place that was counted as its own: others may have it."""
        pod = placed.pod
        node = self._cache.node_of(pod.key)
        self._decider.unplace(placed)
        if node is not None and not self._cache.is_placed(pod.key):
            self._queue.wake(hints.room_made(node, pod.group, self._namespace_labels), "AssignedPodDelete")
