"""Pods that wait to be placed: ready ones by priority and age, and those that nothing could take so far.

As in kube-scheduler, a pod that did not fit waits for a change that may help it, with a back-off from 1 to 10 seconds;
a pod in back-off is tried all the same when nothing else is waiting.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from hawser.client.clock import Clock, Timer
from hawser.scheduler.shapes import PodInfo

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 10.0


class State(StrEnum):
    """Where a pod is in the queue's life."""

    READY = "ready"
    IN_FLIGHT = "in flight"
    PARKED = "parked"
    DELAYED = "delayed"


@dataclass(slots=True)
class Entry:
    """A pod in the queue. until: end of its back-off. message, reported: the last reason told, and when."""

    pod: PodInfo
    state: State
    attempts: int = 0
    until: float = 0.0
    message: str = ""
    reported: float = float("-inf")
    timer: Timer | None = None


class SchedulingQueue:
    """Every unassigned pod exactly once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._parked: dict[str, Entry] = {}
        self._heap: list[tuple[bool, int, str, int, Entry]] = []
        self._numbers = itertools.count()
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def add(self, pod: PodInfo) -> None:
        """A new or changed pod; a change that placement does not depend on leaves it where it is."""
        entry = self._entries.get(pod.key)
        if entry is not None and entry.pod.uid == pod.uid:
            before, entry.pod = entry.pod, pod
            same = before.shape is pod.shape and before.labels == pod.labels
            if not same and entry.state is State.PARKED:
                self._ready(entry)
            return
        if entry is not None:
            self.delete(pod.key)
        entry = self._entries[pod.key] = Entry(pod, State.READY)
        self._ready(entry)

    def delete(self, key: str) -> None:
        """The pod is gone, assigned, or no longer this scheduler's."""
        entry = self._entries.pop(key, None)
        self._parked.pop(key, None)
        if entry is not None and entry.timer is not None:
            entry.timer.cancel()

    async def pop(self) -> Entry:
        """The pod to place next; it is in flight until ``park``, ``delay`` or ``delete``."""
        while True:
            while self._heap:
                entry = heapq.heappop(self._heap)[-1]
                if entry.state is State.READY and self._entries.get(entry.pod.key) is entry:
                    entry.state = State.IN_FLIGHT
                    return entry
            self._some.clear()
            await self._some.wait()

    def park(self, entry: Entry) -> None:
        """Nothing can take the pod now: it waits for ``wake``."""
        if self._entries.get(entry.pod.key) is entry:
            self._back_off(entry)
            entry.state = State.PARKED
            self._parked[entry.pod.key] = entry

    def delay(self, entry: Entry) -> None:
        """Placing the pod failed for a reason that time may heal: it is tried again after its back-off."""
        if self._entries.get(entry.pod.key) is not entry:
            return
        seconds = self._back_off(entry)
        entry.state = State.DELAYED

        def over() -> None:
            entry.timer = None
            if self._entries.get(entry.pod.key) is entry:
                self._ready(entry)

        entry.timer = self._clock.call_later(seconds, over)

    def wake(self, concerned: Callable[[PodInfo], bool] = lambda pod: True) -> None:
        """Something changed: the parked pods that it concerns are tried again."""
        for entry in [entry for entry in self._parked.values() if concerned(entry.pod)]:
            self._ready(entry)

    def _back_off(self, entry: Entry) -> float:
        seconds = float(min(FIRST_BACKOFF * (1 << min(entry.attempts, 10)), LONGEST_BACKOFF))
        now = self._clock.monotonic()
        # Being tried again early, because nothing else was waiting, is no new failure.
        if now >= entry.until:
            entry.attempts += 1
            entry.until = now + seconds
        return seconds

    def _ready(self, entry: Entry) -> None:
        entry.state = State.READY
        self._parked.pop(entry.pod.key, None)
        early = self._clock.monotonic() < entry.until
        pod = entry.pod
        heapq.heappush(self._heap, (early, -pod.priority, pod.created, next(self._numbers), entry))
        self._some.set()
