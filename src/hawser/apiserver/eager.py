"""Coroutines that begin at once: most requests are answered without waiting for anything, and need no task then.

Python 3.12's tasks can do this (``eager_start``); uvloop's loop and Python 3.11 cannot.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any


class _Stand:
    """What ``asyncio.current_task`` gives before there is a task: ``asyncio.timeout`` asks for no more."""

    __slots__ = ("task",)

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None

    def cancel(self, msg: Any = None) -> bool:
        """As a task's."""
        return self.task is not None and self.task.cancel(msg)

    def cancelling(self) -> int:
        """As a task's."""
        return self.task.cancelling() if self.task is not None else 0

    def uncancel(self) -> int:
        """As a task's."""
        return self.task.uncancel() if self.task is not None else 0


def begin(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None] | None:
    """Run a coroutine until it waits for something; the task of the rest, or None when it has ended.

    Raises what the coroutine raises before it waits. Not to be called in a task.
    """
    stand = _Stand()
    _enter_task(loop, stand)  # type: ignore[arg-type]
    try:
        waited = work.send(None)
    except StopIteration:
        return None
    finally:
        _leave_task(loop, stand)  # type: ignore[arg-type]
    stand.task = loop.create_task(_rest(work, waited))
    return stand.task


async def _rest(work: Coroutine[Any, Any, None], waited: Any) -> None:
    await _go_on(work, waited)


@coroutine
def _go_on(work: Coroutine[Any, Any, None], waited: Any) -> Generator[Any, Any, None]:
    """Wait for what the coroutine waits for, and let it go on."""
    try:
        while True:
            try:
                yield waited
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:
                waited = work.throw(error)
            else:
                waited = work.send(None)
    except StopIteration:
        return
