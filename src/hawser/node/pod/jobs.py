"""The background work of one pod: at most one task for each key, and the moment of the next look."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from hawser.api.errors import APIError
from hawser.node.cri.errors import CRIError

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0


class Jobs:
    """The tasks of the pod ``name``.

    busy: holds what a running task marked as being started. ended: called after each task, with whether it was cut
    short or failed. wake is set then, a second later after a failure.
    """

    def __init__(self, name: Callable[[], str], busy: set[str], ended: Callable[[bool], None]) -> None:
        self._name = name
        self._busy = busy
        self._ended = ended
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.wake = asyncio.Event()

    def __contains__(self, key: str) -> bool:
        return key in self._tasks

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def launch(self, key: str, work: Coroutine[Any, Any, None], *, busy: str | None = None) -> None:
        """Starts work unless work of that key is running. busy: what it marks as being started meanwhile."""
        if key in self._tasks:
            work.close()
            return
        if busy is not None:
            self._busy.add(busy)
        task: asyncio.Task[None] = asyncio.create_task(work, name=f"pod {self._name()} {key}")
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._done(key, done, busy))

    def _done(self, key: str, task: asyncio.Task[None], busy: str | None) -> None:
        self._tasks.pop(key, None)
        if busy is not None:
            self._busy.discard(busy)
        failure = None if task.cancelled() else task.exception()
        self._ended(task.cancelled() or failure is not None)
        if failure is None:
            self.wake.set()
            return
        expected = isinstance(failure, CRIError | APIError | OSError)
        level = logging.WARNING if expected else logging.ERROR
        log.log(level, "pod %s: %s: %s", self._name(), key, failure, exc_info=None if expected else failure)
        self.wake_in(_RETRY_SECONDS)

    def cancel(self, prefix: str) -> None:
        """Cuts the work short whose key starts so; what it had begun is found in the runtime."""
        for key, task in self._tasks.items():
            if key.startswith(prefix):
                task.cancel()

    def wake_in(self, seconds: float) -> None:
        """Sets wake in so many seconds, or earlier when that is already due."""
        loop = asyncio.get_running_loop()
        moment = loop.time() + seconds
        if self._timer is not None and not self._timer.cancelled() and loop.time() < self._timer.when() <= moment:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(moment, self.wake.set)

    @property
    def timed(self) -> bool:
        """Whether a later look is arranged."""
        return self._timer is not None

    def stop_timer(self) -> None:
        """Drops the later look."""
        if self._timer is not None:
            self._timer.cancel()

    def close(self) -> None:
        """Cuts everything short."""
        self.stop_timer()
        for task in self._tasks.values():
            task.cancel()
        self.wake.set()
