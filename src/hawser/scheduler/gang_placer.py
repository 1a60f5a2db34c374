"""Groups of pods: planned in one go, bound when enough of them have a node, and given room by others if need be.

Source: the coscheduling plugin of kubernetes-sigs/scheduler-plugins. There a part of a group waits, holding its places,
until the rest has some or ``scheduleTimeoutSeconds`` are over; here only room that others make is held, and as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from hawser.api.durations import text
from hawser.api.kinds import POD_DISRUPTION_BUDGET
from hawser.api.types import Obj
from hawser.client.clock import Timer
from hawser.client.controller import Manager
from hawser.scheduler.cache import Cache
from hawser.scheduler.counts import Counts
from hawser.scheduler.deciding import NO_GROUP, Decider, Placed
from hawser.scheduler.gangs import Gangs
from hawser.scheduler.hints import Hints
from hawser.scheduler.mustering import Muster, muster
from hawser.scheduler.placement import Decision
from hawser.scheduler.preemption import Preemption, displaced
from hawser.scheduler.queue import NO_CLAIMS, Entry, SchedulingQueue, State
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.writing import Writer

Consider = Callable[[PodInfo, Decision, str, Sequence[Obj]], Preemption | None]
"""Whether others should leave: pod, why it has no place, the node it was promised, budgets."""
Entries = Mapping[str, Entry]
Refused = Sequence[tuple[PodInfo, Decision]]


class GangPlacer:
    """Places groups. bind: binds a pod that is counted as placed; consider: see Consider."""

    def __init__(
        self,
        manager: Manager,
        cache: Cache,
        waiting: SchedulingQueue,
        decider: Decider,
        writer: Writer,
        counts: Counts,
        bind: Callable[[Entry, Placed], Coroutine[Any, Any, None]],
        consider: Consider,
        hints: Hints,
    ) -> None:
        self._manager = manager
        self._cache = cache
        self._waiting = waiting
        self._decider = decider
        self._writer = writer
        self._counts = counts
        self._bind = bind
        self._consider = consider
        self._hints = hints
        self._gangs = Gangs(manager, waiting.wake)
        self._timers: dict[str, Timer] = {}

    async def place(self, entry: Entry) -> None:
        """Plans all waiting pods of the pod's group."""
        gang = entry.pod.gang
        if not self._gangs.ready:
            await self._gangs.start()
            self._waiting.again(entry)
            return
        others = [other for other in self._waiting.gang(gang) if other is not entry]
        complete = [other for other in others if not self._decider.lacks_claims(other.pod)]
        count = 1 + len(complete) + self._cache.gangs.get(gang, 0)
        if len(complete) < len(others) and count < (self._gangs.least(gang) or 0):
            # The last that gets its claims brings the others with it.
            self._waiting.gate(entry, NO_CLAIMS)
            return
        taken = [self._waiting.take(other.pod.key) for other in complete]
        entries = {e.pod.key: e for e in (entry, *(e for e in taken if e is not None))}
        try:
            await self._place(entries, gang)
        except Exception:
            # The one that was popped is seen to by whoever popped it.
            for other in entries.values():
                if other is not entry and other.state is State.IN_FLIGHT:
                    self._waiting.delay(other)
            raise

    async def _place(self, entries: Entries, gang: str) -> None:
        least = self._gangs.least(gang)
        if least is None:
            missing = self._decider.blocked(NO_GROUP)
            await self._refuse(entries, [(e.pod, missing) for e in entries.values()])
            return
        placed, refused = self._together(entries, least)
        if placed or not refused:
            await self._settle(entries, placed, refused)
        elif self._muster(entries, least) is None:
            await self._refuse(entries, refused)
        else:
            await self._preempt(entries, gang, least)

    def _together(self, entries: Entries, least: int) -> tuple[list[Placed], Refused]:
        """Where the group goes now. What its pods were promised they keep as long as those leave who shall, else others
        may have it."""
        promised = {key: node for key in entries if (node := self._cache.nomination(key))}
        placed, refused = self._decider.together(_ordered(entries), least, promised)
        if placed or not promised:
            taken = {each.pod.key: each.node for each in placed}
            self._release(node for key, node in promised.items() if taken.get(key) != node)
            return placed, refused
        told = ((pod, decision) for pod, decision in refused if pod.key in promised)
        results = [self._consider(pod, decision, promised[pod.key], ()) for pod, decision in told]
        keeps = any(result is not None and result.keeps for result in results)
        for key, node in promised.items():
            self._cache.nominate(entries[key].pod, node if keeps else "")
        if not keeps:
            self._release(promised.values())
        return placed, refused

    def _release(self, nodes: Iterable[str]) -> None:
        """Others may have what was kept for the group on these nodes, as far as they are still there."""
        for node in self._cache.nodes.keys() & nodes:
            self._waiting.wake(self._hints.node_changed(self._cache.nodes[node]))

    def _muster(self, entries: Entries, least: int, budgets: Sequence[Obj] = ()) -> Muster | None:
        """Who should leave for the group; None when nobody should, or somebody is about to already."""
        pods = _ordered(entries)
        if any(self._cache.nomination(pod.key) for pod in pods):
            return None
        if len(pods) + self._cache.gangs.get(pods[0].gang, 0) < least:
            return None
        return muster(
            self._cache, self._decider, pods, least, lambda pod, decision: self._consider(pod, decision, "", budgets)
        )

    async def _preempt(self, entries: Entries, gang: str, least: int) -> None:
        """Makes others leave for the group; its pods stay in flight until these have been told."""
        self._counts.preemptions.add()
        for entry in entries.values():
            self._waiting.attend(entry)
        budgets = (await self._manager.client.list(POD_DISRUPTION_BUDGET)).items
        # Budgets took their time: things may have changed.
        entries = self._still(entries, gang)
        if not entries:
            return
        placed, refused = self._together(entries, least)
        plan = None if placed else self._muster(entries, least, budgets)
        if plan is None:
            await self._settle(entries, placed, refused)
            return
        lesser = self._promise(entries, plan)
        seconds = self._gangs.patience(gang)
        self._stop_waiting(gang)
        self._timers[gang] = self._manager.clock.call_later(seconds, partial(self._give_up, gang, seconds))
        messages = {pod.key: decision.message for pod, decision in refused}
        for key, entry in entries.items():
            await self._writer.report(entry, messages.get(key, ""), plan.seats.get(key))
        await self._writer.withdraw(lesser)
        going = True
        for pod, candidate in plan.preempting:
            self._counts.victims.of().observe(len(candidate.victims))
            going &= await self._writer.evict(pod, candidate)
        for other in lesser:
            self._waiting.wake_one(other.key)
        for pod, decision in refused:
            self._park(entries[pod.key], decision, going=going)

    def _still(self, entries: Entries, gang: str) -> Entries:
        """Those that are still there and of the group; who is of another one now has its turn there."""
        here = {key: entry for key, entry in entries.items() if self._waiting.get(key) is entry}
        for entry in here.values():
            if entry.pod.gang != gang:
                self._waiting.again(entry)
        return {key: entry for key, entry in here.items() if entry.pod.gang == gang}

    def _promise(self, entries: Entries, plan: Muster) -> list[PodInfo]:
        """Keeps room for the group; those that were promised some of it before, and matter less."""
        lesser: dict[str, PodInfo] = {}
        for key, node in plan.seats.items():
            lesser |= {other.key: other for other in displaced(self._cache.nodes[node], entries[key].pod)}
        for other in lesser.values():
            self._cache.nominate(other, "")
        for key, node in plan.seats.items():
            self._cache.nominate(entries[key].pod, node)
        return list(lesser.values())

    def _give_up(self, gang: str, seconds: float) -> None:
        """The group has not become whole in time: others may have the room that was kept for it."""
        self._timers.pop(gang, None)
        held = [e for e in self._waiting.gang(gang) if self._cache.nomination(e.pod.key)]
        nodes = [self._cache.nomination(e.pod.key) for e in held]
        for entry in held:
            self._cache.nominate(entry.pod, "")
        why = f"rejected due to timeout after waiting {text(seconds)} at plugin Coscheduling"

        async def tell() -> None:
            for entry in held:
                message = f'pod "{entry.pod.name}" rejected while waiting on permit: {why}'
                await self._writer.report(entry, message, "")

        if held:
            self._telling = asyncio.get_running_loop().create_task(tell())
        self._release(nodes)

    def _stop_waiting(self, gang: str) -> None:
        timer = self._timers.pop(gang, None)
        if timer is not None:
            timer.cancel()

    async def _settle(self, entries: Entries, placed: Sequence[Placed], refused: Refused) -> None:
        """Binds those that have a node, and tells the others why they have none."""
        if placed:
            self._stop_waiting(placed[0].pod.gang)
        async with asyncio.TaskGroup() as tasks:
            for each in placed:
                tasks.create_task(self._bind(entries[each.pod.key], each))
            tasks.create_task(self._refuse(entries, refused))

    async def _refuse(self, entries: Entries, refused: Refused) -> None:
        for pod, decision in refused:
            # Those that fit nowhere come first: what helps them helps the group.
            self._park(entries[pod.key], decision)
        async with asyncio.TaskGroup() as tasks:
            for pod, decision in refused:
                # What it was promised before counts no more, unless room is still kept for it.
                nominated = None if self._cache.nomination(pod.key) else ""
                tasks.create_task(self._writer.report(entries[pod.key], decision.message, nominated))

    def _park(self, entry: Entry, decision: Decision, *, going: bool = True) -> None:
        """going: whether those are on their way who shall leave for it."""
        self._counts.unschedulable(entry)
        if going:
            self._waiting.park(entry, decision.plugins | {"Coscheduling"}, ("gang", entry.pod.gang))
        else:
            self._waiting.delay(entry)


def _ordered(entries: Entries) -> list[PodInfo]:
    return sorted((e.pod for e in entries.values()), key=lambda pod: (-pod.priority, pod.created, pod.key))
