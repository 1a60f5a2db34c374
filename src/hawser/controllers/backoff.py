"""Waits that double: for what is tried again after it was done, not because it failed.

Source: client-go's ``flowcontrol.Backoff``.
"""

from __future__ import annotations

from hawser.client.clock import Clock


class Backoff:
    """Waits by keys. first, longest: seconds; what rests twice the longest wait starts anew."""

    def __init__(self, clock: Clock, first: float, longest: float) -> None:
        self._clock = clock
        self._first = first
        self._longest = longest
        self._waits: dict[str, tuple[float, float]] = {}

    def left(self, key: str) -> float:
        """Seconds until the key may be done again; 0: now."""
        since, wait = self._waits.get(key, (0.0, 0.0))
        return max(0.0, since + wait - self._clock.monotonic())

    def done(self, key: str) -> None:
        """The key is done now: the next wait is twice as long."""
        now = self._clock.monotonic()
        self._forget(now)
        _, wait = self._waits.pop(key, (0.0, 0.0))
        self._waits[key] = now, min(wait * 2, self._longest) or self._first

    def _forget(self, now: float) -> None:
        """The keys are in the order in which they were done."""
        for key, (since, _) in [*self._waits.items()]:
            if now - since <= 2 * self._longest:
                return
            del self._waits[key]
