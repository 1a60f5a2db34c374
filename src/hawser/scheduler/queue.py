"""Pods that wait to be placed: ready ones by priority and age, those in back-off, and those that nothing could take.

As in kube-scheduler, a pod that did not fit waits for a change that may help it, with a back-off from 1 to 10 seconds;
a pod in back-off is tried all the same when nothing else is waiting. Pods that are alike wait as one: a change wakes
the first of them, and when that finds a place, the next. So a change costs what there are kinds of pods, not pods.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from hawser.client.clock import Clock, Timer
from hawser.scheduler.hints import Concerns
from hawser.scheduler.shapes import PodInfo

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 10.0
FLUSH_SECONDS = 300.0
_FLUSH_EVERY = 30.0
NO_CLAIMS = frozenset(("DynamicResources",))
"""Who keeps pods from being tried whose claims are still to be made."""
_FAILURE = "ScheduleAttemptFailure"


class State(StrEnum):
    """Where a pod is in the queue's life. delayed: an error made it wait out its back-off, whatever happens."""

    READY = "ready"
    BACKOFF = "in back-off"
    IN_FLIGHT = "in flight"
    PARKED = "parked"
    DELAYED = "delayed"


@dataclass(slots=True)
class Entry:
    """A pod in the queue. until: end of its back-off. plugins: who refused it last. likeness: as what it is parked.

    missed: something that may help happened while it was in flight. message, reported: the last reason told, and when.
    added: when it came; tries: how often it was tried; began: when the last time began. flushed: it is tried again only
    because it was parked for so long.
    """

    pod: PodInfo
    state: State
    attempts: int = 0
    until: float = 0.0
    since: float = 0.0
    plugins: frozenset[str] = frozenset()
    likeness: object = None
    missed: bool = False
    message: str = ""
    reported: float = float("-inf")
    timer: Timer | None = None
    added: float = 0.0
    tries: int = 0
    began: float = 0.0
    flushed: bool = False


class SchedulingQueue:
    """Every unassigned pod exactly once. first, longest: seconds of back-off.

    incoming: how often pods got in line, by the queue as kube-scheduler calls it and by what brought them there.
    """

    def __init__(self, clock: Clock, first: float = FIRST_BACKOFF, longest: float = LONGEST_BACKOFF) -> None:
        self.incoming: Counter[tuple[str, str]] = Counter()
        self._clock = clock
        self._first, self._longest = first, longest
        self._entries: dict[str, Entry] = {}
        self._parked: dict[object, dict[str, Entry]] = {}
        self._gangs: dict[str, dict[str, Entry]] = {}
        self._heard: dict[str, list[Concerns]] = {}
        self._active: list[tuple[tuple[int, str], int, Entry]] = []
        self._backoff: list[tuple[float, int, Entry]] = []
        self._numbers = itertools.count()
        self._some = asyncio.Event()
        self._flush: Timer | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str) -> Entry | None:
        """The entry of a pod."""
        return self._entries.get(key)

    def entries(self) -> Iterable[Entry]:
        """All entries."""
        return self._entries.values()

    def gang(self, name: str) -> list[Entry]:
        """The entries of a PodGroup's pods."""
        return list(self._gangs.get(name, {}).values())

    def add(self, pod: PodInfo) -> None:
        """A new or changed pod; a change that placement does not depend on leaves it where it is."""
        entry = self._entries.get(pod.key)
        if entry is not None and entry.pod.uid == pod.uid:
            before, entry.pod = entry.pod, pod
            if before.gang != pod.gang:
                self._leave_gang(pod.key, before.gang)
                self._join_gang(entry)
            if before.shape is not pod.shape or before.group is not pod.group:
                if entry.state is State.PARKED:
                    self._ready(entry, "UnscheduledPodUpdate")
                else:
                    self._relay(entry)
                entry.missed = True
            return
        if entry is not None:
            self.delete(pod.key)
        entry = self._entries[pod.key] = Entry(pod, State.READY, added=self._clock.monotonic())
        self._join_gang(entry)
        self._ready(entry, "UnscheduledPodAdd")

    def delete(self, key: str) -> None:
        """The pod is gone, assigned, or no longer this scheduler's."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._heard.pop(key, None)
        self._leave_gang(key, entry.pod.gang)
        if entry.state is State.PARKED:
            self._unpark(entry)
        else:
            self._relay(entry)
        if entry.timer is not None:
            entry.timer.cancel()
        if not self._entries and self._flush is not None:
            self._flush.cancel()
            self._flush = None

    async def pop(self) -> Entry:
        """The pod to place next; it is in flight until ``park``, ``delay`` or ``delete``."""
        while True:
            entry = self.pop_now()
            if entry is not None:
                return entry
            self._some.clear()
            await self._some.wait()

    def pop_now(self) -> Entry | None:
        """The pod to place next, if there is one."""
        now = self._clock.monotonic()
        while self._backoff and (self._backoff[0][0] <= now or not self._waits(self._backoff[0])):
            item = heapq.heappop(self._backoff)
            if self._waits(item):
                self._ready(item[2], "BackoffComplete")
        while self._active:
            entry = heapq.heappop(self._active)[2]
            if entry.state is State.READY and self._entries.get(entry.pod.key) is entry:
                return self._take(entry)
        while self._backoff:
            item = heapq.heappop(self._backoff)
            if self._waits(item):
                return self._take(item[2])
        return None

    def take(self, key: str) -> Entry | None:
        """One pod, whatever its turn: the rest of a group whose first pod was popped. None if it is not waiting."""
        entry = self._entries.get(key)
        if entry is None or entry.state is State.IN_FLIGHT:
            return None
        self._unpark(entry)
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        return self._take(entry)

    def attend(self, entry: Entry) -> None:
        """The pod is in flight and about to be parked: what happens meanwhile may help it."""
        if self._entries.get(entry.pod.key) is entry:
            self._heard.setdefault(entry.pod.key, [])

    def placed(self, entry: Entry) -> None:
        """The pod has a node, if it can be bound: there may be room for more like it."""
        self._heard.pop(entry.pod.key, None)
        self._relay(entry)

    def park(self, entry: Entry, plugins: frozenset[str] = frozenset(), likeness: object = None) -> None:
        """Nothing can take the pod now: it waits for ``wake``. plugins: who refused it."""
        if self._entries.get(entry.pod.key) is not entry:
            return
        self._back_off(entry)
        self._park(entry, plugins, likeness)

    def gate(self, entry: Entry, plugins: frozenset[str]) -> None:
        """Something that the pod needs is not there yet: it waits for ``wake``, and was not tried."""
        if self._entries.get(entry.pod.key) is entry:
            entry.tries -= 1
            self._park(entry, plugins)

    def _park(self, entry: Entry, plugins: frozenset[str], likeness: object = None) -> None:
        entry.plugins = plugins
        entry.flushed = False
        heard = self._heard.pop(entry.pod.key, ())
        entry.missed = entry.missed or any(concerns(entry.pod, plugins) for concerns in heard)
        if entry.missed:
            entry.state = State.PARKED
            self._ready(entry, _FAILURE)
            return
        entry.state = State.PARKED
        self.incoming["unschedulable", _FAILURE] += 1
        entry.since = self._clock.monotonic()
        likeness = likeness if likeness is not None else entry.pod.likeness
        if entry.likeness != likeness:
            self._relay(entry)
        entry.likeness = likeness
        self._parked.setdefault(entry.likeness, {})[entry.pod.key] = entry
        if self._flush is None:
            self._flush = self._clock.call_later(_FLUSH_EVERY, self._flush_old)

    def delay(self, entry: Entry) -> None:
        """Placing the pod failed for a reason that time may heal: it is tried again after its back-off."""
        if self._entries.get(entry.pod.key) is not entry:
            return
        self._heard.pop(entry.pod.key, None)
        seconds = self._back_off(entry)
        entry.state = State.DELAYED

        def over() -> None:
            entry.timer = None
            if self._entries.get(entry.pod.key) is entry:
                self._ready(entry, "BackoffComplete")

        self.incoming["backoff", _FAILURE] += 1
        entry.timer = self._clock.call_later(seconds, over)

    def again(self, entry: Entry) -> None:
        """The pod is to be looked at once more, at its next turn: nothing was found out about it."""
        if self._entries.get(entry.pod.key) is entry:
            self._heard.pop(entry.pod.key, None)
            entry.tries -= 1
            self._ready(entry, "ForceActivate")

    def wake(self, concerns: Concerns = lambda pod, plugins: True, event: str = "WildCardEvent") -> None:
        """Something changed: parked pods that it concerns are tried again, of those that are alike the oldest first.

        event: what it was, as kube-scheduler names such events.
        """
        for alike in list(self._parked.values()):
            first, last = _oldest(alike), next(reversed(alike.values()))
            if first.pod.gang:
                # They wait together, but are not alike.
                helped = any(concerns(e.pod, e.plugins) for e in {e.pod.look: e for e in alike.values()}.values())
            else:
                # Who was refused last knows best who refuses them all.
                helped = concerns(first.pod, first.plugins | last.plugins)
            if helped:
                self._ready(first, event)
        for heard in self._heard.values():
            heard.append(concerns)

    def wake_one(self, key: str) -> None:
        """This pod is to be tried again; now or, if it is in flight, afterwards."""
        entry = self._entries.get(key)
        if entry is None:
            return
        if entry.state is State.PARKED:
            self._ready(entry, "ForceActivate")
        elif entry.state is State.IN_FLIGHT:
            entry.missed = True

    def _take(self, entry: Entry) -> Entry:
        entry.state = State.IN_FLIGHT
        entry.missed = False
        entry.tries += 1
        entry.began = self._clock.monotonic()
        return entry

    def _join_gang(self, entry: Entry) -> None:
        if entry.pod.gang:
            self._gangs.setdefault(entry.pod.gang, {})[entry.pod.key] = entry

    def _leave_gang(self, key: str, name: str) -> None:
        gang = self._gangs.get(name)
        if gang is not None and gang.pop(key, None) is not None and not gang:
            del self._gangs[name]

    def _waits(self, item: tuple[float, int, Entry]) -> bool:
        until, _, entry = item
        return entry.state is State.BACKOFF and entry.until == until and self._entries.get(entry.pod.key) is entry

    def _unpark(self, entry: Entry) -> None:
        """Takes the entry out of those that are parked."""
        alike = self._parked.get(entry.likeness)
        if alike is not None and alike.pop(entry.pod.key, None) is not None and not alike:
            del self._parked[entry.likeness]

    def _relay(self, entry: Entry) -> None:
        """It was woken for all that are like it, and needs it no more: the next of them is tried."""
        alike, entry.likeness = self._parked.get(entry.likeness), None
        if alike:
            self._ready(_oldest(alike), "AssignedPodAdd")

    def _flush_old(self) -> None:
        """What has been parked for long is tried again in any case, should a change have been overlooked."""
        self._flush = None
        before = self._clock.monotonic() - FLUSH_SECONDS
        for alike in list(self._parked.values()):
            for entry in [entry for entry in alike.values() if entry.since <= before]:
                entry.flushed = True
                self._ready(entry, "UnschedulableTimeout")
        if self._parked:
            self._flush = self._clock.call_later(_FLUSH_EVERY, self._flush_old)

    def _back_off(self, entry: Entry) -> float:
        seconds = float(min(self._first * (1 << min(entry.attempts, 10)), self._longest))
        now = self._clock.monotonic()
        # Being tried again early, because nothing else was waiting, is no new failure.
        if now >= entry.until:
            entry.attempts += 1
            entry.until = now + seconds
        return seconds

    def _ready(self, entry: Entry, event: str) -> None:
        self._unpark(entry)
        if entry.state is State.PARKED and self._clock.monotonic() < entry.until:
            entry.state = State.BACKOFF
            self.incoming["backoff", event] += 1
            heapq.heappush(self._backoff, (entry.until, next(self._numbers), entry))
        else:
            entry.state = State.READY
            self.incoming["active", event] += 1
            heapq.heappush(self._active, ((-entry.pod.priority, entry.pod.created), next(self._numbers), entry))
        self._some.set()


def _oldest(alike: dict[str, Entry]) -> Entry:
    return next(iter(alike.values()))
