"""Coroutines that begin at once, and wait without a task: most requests wait for nothing, nearly all others only once.

Python 3.12's tasks can begin at once (``eager_start``); uvloop's loop and Python 3.11 cannot.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine
from typing import Any


class Running:
    """A coroutine that has begun; also what ``asyncio.current_task`` gives in it.

    Of a task it has what ``asyncio.timeout``, ``asyncio.TaskGroup`` and aiohttp's client ask for.
    """

    __slots__ = ("_cancels", "_loop", "_owed", "_waited", "_work", "ended")

    def __init__(self, work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
        self._work = work
        self._loop = loop
        self._waited: asyncio.Future[Any] | None = None
        self._cancels = 0
        self._owed = False
        """Whether it is still to hear that it was cancelled."""
        self.ended = False

    def cancel(self, msg: Any = None) -> bool:
        """As a task's."""
        if self.ended:
            return False
        self._cancels += 1
        # When it is about to be woken up anyway, it hears of it then.
        if self._waited is None or not self._waited.cancel(msg):
            self._owed = True
        return True

    def cancelling(self) -> int:
        """As a task's."""
        return self._cancels

    def uncancel(self) -> int:
        """As a task's."""
        self._cancels = max(0, self._cancels - 1)
        return self._cancels

    def _go_on(self, _: Any = None) -> None:
        """Run until it waits for something, as a task does. Raises what the coroutine raises, but no cancellation."""
        loop = self._loop
        _enter_task(loop, self)  # type: ignore[arg-type]
        try:
            self._waited = None
            if self._owed:
                self._owed = False
                waited = self._work.throw(asyncio.CancelledError())
            else:
                waited = self._work.send(None)
        except (StopIteration, asyncio.CancelledError):
            self.ended = True
            return
        except BaseException:
            self.ended = True
            raise
        finally:
            _leave_task(loop, self)  # type: ignore[arg-type]
        if waited is None:
            # A turn of the loop, as of ``asyncio.sleep(0)``.
            loop.call_soon(self._go_on)
            return
        waited._asyncio_future_blocking = False
        self._waited = waited
        waited.add_done_callback(self._go_on)
        if self._owed and waited.cancel():
            self._owed = False


def begin(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> Running | None:
    """Run a coroutine until it waits for something; what may be cancelled from then on, or None when it has ended.

    Raises what the coroutine raises before it waits. Not to be called in a task.
    """
    running = Running(work, loop)
    running._go_on()
    return None if running.ended else running
