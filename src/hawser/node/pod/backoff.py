"""Exponential back-off by key, for crashing containers and failing image pulls.

Source: Kubernetes documentation, "Container restart policy": 10 s, doubled up to 300 s, forgotten after 10 minutes
without a crash; image pulls use the same figures.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 10.0
LONGEST = 300.0


@dataclass(slots=True)
class _Entry:
    delay: float
    updated: float


class Backoff:
    """Delays that double. Times are seconds of one clock, which the caller reads."""

    def __init__(self, first: float = FIRST, longest: float = LONGEST) -> None:
        self.first = first
        self.longest = longest
        self._entries: dict[str, _Entry] = {}

    def until(self, key: str, event: float) -> float:
        """The moment until which ``key`` must wait, counted from ``event`` (a crash); ``event`` itself for no wait."""
        entry = self._entries.get(key)
        if entry is None or self._forgotten(entry, event):
            return event
        return event + entry.delay

    def delay(self, key: str) -> float:
        """The current delay, 0 for none."""
        entry = self._entries.get(key)
        return entry.delay if entry else 0.0

    def next(self, key: str, event: float, now: float) -> None:
        """Counts one try at ``now`` after the crash at ``event``."""
        entry = self._entries.get(key)
        if entry is None or self._forgotten(entry, event):
            self._entries[key] = _Entry(self.first, now)
        else:
            entry.delay, entry.updated = min(entry.delay * 2, self.longest), now

    def forget(self, prefix: str) -> None:
        """Drops the entries whose key starts so (a pod that is gone)."""
        for key in [k for k in self._entries if k.startswith(prefix)]:
            del self._entries[key]

    def _forgotten(self, entry: _Entry, event: float) -> bool:
        return event - entry.updated > 2 * self.longest
