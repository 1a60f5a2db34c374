"""Hearing of containers that exited: containerd's events where it has them, and a relist either way.

kubelet calls the relist PLEG, the pod lifecycle event generator. With events it only has to catch what they missed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError, Unimplemented
from hawser.node.cri.model import Container, Labels, Sandbox
from hawser.node.metrics.counters import Counters

log = logging.getLogger(__name__)

RELIST_SECONDS = 1.0
CALM_SECONDS = 15.0
_RETRY_SECONDS = 1.0

Listed = Callable[[dict[str, tuple[list[Sandbox], list[Container]]]], None]


class Lifecycle:
    """Watches the runtime. exited: called with the id of what exited. listed: with everything there is, by pod uid."""

    def __init__(self, runtime: Runtime, exited: Callable[[str], None], listed: Listed, counters: Counters) -> None:
        self._runtime = runtime
        self._exited = exited
        self._listed = listed
        self._counters = counters
        self._hears = False
        self._again = asyncio.Event()

    async def run(self) -> None:
        """Watches until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name="container events")
            tasks.create_task(self._relist(), name="relist")

    async def _listen(self) -> None:
        while True:
            try:
                self._hears = True
                async for object_id in self._runtime.exits():
                    self._exited(object_id)
            except Unimplemented:
                log.info("the runtime has no events; it is listed every %g s", RELIST_SECONDS)
                self._hears = False
                return
            except CRIError as err:
                log.info("the runtime's events are listened to again: %s", err)
            # What happened meanwhile is found by listing.
            self._hears = False
            self._again.set()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _relist(self) -> None:
        while True:
            began = time.perf_counter()
            try:
                self._listed(
                    by_pod(*await asyncio.gather(self._runtime.list_pod_sandboxes(), self._runtime.list_containers()))
                )
                self._counters.relisted(time.time(), time.perf_counter() - began)
            except CRIError as err:
                log.warning("the runtime is listed again: %s", err)
            self._again.clear()
            try:
                async with asyncio.timeout(CALM_SECONDS if self._hears else RELIST_SECONDS):
                    await self._again.wait()
            except TimeoutError:
                pass


def by_pod(sandboxes: list[Sandbox], containers: list[Container]) -> dict[str, tuple[list[Sandbox], list[Container]]]:
    """Everything of the runtime by pod uid; sandboxes and containers that are nobody's pod are left out."""
    result: dict[str, tuple[list[Sandbox], list[Container]]] = {}
    for sandbox in sandboxes:
        if uid := sandbox.labels.get(Labels.POD_UID):
            result.setdefault(uid, ([], []))[0].append(sandbox)
    for container in containers:
        if container.pod_uid:
            result.setdefault(container.pod_uid, ([], []))[1].append(container)
    return result
