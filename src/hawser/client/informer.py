"""A live copy of the objects of one kind, kept by list and watch.

Source of the protocol: Kubernetes API Concepts, "Efficient detection of changes", "Watch bookmarks" and "Resource
versions"; resource versions of one resource compare as integers (KEP-5504).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from hawser.api.errors import APIError
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.client.answers import WatchEvent
from hawser.client.client import Client
from hawser.client.clock import Clock, SystemClock

log = logging.getLogger(__name__)

Objects = list[Obj]
Handler = Callable[[Obj | None, Obj | None], None]
"""Called with the object before and after a change; None before an addition and after a deletion."""
_T = TypeVar("_T")
IndexFunction = Callable[[Obj], Iterable[str]]
TallyFunction = Callable[[Obj], Iterable[tuple[str, Hashable]]]

_NONE: Mapping[Any, int] = {}
FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 5.0
WATCH_SECONDS = 300.0


def key_of(obj: Obj) -> str:
    """``namespace/name``, or ``name`` for cluster-scoped objects: the keys of work queues."""
    metadata = obj["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def split_key(key: str) -> tuple[str, str]:
    """Namespace ("" for cluster-scoped objects) and name of a key."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


def _version(obj: Obj) -> int:
    try:
        return int(obj["metadata"].get("resourceVersion") or 0)
    except ValueError:
        return 0


class Informer:
    """Lists, then watches; handlers and readers see one consistent state, and it survives restarts of the server.

    Objects that it hands out are shared and read-only; ``metadata.managedFields`` is left out of them.

    namespace: None for all. label_selector, field_selector: only these objects.
    metadata_only: fetches and keeps nothing but apiVersion, kind and metadata; may be cleared before ``run``.
    keep: makes of an object what is kept of it, its name, namespace, uid and resourceVersion at least.
    """

    def __init__(
        self,
        client: Client,
        kind: Kind,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        *,
        metadata_only: bool = False,
        keep: Callable[[Obj], Obj] | None = None,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.kind = kind
        self.metadata_only = metadata_only
        self.resource_version = ""
        self._keep = keep
        self._client = client
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self._objects: dict[str, dict[str, Obj]] = {}
        self._handlers: list[Handler] = []
        self._index_functions: dict[str, IndexFunction] = {}
        self._indexes: dict[str, dict[str, dict[str, Obj]]] = {}
        self._tally_functions: dict[str, TallyFunction] = {}
        self._tallies: dict[str, dict[str, Counter[Any]]] = {}
        self._newest = 0
        self._synced = asyncio.Event()

    # Reading

    def get(self, namespace: str | None, name: str) -> Obj | None:
        """The object, or None."""
        return self._objects.get(namespace or "", {}).get(name)

    def get_key(self, key: str) -> Obj | None:
        """The object of a queue's key, or None."""
        return self.get(*split_key(key))

    def list(self, namespace: str | None = None) -> Objects:
        """The objects of a namespace, or all."""
        if namespace is not None:
            return [*self._objects.get(namespace, {}).values()]
        return [obj for objects in self._objects.values() for obj in objects.values()]

    def named(self, name: str) -> Objects:
        """The objects of a name in all namespaces."""
        return [objects[name] for objects in self._objects.values() if name in objects]

    def __len__(self) -> int:
        return sum(map(len, self._objects.values()))

    def by_index(self, index: str, value: str) -> Objects:
        """The objects for which the index's function yields ``value``."""
        return [*self._indexes[index].get(value, {}).values()]

    def count(self, index: str, value: str) -> int:
        """How many objects ``by_index`` would find."""
        return len(self._indexes[index].get(value, _NONE))

    def tally(self, tally: str, value: str) -> Mapping[Any, int]:
        """How many objects there are of each sort, of those for which the tally's function yields ``value``."""
        return self._tallies[tally].get(value, _NONE)

    @property
    def has_synced(self) -> bool:
        """Whether the first list is in."""
        return self._synced.is_set()

    async def synced(self) -> None:
        """Waits for the first list."""
        await self._synced.wait()

    # Set-up

    def on_change(self, handler: Handler) -> None:
        """Calls ``handler(old, new)`` on every change, and now for every object that is already known."""
        self._handlers.append(handler)
        for obj in self.list():
            try:
                handler(None, obj)
            except Exception:
                self._complain()

    def add_index(self, index: str, function: IndexFunction) -> None:
        """Keeps an index of the values that ``function(object)`` yields. Adding one that exists changes nothing."""
        if index in self._index_functions:
            return
        self._index_functions[index] = function
        self._indexes[index] = {}
        for obj in self.list():
            self._index(index, function, key_of(obj), None, obj)

    def add_tally(self, tally: str, function: TallyFunction) -> None:
        """Keeps count of the pairs (value, sort) that ``function(object)`` yields. Adding one that exists changes
        nothing."""
        if tally in self._tally_functions:
            return
        self._tally_functions[tally] = function
        self._tallies[tally] = {}
        for obj in self.list():
            self._count(tally, function, None, obj)

    def observe(self, obj: Obj) -> None:
        """Takes in the answer to an own write at once, so that the next decision does not miss it.

        What the watch has already seen newer is not touched, nor an object outside this informer's scope by namespace.
        """
        namespace = obj["metadata"].get("namespace")
        if self._namespace is not None and namespace != self._namespace:
            return
        if not self.has_synced or _version(obj) <= self._newest:
            return
        self._put(obj)

    # Keeping up

    async def run(self) -> None:
        """Keeps the copy until it is cancelled."""
        failures = 0
        while True:
            version = self.resource_version
            started = self._clock.monotonic()
            try:
                if not self.resource_version:
                    await self._list()
                await self._watch()
                progress = self.resource_version != version or self._clock.monotonic() - started > 1
                failures = 0 if progress else failures + 1
            except APIError as err:
                if self.resource_version != version or self._clock.monotonic() - started > LONGEST_BACKOFF:
                    failures = 0
                if _must_relist(err):
                    log.info("%s are listed again: %s", self.kind.plural, err.message)
                    self.resource_version = ""
                elif failures == 0:
                    log.info("watch of %s is tried again: %s", self.kind.plural, err.message)
                failures += 1
            if failures:
                limit = min(FIRST_BACKOFF * 2 ** min(failures - 1, 20), LONGEST_BACKOFF)
                await self._clock.sleep(limit * (0.5 + 0.5 * self._jitter()))

    async def _list(self) -> None:
        listing = await self._client.list(
            self.kind,
            self._namespace,
            self._label_selector,
            self._field_selector,
            metadata_only=self.metadata_only,
        )
        self._replace(listing.items, listing.resource_version)
        self._synced.set()

    async def _watch(self) -> None:
        # Servers end watches at random times between one and two such periods, so that they do not all come at once.
        seconds = WATCH_SECONDS * (1 + self._jitter())
        events = self._client.watch(
            self.kind,
            self._namespace,
            self.resource_version,
            self._label_selector,
            self._field_selector,
            seconds=seconds,
            metadata_only=self.metadata_only,
        )
        async with aclosing(events):
            async for event in events:
                self._take(event)

    def _take(self, event: WatchEvent) -> None:
        if event.type == "DELETED":
            self._remove(event.object)
        elif event.type != "BOOKMARK":
            self._put(event.object)
        self.resource_version = event.object["metadata"]["resourceVersion"]
        self._newest = _version(event.object)

    def _replace(self, items: Objects, version: str) -> None:
        number = int(version) if version.isdigit() else 0
        # A store that was restored from a backup goes back in time: then the list is right, whatever was seen before.
        restored = number < self._newest
        listed = {key_of(obj) for obj in items}
        for obj in self.list():
            if key_of(obj) not in listed and (restored or _version(obj) <= number):
                self._remove(obj)
        for obj in items:
            self._put(obj, restored)
        self.resource_version = version
        self._newest = number

    def _put(self, obj: Obj, even_older: bool = False) -> None:
        obj = self._kept(obj)
        metadata = obj["metadata"]
        objects = self._objects.setdefault(metadata.get("namespace") or "", {})
        old = objects.get(metadata["name"])
        if old is not None:
            if old["metadata"].get("resourceVersion") == metadata.get("resourceVersion"):
                return
            if _version(old) > _version(obj) and not even_older:
                return
            if old["metadata"].get("uid") != metadata.get("uid"):
                # Another object of that name: a list after a gap shows only that the old one must have gone.
                self._remove(old)
                objects = self._objects.setdefault(metadata.get("namespace") or "", {})
                old = None
        objects[metadata["name"]] = obj
        self._changed(old, obj)

    def _kept(self, obj: Obj) -> Obj:
        """What of an object is kept, wherever it comes from."""
        obj["metadata"].pop("managedFields", None)
        if self.metadata_only:
            return {"apiVersion": self.kind.api_version, "kind": self.kind.kind, "metadata": obj["metadata"]}
        return obj if self._keep is None else self._keep(obj)

    def _remove(self, obj: Obj) -> None:
        obj = self._kept(obj)
        metadata = obj["metadata"]
        namespace = metadata.get("namespace") or ""
        objects = self._objects.get(namespace, {})
        old = objects.pop(metadata["name"], None)
        if not objects:
            self._objects.pop(namespace, None)
        if old is not None:
            self._changed(old, None, final=obj)

    def _changed(self, old: Obj | None, new: Obj | None, final: Obj | None = None) -> None:
        known = new if new is not None else old
        assert known is not None
        key = key_of(known)
        for index, function in self._index_functions.items():
            self._index(index, function, key, old, new)
        for tally, count in self._tally_functions.items():
            self._count(tally, count, old, new)
        # Of a deleted object handlers see the last state, which the DELETED event carries.
        if new is None and final is not None:
            old = final
        for handler in self._handlers:
            try:
                handler(old, new)
            except Exception:
                self._complain()

    def _index(self, index: str, function: IndexFunction, key: str, old: Obj | None, new: Obj | None) -> None:
        before, after = self._values(function, old), self._values(function, new)
        table = self._indexes[index]
        if before != after:
            for value in before:
                if value in after:
                    continue
                entries = table.get(value, {})
                entries.pop(key, None)
                if not entries:
                    table.pop(value, None)
        if new is not None:
            for value in after:
                table.setdefault(value, {})[key] = new

    def _count(self, tally: str, function: TallyFunction, old: Obj | None, new: Obj | None) -> None:
        before, after = self._values(function, old), self._values(function, new)
        if before == after:
            return
        table = self._tallies[tally]
        for value, sort in after:
            table.setdefault(value, Counter())[sort] += 1
        for value, sort in before:
            counts = table[value]
            counts[sort] -= 1
            if not counts[sort]:
                del counts[sort]
            if not counts:
                del table[value]

    def _values(self, function: Callable[[Obj], Iterable[_T]], obj: Obj | None) -> tuple[_T, ...]:
        """What an index's or tally's function yields; of an object that it cannot read, nothing."""
        if obj is None:
            return ()
        try:
            return (*function(obj),)
        except Exception:
            self._complain("an index")
            return ()

    def _complain(self, who: str = "a handler") -> None:
        """One function's mistake must not cost the other controllers their events."""
        log.exception("%s of %s failed", who, self.kind.plural)


def _must_relist(err: APIError) -> bool:
    if err.code == 410:
        return True
    causes = (err.details or {}).get("causes") or ()
    return any(cause.get("reason") == "ResourceVersionTooLarge" for cause in causes)
