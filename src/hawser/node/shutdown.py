"""Graceful node shutdown: before the node goes off, its pods end in good order, critical ones last.

Whoever switches the node off writes ``shutdown.json`` into the agent's run directory and sends SIGUSR1; when all pods
have ended, or their time is over, the file is renamed to ``shutdown.done``. From then on the node takes no pods until
both files are gone, also when the agent is started again meanwhile.

Source: Kubernetes documentation, "Graceful node shutdown" (KEP-2000); reasons and messages are the kubelet's.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.events import EventRecorder
from hawser.node.pod import view
from hawser.node.pod.observed import SHUTDOWN, Waiting
from hawser.node.pod.worker import Worker
from hawser.node.shutdown_request import DONE, REQUEST, Request

log = logging.getLogger(__name__)

NOT_READY = "node is shutting down"
_SYSTEM_CRITICAL = 2_000_000_000
_REFUSED = Waiting("NodeShutdown", "Pod was rejected as the node is shutting down.")
_DISRUPTION = "TerminationByKubelet"
_POLL = 0.05
_REPORTED_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Turn:
    """Pods that end together; seconds: what they have for it, each with its own grace period (by uid)."""

    seconds: float
    graces: dict[str, int]


def turns(pods: Iterable[Obj], request: Request) -> list[Turn]:
    """Who ends when: the ordinary pods first, then those of system-critical priority."""
    listed = [pod for pod in pods if not has_ended(pod)]
    critical = [pod for pod in listed if int(pod["spec"].get("priority") or 0) >= _SYSTEM_CRITICAL]
    ordinary = [pod for pod in listed if pod not in critical]
    groups = ((max(0.0, request.grace - request.critical), ordinary), (request.critical, critical))
    return [
        Turn(seconds, {view.uid(pod): min(view.grace_period(pod), int(seconds)) for pod in group})
        for seconds, group in groups
        if group
    ]


class Shutdown:
    """folder: the agent's run directory. workers: all pods'. report: tells the API how the node is."""

    def __init__(
        self,
        folder: Path,
        workers: Callable[[], Sequence[Worker]],
        recorder: EventRecorder,
        node: Obj,
        report: Callable[[], Awaitable[None]],
    ) -> None:
        self._folder = folder
        self._workers = workers
        self._recorder = recorder
        self._node = node
        self._report = report
        self._asked = asyncio.Event()
        self.active = any((folder / name).exists() for name in (REQUEST, DONE))

    def refusal(self) -> Waiting | None:
        """Why the node takes no pod."""
        return _REFUSED if self.active else None

    async def run(self) -> None:
        """Waits until it is asked for; runs until cancelled."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._asked.set)
        while True:
            try:
                request = Request.read(self._folder / REQUEST)
            except ValueError as err:
                log.warning("%s", err)
                request = None
            if request is not None:
                await self._carry_out(request)
            await self._asked.wait()
            self._asked.clear()

    async def _carry_out(self, request: Request) -> None:
        self.active = True
        self._recorder.event(self._node, "Normal", "NodeShutdown", "Shutdown manager detected shutdown event")
        await self._report()
        for turn in turns([worker.pod for worker in self._workers()], request):
            workers = [worker for worker in self._workers() if worker.uid in turn.graces]
            for worker in workers:
                worker.evict(SHUTDOWN, turn.graces[worker.uid], _DISRUPTION, quiet=True)
            await _until(partial(_have_ended, workers), turn.seconds)
        await _until(lambda: all(has_ended(worker.pod) for worker in self._workers()), _REPORTED_SECONDS)
        (self._folder / REQUEST).rename(self._folder / DONE)


async def _until(check: Callable[[], bool], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not check() and loop.time() < end:  # noqa: ASYNC110 - ends come from many places; a node shuts down once
        await asyncio.sleep(_POLL)


def _have_ended(workers: Sequence[Worker]) -> bool:
    return all(not w.memory.busy and not any(c.running for c in w.records.containers.values()) for w in workers)
