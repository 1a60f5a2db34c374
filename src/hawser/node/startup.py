"""Turns at starting: of the pods that need much CPU to come up, only so many at a time start on a node.

Thirty Java machines that start together on a few cores keep each other from being ready before their probes lose
patience. A pod says that it is such a one with the annotation ``hawser.dev/startup: cpu-hungry``; its app containers
then wait for a turn, first come, first served. A turn ends when the pod is up, when it ends, or when its time is over.
All other pods start as ever and cost a look into a dict.

Nothing is kept on disk: an agent that is started again finds who has a turn by what runs and is not up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.node.pod import plan as planning
from hawser.node.pod import view
from hawser.node.pod.actions import Plan
from hawser.node.pod.jobs import Jobs
from hawser.node.pod.observed import Memory, Observed, Waiting

ANNOTATION, HUNGRY = "hawser.dev/startup", "cpu-hungry"
REASON = "StartupQueued"
TURN_SECONDS = 120.0
"""The longest turn."""
UNPROBED_SECONDS = 15.0
"""A container without startup and readiness probes counts as up after so long: nothing else tells."""
_OPEN_SECONDS = 10.0


class Answer(Enum):
    """To whoever wants to start."""

    GO = "go"
    QUEUED = "queued"
    WAITING = "waiting"


def is_hungry(pod: Obj) -> bool:
    """Whether a pod has to wait for turns."""
    return (pod["metadata"].get("annotations") or {}).get(ANNOTATION) == HUNGRY


def up_in(pod: Obj, observed: Observed, memory: Memory, now: float) -> float | None:
    """0 when all app containers are up; seconds until they are when only time is missing; None when more is."""
    waits = 0.0
    for container in view.containers(pod):
        newest = observed.newest(container["name"])
        if newest is None or not newest.running:
            return None
        if container.get("startupProbe"):
            if not memory.started.get(newest.id):
                return None
        elif container.get("readinessProbe"):
            if not memory.ready.get(newest.id):
                return None
        else:
            waits = max(waits, (newest.started_at or now) + UNPROBED_SECONDS - now)
    return waits


@dataclass(slots=True)
class Gate:
    """The turns of a node. limit: how many at a time; 0: any number. Times are seconds since the epoch."""

    limit: int = 0
    _turns: dict[str, float] = field(default_factory=dict)
    _queue: dict[str, Callable[[], None]] = field(default_factory=dict)
    _expected: set[str] = field(default_factory=set)

    def expect(self, uids: Iterable[str]) -> None:
        """Gives no turn before these pods, which an earlier agent started, have been looked at; but not for long."""
        if self.limit:
            self._expected = set(uids)
            asyncio.get_running_loop().call_later(_OPEN_SECONDS, self._open)

    def _open(self) -> None:
        self._expected.clear()
        self._call_next()

    def look(self, pod: Obj, observed: Observed, memory: Memory, now: float) -> tuple[Waiting | None, float | None]:
        """What holds a pod's app containers back, before they are planned, and seconds until to look again, if ever."""
        uid = view.uid(pod)
        if self._expected:
            self._seen(uid)
        if not self.limit or not is_hungry(pod):
            return None, None
        left = None if view.deleting(pod) or has_ended(pod) else up_in(pod, observed, memory, now)
        if left == 0 or view.deleting(pod) or has_ended(pod):
            self.release(uid)
            return None, None
        if uid not in self._turns:
            self._take_over(uid, pod, observed, now)
        deadline = self._turns.get(uid)
        if deadline is None:
            why = f"{self.limit} pods that need much CPU are starting on this node; this one waits for its turn"
            return Waiting(REASON, why), None
        if deadline <= now:
            self.release(uid)
            return None, None
        return None, min(deadline - now, left if left is not None else deadline - now)

    def _take_over(self, uid: str, pod: Obj, observed: Observed, now: float) -> None:
        """A pod that runs and is not up has a turn already, whoever gave it."""
        newest = [observed.newest(container["name"]) for container in view.containers(pod)]
        started = [c.started_at or now for c in newest if c is not None and c.running]
        if started and max(started) + TURN_SECONDS > now:
            self._turns[uid] = max(started) + TURN_SECONDS
            self._queue.pop(uid, None)

    def ask(self, uid: str, wake: Callable[[], None], now: float) -> Answer:
        """Whether a pod may start now. wake: called when it is worth asking again."""
        ahead = next(iter(self._queue), uid)
        if not self._expected and ahead == uid and len(self._turns) < self.limit:
            self._queue.pop(uid, None)
            self._turns[uid] = now + TURN_SECONDS
            self._call_next()
            return Answer.GO
        if uid in self._queue:
            return Answer.WAITING
        self._queue[uid] = wake
        return Answer.QUEUED

    def release(self, uid: str) -> None:
        """A pod does not start any more."""
        had, waited = self._turns.pop(uid, None), self._queue.pop(uid, None)
        if had is not None or waited is not None:
            self._call_next()

    def _seen(self, uid: str) -> None:
        self._expected.discard(uid)
        if not self._expected:
            self._call_next()

    def _call_next(self) -> None:
        if self._queue and not self._expected and len(self._turns) < self.limit:
            next(iter(self._queue.values()))()


def plan_in_turn(
    gate: Gate, pod: Obj, observed: Observed, memory: Memory, now: float, jobs: Jobs, queued: Callable[[str], None]
) -> Plan:
    """The plan for a pod, its app containers held back until it is its turn. queued: called once with why it waits."""
    memory.held, again = gate.look(pod, observed, memory, now)
    if again is not None:
        jobs.wake_in(again + 0.001)
    decided = planning.plan(pod, observed, memory, now)
    held = memory.held
    if held is None:
        return decided
    if held not in decided.waiting.values():
        # It has nothing to start now: others need not wait behind it.
        gate.release(view.uid(pod))
        return decided
    match gate.ask(view.uid(pod), jobs.wake.set, now):
        case Answer.GO:
            memory.held = None
            return planning.plan(pod, observed, memory, now)
        case Answer.QUEUED:
            queued(held.message)
    return decided
