"""Who works on a volume: one pod at a time, although several of a node may have it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from hawser import threads

T = TypeVar("T")


class Turns:
    """One at a time of each name; nothing is kept of names that nobody works on."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._working: dict[asyncio.Future[Any], str] = {}

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """The time in which nobody else has the name."""
        async with self._lock(name):
            yield

    async def finish(self, name: str, owner: str, work: Callable[[], T]) -> T:
        """Has a thread do something that cannot be cut short: also when the caller is, its turn lasts until then.

        owner: for ``over``.
        """
        lock = self._lock(name)
        await lock.acquire()
        task = asyncio.create_task(_in_thread(work))

        def ended(_: asyncio.Future[T]) -> None:
            del self._working[task]
            lock.release()
            if not task.cancelled():
                # A caller that was cut short does not ask for it.
                task.exception()

        self._working[task] = owner
        task.add_done_callback(ended)
        await asyncio.wait([task])
        return task.result()

    async def over(self, owner: str) -> None:
        """Waits until what an owner has begun is finished, well or not."""
        if begun := [task for task, who in self._working.items() if who == owner]:
            await asyncio.wait(begun)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


async def _in_thread(work: Callable[[], T]) -> T:
    """Has a thread of its own do something, which the agent's end waits for."""
    return await threads.begin(work, "volume", daemon=False)
