"""The generic registry: create, update and delete of every kind, as one function of the newest state each.

Every write is a ``store.WriteFn``: read-modify-write cannot lose an update, so nothing here retries.
Source of the rules: API conventions and API concepts of the Kubernetes documentation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

import orjson

from hawser.api.apply import owners
from hawser.api.apply.owners import Author, Entry
from hawser.api.cel.patience import LaboriousError
from hawser.api.encoding import dumps
from hawser.api.errors import (
    APIError,
    Cause,
    FieldError,
    already_exists,
    conflict,
    internal,
    invalid,
    not_found,
    timeout,
)
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.apiserver import index, laborious, ownership, removal, scheme
from hawser.apiserver.admission.base import Hooks, Operation, Request
from hawser.apiserver.admission.chain import Chain, Plan, ask, give_back
from hawser.apiserver.deletion import DeleteOptions
from hawser.apiserver.ownership import Configuration
from hawser.apiserver.strategies.base import Strategy
from hawser.apiserver.updates import Update, applied_name, begin_status, desired
from hawser.apiserver.writes import (
    TRIES,
    Change,
    Moved,
    Options,
    Undo,
    Written,
    drop_repeated_owners,
    generate,
    set_metadata,
    set_namespace,
    stamp,
    tried,
    utc_now,
)
from hawser.store.base import Delete, Keep, Put, Record, Store, Watch, WriteFn


class Resource:
    """The objects of one kind.

    as_stored: clients are shown the stored bytes. asks: somebody else must be asked before objects can be shown or
    stored (``ready``, ``stored``). laborious: validation may take long (``check``). watches: those that may be ended;
    bare: those of them that see the bare metadata of every object, as JSON.
    before_create: called before admission. after_write: awaited before whoever wrote an object is answered.
    """

    as_stored = True
    asks = False
    laborious = False

    def __init__(
        self,
        kind: Kind,
        strategy: Strategy,
        store: Store,
        admit: Callable[[Kind, str], None],
        now: Callable[[], datetime] = utc_now,
        admission: Chain | None = None,
    ) -> None:
        """admit: called with kind and namespace before a creation; raises APIError when it may not be there."""
        self.kind = kind
        self.strategy = strategy
        self.store = store
        self.prefix = f"{kind.group or 'core'}/{kind.plural}/"
        self.watches: set[Watch] = set()
        self.bare: set[Watch] = set()
        self.before_create: Callable[[str, Obj], Awaitable[None]] | None = None
        self.after_write: Callable[[], Awaitable[None]] | None = None
        self.admission = admission or Chain()
        self._plans: dict[tuple[str, Operation], Plan] = {}
        self._admit = admit
        self.now = now

    def key(self, namespace: str, name: str) -> str:
        """The store key of an object."""
        return f"{self.prefix}{namespace}/{name}" if self.kind.namespaced else self.prefix + name

    def not_found(self, name: str) -> APIError:
        """The 404 of this kind."""
        return not_found(self.kind.group, self.kind.plural, name)

    def plan(self, subresource: str, operation: Operation) -> Plan:
        """What the admission plugins do for such writes."""
        plan = self._plans.get((subresource, operation))
        if plan is None:
            plan = self._plans[subresource, operation] = self.admission.plan(self.kind, subresource, operation)
        return plan

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
        return dumps(obj)

    def show(self, record: Record) -> bytes:
        """The bytes that clients are shown of a record."""
        return record.value

    def values(self, records: Iterable[Record]) -> list[bytes]:
        """The bytes that clients are shown of each record."""
        return [record.value for record in records]

    async def ready(self, records: Iterable[Record]) -> None:
        """Fetch what ``load`` and ``show`` need of these records, where ``asks`` is set. APIError."""

    async def stored(self, obj: Obj) -> Obj:
        """What ``encode`` is to be given of an object, where ``asks`` is set. APIError."""
        return obj

    def remember(self, index: object, obj: Obj) -> None:
        """An object has been encoded, where ``asks`` is set: index will be its record's."""

    async def check(self, validate: Callable[..., None], *arguments: object) -> None:
        """Call a pure function that validates. APIError 422."""
        validate(*arguments)

    def outdated(self, record: Record) -> bool:
        """Whether a record should be written anew although nothing in it changes."""
        return self.store.stale(record)

    async def create(self, namespace: str, obj: Obj, options: Options, entries: list[Entry] | None = None) -> Written:
        """Create an object from what a client sent (changed in place). APIError 400, 403, 404, 409, 422.

        entries: who owns its fields; when they are not given, all are the writer's.
        """
        scheme.check_kind(self.kind, obj)
        scheme.read(self.kind, obj, options.fields)
        metadata = obj.get("metadata") or {}
        set_namespace(self.kind, namespace, metadata)
        drop_repeated_owners(metadata, options.fields.warnings)
        generated = not metadata.get("name") and bool(metadata.get("generateName"))
        if not generated and not metadata.get("name"):
            raise self._invalid("", FieldError(Cause.REQUIRED, "metadata.name", "name or generateName is required"))
        obj = {"kind": obj.pop("kind"), "apiVersion": obj.pop("apiVersion"), **obj, "metadata": metadata}
        if self.kind.namespaced:
            self._admit(self.kind, namespace)
        if self.before_create is not None:
            await self.before_create(namespace, obj)
        if entries is None:
            entries = ownership.created(self.kind, obj, self.author(options))
        plan = self.plan("", Operation.CREATE)
        hooks = self.admission.asked(self.kind, "", Operation.CREATE)
        request = Request(Operation.CREATE, self.kind, namespace, metadata.get("name") or "", obj, None, options)
        try:
            plan.mutate(request)
        except LaboriousError as error:
            await laborious.again(error, plan.mutate, request)
        if hooks is not None:
            await ask(hooks, plan, request)
        written_entries = owners.encoded(entries)
        for attempt in range(TRIES):
            if generated:
                request.new["metadata"]["name"] = generate(metadata["generateName"])
            try:
                return await self._create(namespace, request, written_entries, plan, hooks)
            except APIError as error:
                if not generated or error.reason != "AlreadyExists" or attempt == TRIES - 1:
                    raise
        raise internal("no free name was found")

    async def _create(
        self, namespace: str, request: Request, entries: list[Obj], plan: Plan, hooks: Hooks | None
    ) -> Written:
        kind, options, obj = self.kind, request.options, request.new
        metadata = obj["metadata"]
        set_metadata(kind, metadata, stamp(self.now))
        if kind.has_status:
            begin_status(kind, obj, self.strategy.status_at_creation)
        self.strategy.prepare_create(obj)
        await self.check(scheme.check_create, kind, obj) if self.laborious else scheme.check_create(kind, obj)
        options.fields.warnings.extend(self.strategy.warnings(obj, None))
        name = request.name = metadata["name"]
        try:
            plan.validate(request)
        except LaboriousError as error:
            await laborious.again(error, plan.validate, request)
        if hooks is not None:
            await hooks.validate(request)
        if (metadata.get("resourceVersion") or "0").strip("0").isdecimal():
            # An error of the storage in kube-apiserver, which clients are told as it is.
            raise APIError(500, "", "resourceVersion should not be set on objects to be created")
        if entries:
            metadata["managedFields"] = entries
        kept = await self.stored(obj) if self.asks else obj

        def fn(current: Record | None, revision: int) -> Put:
            if current is not None:
                raise already_exists(kind.group, kind.plural, name)
            metadata["resourceVersion"] = kept["metadata"]["resourceVersion"] = str(revision)
            made = index.written(kind, obj, bool(self.bare))
            if self.asks:
                self.remember(made, obj)
            return Put(self.encode(kept), made)

        undos = [] if options.dry_run else self._reserve(request, plan)
        try:
            record = await self.commit(self.key(namespace, name), fn, options)
        except BaseException:
            give_back(undos)
            raise
        return Written(self.show(record), created=True)

    def _reserve(self, request: Request, plan: Plan) -> list[Undo]:
        undo = self.strategy.reserve(request.new, None)
        undos = [undo] if undo is not None else []
        if plan.reserving:
            try:
                undos += plan.reserve(request)
            except BaseException:
                give_back(undos)
                raise
        return undos

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
        key = self.key(namespace, name)
        if create is not None and self.store.get(key) is None:
            create.setdefault("metadata", {}).pop("resourceVersion", None)
            return await self.create(namespace, create, options)
        if isinstance(change, Configuration) and not options.subresource and self.store.get(key) is None:
            return await self._create_applied(namespace, name, change, options)
        update = Update(self, namespace, name, change, options, status, finalize, binding)
        hooks = None if binding else self.admission.asked(self.kind, options.subresource, Operation.UPDATE)
        update.again = not binding and self.admission.thinks(self.kind, options.subresource, Operation.UPDATE)
        try:
            if hooks is None and not self.asks and not self.laborious:
                record = await laborious.patiently(lambda: self.commit(key, update.run, options))
            else:
                record = await self._update_asking(key, update, options, hooks)
        except BaseException:
            update.undo()
            raise
        if update.removed and not options.dry_run:
            self.strategy.release(orjson.loads(record.value))
        return Written(self.show(record), removed=update.removed)

    async def _update_asking(self, key: str, update: Update, options: Options, hooks: Hooks | None) -> Record:
        """An update that takes long, or that others are asked about: made anew when the object changes meanwhile."""
        update.again = True

        def fn(current: Record | None, revision: int) -> Put | Delete | Keep:
            if current is None or current.revision != update.base:
                raise Moved
            return update.outcome(revision)

        for _ in range(TRIES):
            current = self.store.get(key)
            if current is not None and self.asks:
                await self.ready([current])
            update.begin(current)
            try:
                update.mutate()
            except LaboriousError as error:
                await laborious.again(error, update.mutate)
            if hooks is not None:
                await ask(hooks, update.plan or Plan(), update.request)
            await self.check(update.check)
            try:
                update.admit()
            except LaboriousError as error:
                await laborious.again(error, update.admit)
            if hooks is not None:
                await hooks.validate(update.request)
            if self.asks:
                update.kept = await self.stored(update.request.new)
            try:
                return await self.commit(key, fn, options)
            except Moved:
                update.undo()
        raise conflict(self.kind.group, self.kind.plural, update.request.name)

    async def _create_applied(self, namespace: str, name: str, change: Configuration, options: Options) -> Written:
        """Create an object of a configuration that is applied to nothing."""
        obj, entries = applied_name(change, namespace, name)
        metadata = obj["metadata"]
        if metadata.get("uid"):
            detail = (
                f"uid mismatch: the provided object specified uid {metadata['uid']}, and no existing object was found"
            )
            raise conflict(self.kind.group, self.kind.plural, name, detail)
        return await self.create(namespace, obj, options, entries)

    def author(self, options: Options) -> Author:
        """The manager of a write."""
        return Author(options.manager, self.kind.api_version, stamp(self.now), options.subresource)

    def count_generation(self, new: Obj, old: Obj) -> None:
        """Set metadata.generation of a changed object."""
        if not self.kind.generation:
            return
        generation = old["metadata"].get("generation", 1)
        if desired(new) != desired(old):
            generation += 1
        new["metadata"]["generation"] = generation

    async def delete(self, namespace: str, name: str, delete: DeleteOptions, options: Options) -> Written:
        """Delete an object, or begin to: what remains has a deletionTimestamp. APIError 403, 404, 409."""
        return await removal.remove(self, namespace, name, delete, options)

    async def commit(self, key: str, fn: WriteFn, options: Options) -> Record:
        """Write, or try to where nothing is to be kept; the record as it is then. APIError 504, and what fn raises."""
        if options.dry_run:
            return tried(key, fn, self.store)
        record = await self.store.write(key, fn)
        if record is None:
            raise timeout("the write was not kept")
        if self.after_write is not None:
            await self.after_write()
        return record

    def _invalid(self, name: str, error: FieldError) -> APIError:
        return invalid(self.kind.group, self.kind.kind, name, [error])
