"""Watches: committed events are filtered once a prefix and handed to every watcher of that prefix."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from hawser.store.base import Expired, Follower, Sink, StoreEvent

logger = logging.getLogger(__name__)


def _call(follower: Follower, events: Sequence[StoreEvent]) -> None:
    try:
        follower(events)
    except Exception:
        # The writes are committed, whatever a follower makes of them.
        logger.exception("a follower of the store failed")


BYTES = 64 << 20
"""A watcher for which values of more bytes are waiting is dropped, however few they are."""


class Watcher:
    """One watch (see ``base.Watch``). Made by ``Hub.watch``.

    start: only events after this revision. limit: how many live events may wait before the watcher is dropped.
    forget: called once, when the watcher is closed or dropped.
    """

    __slots__ = (
        "_bytes",
        "_closed",
        "_expired",
        "_forget",
        "_limit",
        "_queue",
        "_start",
        "_waiter",
        "_waiting",
        "sink",
    )

    def __init__(
        self, start: int, limit: int, history: Sequence[StoreEvent], forget: Callable[[Watcher], None]
    ) -> None:
        self._start = start
        self._limit = limit
        self._forget = forget
        self._queue: list[Sequence[StoreEvent]] = [history] if history else []
        # History is there anyway, so it does not count as waiting.
        self._waiting = 0
        self._bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._expired = False
        self.sink: Sink | None = None

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Sequence[StoreEvent]:
        while not self._queue:
            if self._expired:
                self._expired = False
                raise Expired("the watcher was too slow: more events were waiting than are kept")
            if self._closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._waiting = self._bytes = 0
        if len(self._queue) == 1:
            return self._queue.pop()
        events = [event for batch in self._queue for event in batch]
        self._queue.clear()
        return events

    def push(self, events: Sequence[StoreEvent]) -> None:
        """Called by the hub with new events, which may be shared with other watchers."""
        if events[0].record.revision <= self._start:
            events = [event for event in events if event.record.revision > self._start]
            if not events:
                return
        if self.sink is not None and not self._queue and not self._closed and self.sink(events):
            return
        if self._queue:
            # Only of those that lag behind: what the others have not seen yet is in the history anyway.
            self._bytes += sum(len(event.record.value) for event in events)
        self._waiting += len(events)
        if self._waiting > self._limit or self._bytes > BYTES:
            self._queue.clear()
            self._expired = True
            self.close()
            return
        self._queue.append(events)
        self._wake()

    def close(self) -> None:
        """Ends iteration once what is queued has been read."""
        if not self._closed:
            self._closed = True
            self._forget(self)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Hub:
    """All open watchers, by prefix.

    limit: how many events may wait for one watcher.
    """

    __slots__ = ("_followers", "_limit", "_watchers")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._watchers: dict[str, dict[Watcher, None]] = {}
        self._followers: dict[str, list[Follower]] = {}

    def watch(self, prefix: str, start: int, history: Sequence[StoreEvent]) -> Watcher:
        """A new watcher that sees history first and then every event under prefix after start."""

        def forget(watcher: Watcher) -> None:
            watchers = self._watchers[prefix]
            del watchers[watcher]
            if not watchers:
                del self._watchers[prefix]

        watcher = Watcher(start, self._limit, history, forget)
        self._watchers.setdefault(prefix, {})[watcher] = None
        return watcher

    def follow(self, prefix: str, follower: Follower) -> None:
        """Calls the follower with every event under prefix from now on."""
        self._followers.setdefault(prefix, []).append(follower)

    def publish(self, events: Iterable[StoreEvent]) -> None:
        """Hands events, in revision order, to the followers and watchers of their keys' prefixes."""
        watchers, followers = self._watchers, self._followers
        if not watchers and not followers:
            return
        batches: dict[str, list[StoreEvent]] = {}
        wanted: dict[str, tuple[str, ...]] = {}
        for event in events:
            key = event.record.key
            folder = key[: key.rindex("/")]
            prefixes = wanted.get(folder)
            if prefixes is None:
                # Of writes that are committed together most are of a few folders.
                prefixes = wanted[folder] = self._wanted(key)
            for prefix in prefixes:
                batches.setdefault(prefix, []).append(event)
        for prefix, batch in batches.items():
            for follower in followers.get(prefix, ()):
                _call(follower, batch)
            for watcher in tuple(watchers.get(prefix, ())):
                watcher.push(batch)

    def _wanted(self, key: str) -> tuple[str, ...]:
        """The prefixes of a key that somebody watches or follows."""
        ends = [0, *(end + 1 for end, char in enumerate(key) if char == "/")]
        return tuple(key[:end] for end in ends if key[:end] in self._watchers or key[:end] in self._followers)

    def close(self) -> None:
        """Ends every watch."""
        for watchers in tuple(self._watchers.values()):
            for watcher in tuple(watchers):
                watcher.close()
