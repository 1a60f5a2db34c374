"""Taking unused images away when their disk is full.

Source: Kubernetes documentation, "Garbage Collection" (container images); messages are the kubelet's. Unlike a kubelet
it keeps images that came from no registry: nothing could bring back what was imported from a file.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from hawser.api.types import Obj
from hawser.client.events import EventRecorder
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError
from hawser.node.cri.model import Image
from hawser.node.images import names
from hawser.node.images.records import PullRecords
from hawser.node.limits import Limits
from hawser.node.metrics.counters import Counters
from hawser.node.stats import disk

log = logging.getLogger(__name__)

PERIOD_SECONDS = 300.0
EVERYTHING = 1 << 62


@dataclass(slots=True)
class Seen:
    """When an image was first found, and last in use; seconds of one clock, 0 for never."""

    detected: float
    used: float = 0.0


def detect(images: Iterable[Image], in_use: set[str], seen: dict[str, Seen], now: float) -> None:
    """Brings ``seen`` up to date. in_use: ids of images that containers have."""
    found = {image.id for image in images}
    for image_id in found:
        known = seen.setdefault(image_id, Seen(now))
        if image_id in in_use:
            known.used = now
    for gone in seen.keys() - found:
        del seen[gone]


def removable(
    images: Iterable[Image], seen: dict[str, Seen], now: float, min_age: float, kept: set[str]
) -> list[Image]:
    """The images that may be taken away, those first that were not used for longest. kept: names of images to keep."""
    rows = []
    for image in images:
        known = seen[image.id]
        local = not image.digests
        if image.pinned or local or known.used >= now or now - known.detected < min_age or kept & set(image.tags):
            continue
        rows.append((known.used, known.detected, image))
    return [image for _, _, image in sorted(rows, key=lambda row: row[:2])]


def as_volumes(pods: Iterable[Obj]) -> set[str]:
    """Names of the images that pods have as volumes, which no container tells of."""
    return {
        names.full(volume["image"]["reference"])
        for pod in pods
        for volume in pod["spec"].get("volumes") or ()
        if (volume.get("image") or {}).get("reference")
    }


def excess(capacity: int, available: int, high: int, low: int) -> int:
    """How many bytes are to be freed; 0 below the high threshold. high, low: per cent of the disk in use."""
    available = min(available, capacity)
    used = 100 - available * 100 // capacity
    return max(0, capacity * (100 - low) // 100 - available) if used >= high else 0


class ImageCollector:
    """Looks after the images' disk.

    node: whom events are about. pause: the image of sandboxes, which stays. pods: those of the node.
    held: ids of the images that are mounted besides; it may raise CRIError and OSError.
    """

    def __init__(
        self,
        runtime: Runtime,
        records: PullRecords,
        recorder: EventRecorder,
        counters: Counters,
        limits: Limits,
        node: Obj,
        pause: str,
        pods: Callable[[], Iterable[Obj]],
        held: Callable[[], Awaitable[set[str]]],
    ) -> None:
        self._runtime = runtime
        self._records = records
        self._recorder = recorder
        self._counters = counters
        self._limits = limits
        self._node = node
        self._kept = {pause} if pause else set()
        self._pods = pods
        self._held = held
        self._seen: dict[str, Seen] = {}
        self._failed = False

    async def run(self) -> None:
        """Looks every five minutes until cancelled."""
        while True:
            try:
                await self.collect()
                self._failed = False
            except (CRIError, OSError) as err:
                # Once may be the start of the runtime.
                if self._failed:
                    text = err.text if isinstance(err, CRIError) else str(err)
                    self._recorder.event(self._node, "Warning", "ImageGCFailed", text)
                self._failed = True
                log.warning("images are collected later: %s", err)
            await asyncio.sleep(PERIOD_SECONDS)

    async def collect(self) -> int:
        """Frees what is too much; bytes freed. Raises CRIError and OSError."""
        place = await self._runtime.image_fs()
        await self._look()
        found = disk.disk(Path(place.mountpoint))
        if found is None or not found.capacity:
            text = f'invalid capacity 0 on device "" at mount point "{place.mountpoint}"'
            self._recorder.event(self._node, "Warning", "InvalidDiskCapacity", text)
            return 0
        wanted = excess(found.capacity, found.available, self._limits.image_gc_high, self._limits.image_gc_low)
        if not wanted:
            return 0
        freed = await self.free(wanted)
        if freed < wanted:
            text = (
                f"Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found"
            )
            self._recorder.event(
                self._node, "Warning", "FreeDiskSpaceFailed", f"{text} {freed} bytes eligible to free."
            )
        return freed

    async def free(self, wanted: int = EVERYTHING, reason: str = "space") -> int:
        """Takes unused images away until so many bytes are free; bytes freed. Raises CRIError and OSError."""
        images, now = await self._look()
        freed = 0
        for image in removable(images, self._seen, now, self._limits.image_min_age, self._kept):
            if freed >= wanted:
                break
            try:
                await self._runtime.remove_image(image.id)
            except CRIError as err:
                log.warning("image %s is removed later: %s", image.id, err)
                continue
            log.info("image %s was removed to free %d bytes", image.id, image.size)
            self._counters.images_collected[reason] += 1
            freed += image.size
        return freed

    async def _look(self) -> tuple[list[Image], float]:
        images = await self._runtime.list_images()
        # A container counts whoever started it, and also when it has ended: it may be started again.
        containers = await self._runtime.list_containers(everybodys=True)
        in_use = {name for container in containers for name in (container.image, container.image_ref)}
        in_use |= as_volumes(self._pods()) | await self._held()
        now = time.time()
        ids = {i.id for i in images if i.id in in_use or in_use & {*i.tags, *i.digests}}
        detect(images, ids, self._seen, now)
        self._records.prune(image.id for image in images)
        return images, now
