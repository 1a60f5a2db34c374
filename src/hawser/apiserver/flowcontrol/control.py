"""Priority and fairness at the door: nobody takes the whole server.

Source: Kubernetes documentation, "API Priority and Fairness". Watches and connections hold no seat: they cost next to
nothing while they last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from hawser.api.errors import APIError
from hawser.api.kind import Kind
from hawser.api.kinds import FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION
from hawser.api.types import Obj
from hawser.apiserver.authorization.base import attributes
from hawser.apiserver.flowcontrol import defaults, schemas
from hawser.apiserver.flowcontrol.counts import Counts, exposed
from hawser.apiserver.flowcontrol.levels import WAIT_SECONDS, Level, Levels, too_many
from hawser.apiserver.flowcontrol.schemas import FlowSchema
from hawser.apiserver.identity import User
from hawser.apiserver.paths import Target
from hawser.apiserver.resources import Resources
from hawser.apiserver.writes import Options, timestamp

_LASTING = frozenset({"attach", "exec", "log", "portforward", "proxy"})
_REMEMBERED = 4096


@dataclass(slots=True)
class Place:
    """Where a request belongs. level: None of what takes no seat. headers: what its answer carries.

    counts: None of what is not counted: connections, and what no schema speaks of. cleared: the generation of the
    policy in which such requests of this user were found to be allowed, whatever object they name.
    """

    level: Level | None
    flow: str
    headers: tuple[tuple[str, str], ...]
    counts: Counts | None = None
    cleared: int = -1


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits. arrived: in seconds of the epoch."""

    level: Level
    flow: str
    target: Target
    arrived: float


NOWHERE = Place(None, "", ())
"""Of requests that no schema speaks of."""


class FlowControl:
    """Over the committed objects. seats: requests that are served at once, shared out among the levels."""

    def __init__(self, resources: Resources, seats: int) -> None:
        self._resources = resources
        self._schemas: list[FlowSchema] = []
        self.levels = Levels(seats)
        self._places: dict[tuple[str, ...], Place] = {}
        self.counts: dict[tuple[str, str], Counts] = {}
        self.waiting: dict[asyncio.Future[None], Waiting] = {}
        self.executing: dict[Target, tuple[Place, float, float]] = {}
        """What has a seat: its place, since when (``time.perf_counter``), and the seconds that it waited."""
        self._news = asyncio.Event()
        for kind in (PRIORITY_LEVEL_CONFIGURATION, FLOW_SCHEMA):
            resources.store.follow(resources[kind].prefix, lambda events: self.load())
        self.load()

    def load(self) -> None:
        """Read all levels and schemas."""
        self.levels.configure(self._objects(PRIORITY_LEVEL_CONFIGURATION))
        self._schemas = schemas.read(self._objects(FLOW_SCHEMA))
        self._places.clear()
        self._news.set()

    def _objects(self, kind: Kind) -> Iterator[Obj]:
        resource = self._resources[kind]
        return (orjson.loads(record.value) for record in resource.store.list(resource.prefix))

    def place(self, user: User, target: Target) -> Place:
        """Where a request belongs; found out once for each kind of request of a user."""
        resource = target.resource
        key = (
            *(user.name, target.verb, target.group, resource, target.subresource, target.namespace),
            *(user.groups if resource else (target.path, *user.groups)),
        )
        found = self._places.get(key)
        if found is None:
            if len(self._places) >= _REMEMBERED:
                self._places.clear()
            found = self._places[key] = self._find(user, target)
        return found

    def _find(self, user: User, target: Target) -> Place:
        asked = attributes(target)
        for schema in self._schemas:
            if schema.level in self.levels and schema.matches(user, asked):
                level = self.levels[schema.level]
                headers = (
                    ("X-Kubernetes-PF-FlowSchema-UID", schema.uid),
                    ("X-Kubernetes-PF-PriorityLevel-UID", level.uid),
                )
                flow = f"{schema.name}/{schema.flow(user, asked)}"
                if target.subresource in _LASTING:
                    return Place(None, flow, headers)
                counts = self.counts.setdefault((level.name, schema.name), Counts())
                return Place(None if target.verb == "watch" else level, flow, headers, counts)
        return NOWHERE

    def enters(self, level: Level, counts: Counts) -> bool:
        """Take a seat if there is one to spare, as there nearly always is."""
        if level.waiting or (level.executing >= level.seats and not level.exempt):
            return False
        level.executing += 1
        counts.waited.buckets[0] += 1
        counts.dispatched += 1
        counts.executing += 1
        return True

    async def enter(self, level: Level, place: Place, counts: Counts, target: Target) -> float:
        """Take a seat, as soon as there is one; how many seconds that took. APIError 429."""
        waited = 0.0
        try:
            future = self.levels.enter(level, place.flow)
        except APIError:
            counts.reject("queue-full" if level.queues else "concurrency-limit")
            raise
        if future is None:
            counts.waited.buckets[0] += 1
        else:
            self.waiting[future] = Waiting(level, place.flow, target, time.time())
            try:
                waited = await self._wait(level, future, counts)
            finally:
                del self.waiting[future]
        counts.dispatched += 1
        counts.executing += 1
        return waited

    def leave(self, level: Level, counts: Counts, seconds: float) -> None:
        """Give the seat back after so many seconds."""
        counts.executing -= 1
        counts.ran.observe(seconds)
        self.levels.leave(level)

    def metrics(self) -> Iterator[str]:
        """What is counted, as lines of Prometheus' text format."""
        return exposed(self.levels, self.counts)

    async def _wait(self, level: Level, future: asyncio.Future[None], counts: Counts) -> float:
        """Until a seat is free: after so many seconds. APIError 429 when that takes too long."""
        began = time.perf_counter()
        counts.waiting += 1
        ended = counts.gave_up
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await asyncio.shield(future)
            ended = counts.waited
        except TimeoutError:
            counts.reject("time-out")
            self._give_up(level, future)
            raise too_many() from None
        except asyncio.CancelledError:
            counts.reject("cancelled")
            self._give_up(level, future)
            raise
        finally:
            counts.waiting -= 1
            waited = time.perf_counter() - began
            ended.observe(waited)
        return waited

    def _give_up(self, level: Level, future: asyncio.Future[None]) -> None:
        if not future.cancel() and future.done() and future.exception() is None:
            # The seat came in the same moment.
            self.levels.leave(level)

    async def run(self) -> None:
        """Bring the default objects into the store, and keep the schemas' conditions true, until cancelled."""
        for kind, wanted in ((PRIORITY_LEVEL_CONFIGURATION, defaults.levels()), (FLOW_SCHEMA, defaults.schemas())):
            resource = self._resources[kind]
            missing = [obj for obj in wanted if resource.store.get(resource.key("", obj["metadata"]["name"])) is None]
            await asyncio.gather(*(resource.create("", obj, Options()) for obj in missing), return_exceptions=True)
        while True:
            self._news.clear()
            for schema in list(self._schemas):
                await self._report(schema)
            await self._news.wait()

    async def _report(self, schema: FlowSchema) -> None:
        known = schema.level in self.levels
        quoted = f'This FlowSchema references the PriorityLevelConfiguration object named "{schema.level}"'
        condition = {
            "type": "Dangling",
            "status": "False" if known else "True",
            "lastTransitionTime": timestamp(self._resources.now()),
            "reason": "Found" if known else "NotFound",
            "message": f"{quoted} and it exists" if known else f"{quoted} but there is no such object",
        }

        def change(old: Obj) -> Obj:
            status: Obj = old.get("status") or {}
            before: list[Obj] = status.get("conditions") or []
            if any(c["type"] == "Dangling" and c["status"] == condition["status"] for c in before):
                return old
            rest = [c for c in before if c["type"] != "Dangling"]
            return {**old, "status": {**status, "conditions": [*rest, condition]}}

        try:
            options = Options(subresource="status", manager="api-priority-and-fairness-config-consumer-v1")
            await self._resources[FLOW_SCHEMA].update("", schema.name, change, options, status=True)
        except APIError:
            # It is gone, or changed meanwhile: there will be news.
            return
