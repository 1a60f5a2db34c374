"""A queue of keys for workers that reconcile.

A key that is added again while it waits is kept once; one that is added while it is being processed comes back after
that: never twice at once, never lost. Same guarantees as client-go's workqueue.
"""

from __future__ import annotations

import asyncio
from collections import deque

from hawser.client.clock import Clock, SystemClock, Timer
from hawser.exposition import Histogram, exponential

BASE_SECONDS = 0.01
LONGEST_SECONDS = 60.0
_EDGES = exponential(1e-8, 10.0, 10)


class WorkQueue:
    """Keys to work on, in the order they came.

    base, longest: seconds before the first and at most before any later ``retry`` of a key; each retry doubles them.
    adds, retries: how many there were; waited, worked: seconds that keys were in line, and then were processed.
    """

    def __init__(
        self, *, clock: Clock | None = None, base: float = BASE_SECONDS, longest: float = LONGEST_SECONDS
    ) -> None:
        self._clock = clock or SystemClock()
        self._base = base
        self._longest = longest
        self._ready: deque[str] = deque()
        self.adds = self.retries = 0
        self.waited, self.worked = Histogram(_EDGES), Histogram(_EDGES)
        # Since when keys are to be processed, and are; None for those that only rest.
        self._dirty: dict[str, float] = {}
        self._processing: dict[str, float | None] = {}
        self._timers: dict[str, tuple[float, Timer]] = {}
        self._failures: dict[str, int] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        """Keys that wait for a worker; delayed ones do not count."""
        return len(self._ready)

    def add(self, key: str) -> None:
        """Puts the key in line, unless it is there already."""
        if key in self._dirty:
            return
        self.adds += 1
        self._dirty[key] = self._clock.monotonic()
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Adds the key later; of several delays of one key the shortest counts."""
        if seconds <= 0:
            self.add(key)
            return
        self.retries += 1
        due = self._clock.monotonic() + seconds
        known = self._timers.get(key)
        if known is not None:
            if known[0] <= due:
                return
            known[1].cancel()
        self._timers[key] = (due, self._clock.call_later(seconds, lambda: self._elapsed(key)))

    def retry(self, key: str) -> float:
        """Adds the key after its back-off, which doubles with every retry; returns the seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        seconds = min(self._base * (1 << min(failures, 30)), self._longest)
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: str) -> None:
        """Ends the key's back-off: its next retry is a first one."""
        self._failures.pop(key, None)

    async def get(self) -> str:
        """The next key; whoever gets it calls ``done`` with it afterwards."""
        while not self._ready:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            try:
                await future
            except asyncio.CancelledError:
                # The wake-up was meant for a worker; when this one is leaving, another takes it.
                if future.done() and not future.cancelled() and self._ready:
                    self._wake()
                raise
        key = self._ready.popleft()
        now = self._clock.monotonic()
        self.waited.observe(now - self._dirty.pop(key))
        self._processing[key] = now
        return key

    def done(self, key: str) -> None:
        """The key's processing is over; if it was added meanwhile it gets in line now."""
        self._finish(key)
        self._processing.pop(key, None)
        if key in self._dirty:
            self._push(key)

    def rest(self, key: str, seconds: float) -> None:
        """Like ``done``, but the key counts as being processed for a while longer: what is added meanwhile is one."""
        if seconds > 0:
            self._finish(key)
            self._clock.call_later(seconds, lambda: self.done(key))
        else:
            self.done(key)

    def running(self) -> list[float]:
        """For how many seconds each key has been processed so far."""
        now = self._clock.monotonic()
        return [now - began for began in self._processing.values() if began is not None]

    def shutdown(self) -> None:
        """Drops all delayed keys."""
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _finish(self, key: str) -> None:
        """The key is not being processed any more, but counts as if it were until ``done``."""
        began = self._processing.get(key)
        if began is not None:
            self.worked.observe(self._clock.monotonic() - began)
            self._processing[key] = None

    def _elapsed(self, key: str) -> None:
        del self._timers[key]
        self.add(key)

    def _push(self, key: str) -> None:
        self._ready.append(key)
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return
