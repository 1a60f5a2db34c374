"""A small world for controllers: objects with versions, watches that lag, writes that a crash cuts off.

It knows what the API server does for Jobs and pods, and nothing else; the same controller runs against the real one in
``test_with_server``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import Kind
from hawser.client.answers import WatchEvent
from hawser.client.client import Listing
from hawser.client.clock import timestamp
from hawser.client.informer import Informer
from hawser.client.workqueue import WorkQueue

Obj = dict[str, Any]
START = datetime(2026, 1, 1, tzinfo=UTC)


class Crash(Exception):
    """The controller's process ends here."""


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def cpu(self) -> float:
        return 0.0

    def call_later(self, seconds: float, call: Callable[[], None]) -> Any:
        return self

    def cancel(self) -> None:
        """Nothing waits here: the test says when keys are worked on."""

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class World:
    """Stands for server and client. crash_after: writes until Crash is raised, the last of which has happened."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.objects: dict[tuple[Kind, str], Obj] = {}
        self.version = 0
        self.writes = 0
        self.crash_after: int | None = None
        self.events: list[tuple[str, str, str]] = []
        self.watchers: list[Lagging] = []
        self.deleted: set[str] = set()
        """Uids of what was deleted, by anybody."""

    # What controllers ask of a manager

    @property
    def client(self) -> World:
        return self

    def informer(self, kind: Kind, **_: Any) -> Informer:
        for watcher in self.watchers:
            if watcher.informer.kind is kind:
                return watcher.informer
        made = Lagging(self, kind)
        self.watchers.append(made)
        return made.informer

    def recorder(self, component: str) -> World:
        return self

    def event(self, obj: Obj, kind: str, reason: str, message: str) -> None:
        self.events.append((kind, reason, message))

    async def start(self, controller: Any) -> Any:
        """Runs a new process: caches are listed anew."""
        self.watchers.clear()
        controller.queue = WorkQueue(clock=self.clock)
        controller.setup(self)
        for watcher in self.watchers:
            await watcher.informer._list()
        return controller

    def deliver(self, events: int | None = None) -> None:
        """Lets every watch bring so many events, or all."""
        for watcher in self.watchers:
            watcher.deliver(events)

    # Client

    async def list(self, kind: Kind, *_: Any, **__: Any) -> Listing:
        return Listing([copy.deepcopy(o) for (k, _), o in self.objects.items() if k is kind], str(self.version))

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Obj:
        return copy.deepcopy(self._known(kind, name))

    async def create(self, kind: Kind, obj: Obj) -> Obj:
        self._count()
        made = copy.deepcopy(obj)
        metadata = made["metadata"]
        name = metadata.setdefault("name", f"{metadata.get('generateName', '')}{self.version}")
        metadata.setdefault("uid", f"uid-{name}")
        metadata["creationTimestamp"] = timestamp(self.clock.now())
        if kind.kind == "Pod":
            made.setdefault("status", {"phase": "Pending"})
        return self._store(kind, name, made, "ADDED")

    async def update(self, kind: Kind, obj: Obj, subresource: str = "") -> Obj:
        known = self._known(kind, obj["metadata"]["name"])
        if known["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            raise APIError(409, "Conflict", "the object has been modified")
        self._count()
        return self._store(kind, obj["metadata"]["name"], {**known, "status": copy.deepcopy(obj["status"])})

    async def patch(self, kind: Kind, name: str, namespace: str, body: Obj, *_: Any, **__: Any) -> Obj:
        known = copy.deepcopy(self._known(kind, name))
        metadata, changes = known["metadata"], dict(body["metadata"])
        if changes.pop("uid") != metadata["uid"]:
            raise APIError(409, "Conflict", "another object")
        self._count()
        gone = changes.pop("$deleteFromPrimitiveList/finalizers", [])
        added = changes.pop("finalizers", [])
        finalizers = [f for f in metadata.get("finalizers", []) if f not in gone] + added
        metadata["finalizers"] = finalizers
        if (references := changes.pop("ownerReferences", None)) is not None:
            metadata["ownerReferences"] = [r for r in references if "$patch" not in r]
        assert not changes
        return self._settle(kind, name, known)

    async def delete(self, kind: Kind, name: str, namespace: str | None = None, uid: str | None = None) -> Obj:
        known = copy.deepcopy(self._known(kind, name))
        if uid not in (None, known["metadata"]["uid"]):
            raise APIError(409, "Conflict", "another object")
        self._count()
        return self.terminate(kind, name)

    # The rest of the cluster

    def change(self, kind: Kind, name: str, **fields: Any) -> None:
        """Users and nodes change an object."""
        self._store(kind, name, {**copy.deepcopy(self._known(kind, name)), **fields})

    def terminate(self, kind: Kind, name: str) -> Obj:
        """Deletes gracefully: the node still has to end the pod."""
        known = copy.deepcopy(self._known(kind, name))
        self.deleted.add(known["metadata"]["uid"])
        known["metadata"].setdefault("deletionTimestamp", timestamp(self.clock.now()))
        if not known.get("spec", {}).get("nodeName"):
            known["metadata"]["ended"] = True
        return self._settle(kind, name, known)

    def remove(self, kind: Kind, name: str) -> None:
        """Deletes at once."""
        self._store(kind, name, copy.deepcopy(self._known(kind, name)), "DELETED")
        del self.objects[kind, name]

    def ended(self, kind: Kind, name: str) -> None:
        """The node has ended a pod that was being deleted."""
        known = copy.deepcopy(self._known(kind, name))
        known["metadata"]["ended"] = True
        self._settle(kind, name, known)

    def of(self, kind: Kind) -> list[Obj]:
        return [o for (k, _), o in self.objects.items() if k is kind]

    def _settle(self, kind: Kind, name: str, obj: Obj) -> Obj:
        metadata = obj["metadata"]
        if metadata.get("ended") and not metadata.get("finalizers"):
            stored = self._store(kind, name, obj, "DELETED")
            del self.objects[kind, name]
            return stored
        return self._store(kind, name, obj)

    def _known(self, kind: Kind, name: str) -> Obj:
        if (kind, name) not in self.objects:
            raise APIError(404, "NotFound", f"{name} not found")
        return self.objects[kind, name]

    def _count(self) -> None:
        self.writes += 1
        if self.crash_after is not None:
            if self.crash_after == 0:
                raise Crash
            self.crash_after -= 1

    def _store(self, kind: Kind, name: str, obj: Obj, what: str = "MODIFIED") -> Obj:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.objects[kind, name] = obj
        for watcher in self.watchers:
            watcher.take(kind, what, obj)
        return copy.deepcopy(obj)


class Lagging:
    """An informer whose watch brings events when the test says so."""

    def __init__(self, world: World, kind: Kind) -> None:
        self.informer = Informer(world, kind, clock=world.clock)  # type: ignore[arg-type]
        self._waiting: list[WatchEvent] = []

    def take(self, kind: Kind, what: str, obj: Obj) -> None:
        if kind is self.informer.kind:
            self._waiting.append(WatchEvent(what, copy.deepcopy(obj)))

    def deliver(self, events: int | None) -> None:
        count = len(self._waiting) if events is None else events
        now, self._waiting = self._waiting[:count], self._waiting[count:]
        for event in now:
            self.informer._take(event)
