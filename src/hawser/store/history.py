"""The most recent events, kept so that watches can start in the past and lists can be read as of a revision."""

from __future__ import annotations

from collections import deque
from itertools import takewhile

from hawser.store.base import Expired, Record, StoreEvent


class History:
    """A ring of committed events in revision order.

    events: keep at most so many. size: and at most so many bytes of values. compacted: the revision before the first
    event that will be added.
    """

    __slots__ = ("_events", "_limit", "_size", "_size_limit", "compacted")

    def __init__(self, events: int, size: int, compacted: int = 0) -> None:
        self._events: deque[StoreEvent] = deque()
        self._limit = events
        self._size_limit = size
        self._size = 0
        self.compacted = compacted
        """Every event after this revision is here."""

    def __len__(self) -> int:
        return len(self._events)

    def append(self, event: StoreEvent) -> None:
        self._events.append(event)
        self._size += len(event.record.value)
        while self._events and (len(self._events) > self._limit or self._size > self._size_limit):
            oldest = self._events.popleft().record
            self._size -= len(oldest.value)
            self.compacted = oldest.revision

    def since(self, prefix: str, revision: int) -> list[StoreEvent]:
        """Events of keys under prefix after a revision. Raises Expired when that is too long ago."""
        return self._newest_first(prefix, revision)[::-1]

    def undo(self, prefix: str, revision: int) -> dict[str, Record | None]:
        """What the keys under prefix that were written after a revision had been at that revision.

        Raises Expired when that is too long ago.
        """
        # Older events overwrite newer ones, so each key ends with the state before its first write after revision.
        return {event.record.key: event.prev for event in self._newest_first(prefix, revision)}

    def _newest_first(self, prefix: str, revision: int) -> list[StoreEvent]:
        if revision < self.compacted:
            raise Expired(f"revision {revision} has been compacted; the oldest available is {self.compacted}")
        recent = takewhile(lambda event: event.record.revision > revision, reversed(self._events))
        return [event for event in recent if event.record.key.startswith(prefix)]
