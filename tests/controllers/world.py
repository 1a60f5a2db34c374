"""A cluster in memory for model tests: what the API server keeps and tells, with the faults that a test wishes for.

Controllers run unchanged on a ``Client`` whose requests end here. Time is a test's; nothing happens by itself: a test
says when pods start and end (``pods.py``), when watches tell of changes, and which requests fail or are the last thing
that a controller's process did.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from hawser.api import errors
from hawser.api.defaults import apply_defaults
from hawser.api.kinds import EVENT, NODE, POD, Kind
from hawser.api.patch import merge_patch
from hawser.api.strategic import clone, strategic_merge_patch
from hawser.apiserver.paths import Target, parse
from hawser.client.answers import WatchEvent
from hawser.client.client import STRATEGIC, Client
from hawser.client.clock import Clock, timestamp

from .objects import Obj

Key = tuple[Kind, str, str]
_WAITS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


class Fault(StrEnum):
    """What becomes of a request that changes something."""

    NONE = "none"
    REFUSED = "refused"
    """It fails and changes nothing."""
    LOST = "lost"
    """It does its work, and the answer gets lost."""
    CRASH = "crash"
    """It does its work, and whoever asked is no more."""


@dataclass
class _Watch:
    kind: Kind
    namespace: str
    seen: int
    allowed: int
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class World:
    """Objects, their history, and who watches it.

    faults: one for each write; without more of them all is well. stale: watches tell only what ``deliver`` lets them.
    """

    def __init__(self, clock: Clock, faults: Iterable[Fault] = ()) -> None:
        self.clock = clock
        self.faults = iter(faults)
        self.stale = False
        self.crashed = False
        self.writes = 0
        self.requests = 0
        self.told: list[Obj] = []
        """Events that controllers have reported."""
        self.on_write: Callable[[str, Obj], None] = lambda verb, obj: None
        """Called with the verb and the object after each write of a controller; what must hold at every moment."""
        self.broken: list[AssertionError] = []
        """What did not hold."""
        self._objects: dict[Key, Obj] = {}
        self._history: list[tuple[int, str, Kind, Obj]] = []
        self._watches: list[_Watch] = []
        self._numbers = itertools.count(1)
        self.revision = 0

    # What tests do

    def objects(self, kind: Kind) -> list[Obj]:
        """All of a kind, to be looked at only."""
        return [obj for (known, _, _), obj in self._objects.items() if known == kind]

    def past(self, kind: Kind) -> set[str]:
        """The names of all of a kind that there have ever been."""
        return {obj["metadata"]["name"] for _, _, known, obj in self._history if known == kind}

    def find(self, kind: Kind, name: str, namespace: str = "default") -> Obj | None:
        return self._objects.get((kind, namespace if kind.namespaced else "", name))

    def create(self, kind: Kind, obj: Obj) -> Obj:
        obj = clone(obj)
        metadata = obj.setdefault("metadata", {})
        namespace = metadata.setdefault("namespace", "default") if kind.namespaced else ""
        if "name" not in metadata:
            metadata["name"] = f"{metadata['generateName']}{next(self._numbers):05x}"
        key = (kind, namespace, metadata["name"])
        if key in self._objects:
            raise errors.already_exists(kind.group, kind.plural, metadata["name"])
        metadata["uid"] = f"uid-{next(self._numbers)}"
        metadata["creationTimestamp"] = timestamp(self.clock.now())
        metadata["generation"] = 1
        obj.setdefault("apiVersion", kind.api_version)
        obj.setdefault("kind", kind.kind)
        if "status" in kind.subresources and kind != NODE:
            obj["status"] = {"phase": "Pending"} if kind == POD else {}
        apply_defaults(kind, obj)
        self._put(key, obj, "ADDED")
        return obj

    def change(self, kind: Kind, name: str, change: Callable[[Obj], None], namespace: str = "default") -> Obj:
        """Changes an object as any client with all rights may."""
        key = (kind, namespace if kind.namespaced else "", name)
        old = self._objects[key]
        new = clone(old)
        change(new)
        return self._replace(key, old, new)

    def remove(self, kind: Kind, name: str, namespace: str = "default") -> None:
        """Takes an object out of the store, whatever it waits for."""
        key = (kind, namespace if kind.namespaced else "", name)
        obj = self._objects.pop(key)
        self.revision += 1
        gone = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        self._tell(kind, "DELETED", gone)

    def delete(self, kind: Kind, name: str, namespace: str = "default", propagation: str = "") -> Obj:
        """Deletes as a client does: pods on a node end first, and dependents are seen to as they are to be."""
        key = (kind, namespace if kind.namespaced else "", name)
        obj = self._objects[key]
        metadata = obj["metadata"]
        runs = kind == POD and obj["spec"].get("nodeName") and obj["status"].get("phase") not in ("Failed", "Succeeded")
        finalizers = list(metadata.get("finalizers") or ())
        if (waits := _WAITS.get(propagation)) and waits not in finalizers:
            finalizers.append(waits)
        if not runs and not finalizers:
            self.remove(kind, name, namespace)
            return obj
        if metadata.get("deletionTimestamp"):
            return obj
        going = {**metadata, "deletionTimestamp": timestamp(self.clock.now()), "deletionGracePeriodSeconds": 30}
        if finalizers:
            going["finalizers"] = finalizers
        return self._replace(key, obj, {**obj, "metadata": going})

    def collect(self) -> bool:
        """Removes, as the garbage collector does, what none of its owners is left of; whether there was anything."""
        uids = {obj["metadata"]["uid"] for obj in self._objects.values()}
        doomed = [
            key
            for key, obj in self._objects.items()
            if (owners := obj["metadata"].get("ownerReferences")) and not any(r["uid"] in uids for r in owners)
        ]
        done = False
        for kind, namespace, name in doomed:
            before = self.revision
            self.delete(kind, name, namespace)
            done = done or self.revision != before
        return done

    def deliver(self, changes: int | None = None) -> None:
        """Lets each watch tell of so many changes more; None: of all there are."""
        for watch in self._watches:
            watch.allowed = self.revision if changes is None else min(self.revision, watch.allowed + changes)
            watch.woken.set()

    # What clients ask

    def request(self, target: Target, method: str, body: Obj | None, content_type: str) -> Obj:
        kind = target.kind
        assert kind is not None, target.path
        if method == "POST":
            assert body is not None
            body.setdefault("metadata", {}).setdefault("namespace", target.namespace)
            if kind == EVENT:
                self.told.append(body)
                return body
            return self.create(kind, body)
        key = (kind, target.namespace, target.name)
        old = self._objects.get(key)
        if old is None:
            raise errors.not_found(kind.group, kind.plural, target.name)
        if method == "GET":
            return old
        if method == "DELETE":
            asked = body or {}
            only = asked.get("preconditions") or {}
            self._check_uid(kind, old, only.get("uid"))
            if only.get("resourceVersion", old["metadata"]["resourceVersion"]) != old["metadata"]["resourceVersion"]:
                raise errors.conflict(kind.group, kind.plural, target.name)
            return self.delete(kind, target.name, target.namespace, asked.get("propagationPolicy") or "")
        assert body is not None
        return self._replace(key, old, self._changed(target, method, body, content_type, old), target.subresource)

    def _changed(self, target: Target, method: str, body: Obj, content_type: str, old: Obj) -> Obj:
        kind = target.kind
        assert kind is not None
        self._check_uid(kind, old, body["metadata"].get("uid") if "metadata" in body else None)
        if method == "PATCH":
            new: Obj = (
                strategic_merge_patch(old, body, kind.gvk) if content_type == STRATEGIC else merge_patch(old, body)
            )
        else:
            version = body["metadata"].get("resourceVersion")
            if version and version != old["metadata"]["resourceVersion"]:
                raise errors.conflict(kind.group, kind.plural, target.name)
            new = clone(body)
        if target.subresource == "status":
            return {**old, "status": new.get("status") or {}}
        return {**new, "status": old["status"]} if "status" in old else new

    def _check_uid(self, kind: Kind, obj: Obj, uid: str | None) -> None:
        if uid and uid != obj["metadata"]["uid"]:
            raise errors.conflict(kind.group, kind.plural, obj["metadata"]["name"])

    def _replace(self, key: Key, old: Obj, new: Obj, subresource: str = "") -> Obj:
        new = clone(new)
        metadata = new["metadata"]
        if not metadata.get("ownerReferences"):
            metadata.pop("ownerReferences", None)
        if not subresource:
            apply_defaults(key[0], new)
            metadata["generation"] = old["metadata"]["generation"] + (new.get("spec") != old.get("spec"))
        if new == old:
            return old
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers") and key[0] != POD:
            self.remove(key[0], key[2], key[1])
            return new
        self._put(key, new, "MODIFIED")
        return new

    def _put(self, key: Key, obj: Obj, event: str) -> None:
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        self._objects[key] = obj
        self._tell(key[0], event, obj)

    def _tell(self, kind: Kind, event: str, obj: Obj) -> None:
        self._history.append((self.revision, event, kind, obj))
        if not self.stale:
            self.deliver()

    def listing(self, target: Target) -> Obj:
        items = [
            obj
            for (kind, namespace, _), obj in self._objects.items()
            if kind == target.kind and target.namespace in ("", namespace)
        ]
        return {"items": items, "metadata": {"resourceVersion": str(self.revision)}}

    async def watch(self, kind: Kind, namespace: str, start: int) -> AsyncGenerator[WatchEvent, None]:
        watch = _Watch(kind, namespace, start, start if self.stale else self.revision)
        self._watches.append(watch)
        try:
            while True:
                watch.woken.clear()
                for revision, event, known, obj in self._after(watch.seen):
                    if revision > watch.allowed:
                        break
                    watch.seen = revision
                    if known == kind and namespace in ("", obj["metadata"].get("namespace")):
                        self.requests += 1
                        yield WatchEvent(event, clone(obj))
                await watch.woken.wait()
        finally:
            self._watches.remove(watch)

    def _after(self, revision: int) -> list[tuple[int, str, Kind, Obj]]:
        # Every revision is one event, so that the history is its own index.
        return self._history[revision:]


class WorldClient(Client):
    """A client whose requests end in a World."""

    def __init__(self, world: World) -> None:
        super().__init__("http://world.invalid")
        self._world = world

    async def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "",
    ) -> bytes:
        world = self._world
        target = parse(method, path)
        body = orjson.loads(orjson.dumps(body)) if body is not None else None
        world.requests += 1
        await asyncio.sleep(0)
        if target.verb == "list":
            return orjson.dumps(world.listing(target))
        if method == "GET" or target.kind == EVENT:
            return orjson.dumps(world.request(target, method, body, content_type))
        world.writes += 1
        fault = next(world.faults, Fault.NONE)
        if world.crashed or fault is Fault.REFUSED:
            await self._end(world.crashed, "refused")
        answer = world.request(target, method, body, content_type)
        try:
            world.on_write(method, answer)
        except AssertionError as error:
            world.broken.append(error)
        if fault is not Fault.NONE:
            await self._end(fault is Fault.CRASH, "lost")
        await asyncio.sleep(0)
        return orjson.dumps(answer)

    async def _end(self, crashed: bool, what: str) -> None:
        if crashed:
            # Whoever asked does nothing any more until it is cancelled.
            self._world.crashed = True
            await asyncio.get_running_loop().create_future()
        raise errors.service_unavailable(f"the answer is {what}")

    def watch(self, kind: Kind, namespace: str | None = None, resource_version: str = "", *_: Any, **__: Any) -> Any:
        return self._world.watch(kind, namespace or "", int(resource_version))
