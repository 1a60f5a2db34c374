"""The generic registry: create, update and delete of every kind, as one function of the newest state each.

Every write is a ``store.WriteFn``: read-modify-write cannot lose an update, so nothing here retries.
Source of the rules: API conventions and API concepts of the Kubernetes documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from io import BytesIO
from os import urandom
from secrets import choice

import orjson

from hawser.api.apply import owners
from hawser.api.apply.owners import Author, Entry
from hawser.api.errors import (
    APIError,
    Cause,
    FieldError,
    already_exists,
    bad_request,
    conflict,
    internal,
    invalid,
    not_found,
    timeout,
)
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.apiserver import deletion, index, ownership, scheme
from hawser.apiserver.deletion import DeleteOptions
from hawser.apiserver.ownership import Configuration
from hawser.apiserver.strategies.base import Strategy
from hawser.store.base import Delete, Keep, Put, Record, Store, Watch, WriteFn

# The suffix of generateName: Kubernetes leaves out vowels and what looks alike.
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_NAME_LIMIT = 63
_GENERATE_TRIES = 8

Change = Callable[[Obj], Obj]
"""From the stored object (not to be changed) to what the client wants it to be."""


def utc_now() -> datetime:
    """The clock of the registry."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Options:
    """What every write takes: dryRun, how unknown fields are treated, who writes (the field manager) and below what.

    sees_owners: the change wants to see metadata.managedFields (a JSON patch of them).
    """

    dry_run: bool = False
    fields: scheme.Fields = field(default_factory=scheme.Fields)
    manager: str = ownership.SERVER
    subresource: str = ""
    sees_owners: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of a write. created and removed say what happened to the object; uid: of a deleted one."""

    value: bytes
    created: bool = False
    removed: bool = False
    uid: str = ""


class Resource:
    """The objects of one kind.

    as_stored: clients are shown the stored bytes. watches: those that are running, where they may be ended.
    """

    as_stored = True

    def __init__(
        self,
        kind: Kind,
        strategy: Strategy,
        store: Store,
        admit: Callable[[Kind, str], None],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """admit: called with kind and namespace before a creation; raises APIError when it may not be there."""
        self.kind = kind
        self.strategy = strategy
        self.store = store
        self.prefix = f"{kind.group or 'core'}/{kind.plural}/"
        self.watches: set[Watch] = set()
        self._admit = admit
        self._now = now

    def key(self, namespace: str, name: str) -> str:
        """The store key of an object."""
        return f"{self.prefix}{namespace}/{name}" if self.kind.namespaced else self.prefix + name

    def not_found(self, name: str) -> APIError:
        """The 404 of this kind."""
        return not_found(self.kind.group, self.kind.plural, name)

    def get(self, namespace: str, name: str) -> Record:
        """The committed record. APIError 404."""
        record = self.store.get(self.key(namespace, name))
        if record is None:
            raise self.not_found(name)
        return record

    def load(self, record: Record) -> Obj:
        """The object of a record, as this resource's version shows it."""
        found: Obj = orjson.loads(record.value)
        return found

    def encode(self, obj: Obj) -> bytes:
        """The bytes to store of an object."""
        return orjson.dumps(obj)

    def show(self, record: Record) -> bytes:
        """The bytes that clients are shown of a record."""
        return record.value

    def values(self, records: Iterable[Record]) -> list[bytes]:
        """The bytes that clients are shown of each record."""
        return [record.value for record in records]

    def outdated(self, record: Record) -> bool:
        """Whether a record should be written anew although nothing in it changes."""
        return False

    async def create(self, namespace: str, obj: Obj, options: Options, entries: list[Entry] | None = None) -> Written:
        """Create an object from what a client sent (changed in place). APIError 400, 403, 404, 409, 422.

        entries: who owns its fields; when they are not given, all are the writer's.
        """
        scheme.check_kind(self.kind, obj)
        scheme.read(self.kind, obj, options.fields)
        metadata = obj.get("metadata") or {}
        self._set_namespace(namespace, metadata)
        if metadata.get("resourceVersion"):
            raise APIError(500, "InternalError", "resourceVersion should not be set on objects to be created")
        generated = not metadata.get("name") and bool(metadata.get("generateName"))
        if not generated and not metadata.get("name"):
            raise self._invalid("", FieldError(Cause.REQUIRED, "metadata.name", "name or generateName is required"))
        obj = {"kind": obj.pop("kind"), "apiVersion": obj.pop("apiVersion"), **obj, "metadata": metadata}
        if self.kind.namespaced:
            self._admit(self.kind, namespace)
        if entries is None:
            entries = ownership.created(self.kind, obj, self._author(options))
        written_entries = owners.encoded(entries)
        for attempt in range(_GENERATE_TRIES):
            if generated:
                metadata["name"] = _generate(metadata["generateName"])
            try:
                return await self._create(namespace, obj, options, written_entries)
            except APIError as error:
                if not generated or error.reason != "AlreadyExists" or attempt == _GENERATE_TRIES - 1:
                    raise
        raise internal("no free name was found")

    async def _create(self, namespace: str, obj: Obj, options: Options, entries: list[Obj]) -> Written:
        kind = self.kind
        metadata = obj["metadata"]
        self._set_metadata(metadata)
        if kind.has_status and not self.strategy.status_at_creation:
            obj.pop("status", None)
        self.strategy.prepare_create(obj)
        scheme.check_create(kind, obj)
        if entries:
            metadata["managedFields"] = entries
        name = metadata["name"]

        def fn(current: Record | None, revision: int) -> Put:
            if current is not None:
                raise already_exists(kind.group, kind.plural, name)
            metadata["resourceVersion"] = str(revision)
            return Put(self.encode(obj), index.make(kind, obj))

        record = await self._write(self.key(namespace, name), fn, options, obj, None)
        return Written(self.show(record), created=True)

    def _set_namespace(self, namespace: str, metadata: Obj) -> None:
        given = metadata.get("namespace")
        if not self.kind.namespaced:
            if given:
                metadata.pop("namespace")
        elif not given:
            metadata["namespace"] = namespace
        elif given != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")

    def _set_metadata(self, metadata: Obj) -> None:
        """What a new object's metadata starts with; what clients may not set is dropped."""
        for name in ("managedFields", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
            metadata.pop(name, None)
        metadata["uid"] = _uid()
        metadata["creationTimestamp"] = timestamp(self._now())
        if self.kind.generation:
            metadata["generation"] = 1

    async def update(
        self,
        namespace: str,
        name: str,
        change: Change | Configuration,
        options: Options,
        *,
        status: bool = False,
        create: Obj | None = None,
        finalize: bool = False,
        binding: bool = False,
    ) -> Written:
        """Replace an object by what change makes of it; nothing is written when that is the same.

        A Configuration is applied; where there is no object yet, it is created of it. Owners of fields are kept up.
        status: only the status (and metadata) changes. create: the object to create when there is none (PUT of kinds
        that allow it). finalize: the namespace's finalize subresource, which alone may change spec.finalizers.
        binding: the pod's binding subresource, which alone may set spec.nodeName and its condition.
        APIError 404, 409, 422, and what change raises.
        """
        kind = self.kind
        strategy = self.strategy
        key = self.key(namespace, name)
        if create is not None and self.store.get(key) is None:
            create.setdefault("metadata", {}).pop("resourceVersion", None)
            return await self.create(namespace, create, options)
        if isinstance(change, Configuration) and not options.subresource and self.store.get(key) is None:
            return await self._create_applied(namespace, name, change, options)
        author = self._author(options)
        removed = False
        undo: Callable[[], None] | None = None

        def fn(current: Record | None, revision: int) -> Put | Delete | Keep:
            nonlocal removed, undo
            if current is None:
                raise self.not_found(name)
            old = self.load(current)
            held: list[Entry] = old["metadata"].pop("managedFields", [])
            if isinstance(change, Configuration):
                applied = change.apply(old, held)
                changed, entries = applied.object, applied.entries
            elif options.sees_owners:
                changed = change({**old, "metadata": {**old["metadata"], "managedFields": held}})
            else:
                changed = change(old)
            given = (changed.get("metadata") or {}).pop("managedFields", None)
            new = changed if binding else self._settle(changed, old, name, status)
            if status:
                strategy.prepare_status(new, old)
            if binding:
                entries = held
            elif not isinstance(change, Configuration):
                entries = ownership.updated(kind, old, new, held, given, author)
            if status:
                scheme.check_status(kind, new, old)
            elif not binding:
                # A binding changes what no update may.
                if not finalize:
                    strategy.prepare_update(new, old)
                self.count_generation(new, old)
                scheme.check_update(kind, new, old)
            if new == old and (entries is held or owners.same_but_time(entries, held)) and not self.outdated(current):
                return Keep()
            if entries:
                # Entries that are as they were are in order already; encoding sorts the others.
                new["metadata"]["managedFields"] = held if entries is held else owners.encoded(entries, held)
            removed = deletion.finished(strategy, new)
            if not removed and not status and not options.dry_run:
                undo = strategy.reserve(new, old)
            new["metadata"]["resourceVersion"] = str(revision)
            if removed:
                return Delete(self.encode(new), index.make(kind, new))
            return Put(self.encode(new), index.make(kind, new))

        try:
            record = await self._commit(key, fn, options)
        except BaseException:
            if undo is not None:
                undo()
            raise
        if removed and not options.dry_run:
            strategy.release(orjson.loads(record.value))
        return Written(self.show(record), removed=removed)

    async def _create_applied(self, namespace: str, name: str, change: Configuration, options: Options) -> Written:
        """Create an object of a configuration that is applied to nothing."""
        applied = change.apply({}, [])
        metadata = applied.object.setdefault("metadata", {})
        if not metadata.get("name"):
            raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
        if metadata["name"] != name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        if metadata.get("uid"):
            detail = (
                f"uid mismatch: the provided object specified uid {metadata['uid']}, and no existing object was found"
            )
            raise conflict(self.kind.group, self.kind.plural, name, detail)
        return await self.create(namespace, applied.object, options, applied.entries)

    def _author(self, options: Options) -> Author:
        return Author(options.manager, self.kind.api_version, timestamp(self._now()), options.subresource)

    def _settle(self, new: Obj, old: Obj, name: str, status: bool) -> Obj:
        """Check identity and version of a changed object and restore the metadata that clients cannot change."""
        kind = self.kind
        metadata = new.setdefault("metadata", {})
        was = old["metadata"]
        if metadata.get("name") and metadata["name"] != name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        if kind.namespaced and metadata.get("namespace") and metadata["namespace"] != was["namespace"]:
            raise bad_request(
                f"the namespace of the object ({metadata['namespace']}) does not match the namespace on the "
                f"URL ({was['namespace']})"
            )
        if metadata.get("uid") and metadata["uid"] != was["uid"]:
            detail = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {was['uid']}"
            raise conflict(kind.group, kind.plural, name, detail)
        version = metadata.get("resourceVersion")
        if not version:
            if not self.strategy.unconditional_update:
                error = FieldError(
                    Cause.INVALID, "metadata.resourceVersion", "must be specified for an update", value=0
                )
                raise self._invalid(name, error)
        elif version != was["resourceVersion"]:
            raise conflict(kind.group, kind.plural, name)
        for field_name in _SERVER_OWNED:
            if field_name in was:
                metadata[field_name] = was[field_name]
            else:
                metadata.pop(field_name, None)
        metadata.pop("managedFields", None)
        metadata.pop("selfLink", None)
        if status:
            new = {**old, "metadata": metadata, "status": new.get("status", {})}
        elif kind.has_status:
            if "status" in old:
                new["status"] = old["status"]
            else:
                new.pop("status", None)
        new["kind"], new["apiVersion"] = kind.kind, kind.api_version
        return new

    def count_generation(self, new: Obj, old: Obj) -> None:
        """Set metadata.generation of a changed object."""
        if not self.kind.generation:
            return
        generation = old["metadata"].get("generation", 1)
        if _desired(new) != _desired(old):
            generation += 1
        new["metadata"]["generation"] = generation

    async def delete(self, namespace: str, name: str, delete: DeleteOptions, options: Options) -> Written:
        """Delete an object, or begin to: what remains has a deletionTimestamp. APIError 404, 409."""
        kind = self.kind
        removed = False
        final: Obj = {}

        def fn(current: Record | None, revision: int) -> Put | Delete | Keep:
            nonlocal removed, final
            if current is None:
                raise self.not_found(name)
            new: Obj = orjson.loads(current.value)
            deletion.check_preconditions(kind, new, delete)
            removed = deletion.begin(self.strategy, new, delete, self._now())
            final = new
            if not removed and new == orjson.loads(current.value):
                return Keep()
            new["metadata"]["resourceVersion"] = str(revision)
            if removed:
                return Delete(self.encode(new), index.make(kind, new))
            return Put(self.encode(new), index.make(kind, new))

        record = await self._commit(self.key(namespace, name), fn, options)
        if removed and not options.dry_run:
            self.strategy.release(final)
        return Written(self.show(record), removed=removed, uid=final["metadata"]["uid"])

    async def _write(self, key: str, fn: WriteFn, options: Options, obj: Obj, old: Obj | None) -> Record:
        """Commit a creation, with what the strategy reserves for it."""
        undo = None if options.dry_run else self.strategy.reserve(obj, old)
        try:
            return await self._commit(key, fn, options)
        except BaseException:
            if undo is not None:
                undo()
            raise

    async def _commit(self, key: str, fn: WriteFn, options: Options) -> Record:
        if options.dry_run:
            return _try(key, fn, self.store)
        record = await self.store.write(key, fn)
        if record is None:
            raise timeout("the write was not kept")
        return record

    def _invalid(self, name: str, error: FieldError) -> APIError:
        return invalid(self.kind.group, self.kind.kind, name, [error])


_SERVER_OWNED = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
)


def _try(key: str, fn: WriteFn, store: Store) -> Record:
    """What a write would do, without doing it (dryRun=All)."""
    current = store.get(key)
    outcome = fn(current, current.revision if current is not None else 0)
    if isinstance(outcome, Keep):
        assert current is not None
        return current
    return Record(key, outcome.value, 0, 0)


def _generate(base: str) -> str:
    return base[: _NAME_LIMIT - 5] + "".join(choice(_SUFFIX) for _ in range(5))


_random = BytesIO()


def _uid() -> str:
    """A version 4 UUID (RFC 9562, section 5.4); the kernel is asked for random bytes 256 UUIDs at a time."""
    global _random
    raw = _random.read(16)
    if not raw:
        _random = BytesIO(urandom(16 * 256))
        raw = _random.read(16)
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


@lru_cache(maxsize=4)
def _format(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def timestamp(moment: datetime) -> str:
    """A time as Kubernetes writes it, in whole seconds of UTC."""
    return _format(int(moment.timestamp()))


def _desired(obj: Obj) -> Obj:
    """What an object asks for: everything but metadata and status."""
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}
