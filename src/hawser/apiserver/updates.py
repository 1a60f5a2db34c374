"""One update of one object, from the newest state to what is to be written.

The steps are methods, in the order in which they are called; between ``begin`` and ``check`` and after ``check``
others may be asked (webhooks), which is why they are apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hawser.api.apply import owners
from hawser.api.apply.owners import Entry
from hawser.api.crd.kinds import CustomKind
from hawser.api.errors import Cause, FieldError, bad_request, conflict, invalid
from hawser.api.kinds import Kind
from hawser.api.strategic import clone
from hawser.api.types import Obj
from hawser.apiserver import deletion, index, ownership, scheme
from hawser.apiserver.admission.base import Operation, Request
from hawser.apiserver.admission.chain import give_back
from hawser.apiserver.ownership import Configuration
from hawser.apiserver.writes import Change, Options, Undo, drop_empty, drop_repeated_owners
from hawser.store.base import Delete, Keep, Put, Record

if TYPE_CHECKING:
    from hawser.apiserver.registry import Resource

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


# What is known of an object's metadata only when it is written.
_LATE = ("resourceVersion", "managedFields")


class Update:
    """See ``Resource.update`` for the arguments.

    base: the revision that it starts from. again: it may begin more than once.
    kept: what is to be stored, where that is not the object itself. removed: the update ends the object.
    request: what admission sees.
    """

    __slots__ = (
        "_binding",
        "_change",
        "_entries",
        "_finalize",
        "_held",
        "_kept",
        "_old",
        "_options",
        "_part",
        "_resource",
        "_status",
        "_undos",
        "again",
        "base",
        "kept",
        "plan",
        "removed",
        "request",
    )

    def __init__(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Change | Configuration,
        options: Options,
        status: bool,
        finalize: bool,
        binding: bool,
    ) -> None:
        self._resource = resource
        self._change = change
        self._options = options
        self._status = status
        self._finalize = finalize
        self._binding = binding
        self._part = resource.strategy.parts.get(options.subresource)
        self._old: Obj = {}
        self._held: list[Entry] = []
        self._entries: list[Entry] = []
        self._kept: Record | None = None
        self._undos: list[Undo] = []
        self.again = False
        self.base = 0
        self.kept: Obj | None = None
        self.removed = False
        # A binding has been admitted as what was posted.
        operation = Operation.UPDATE
        subresource = options.subresource
        self.plan = resource.plan(subresource, operation) if not binding else None
        self.request = Request(operation, resource.kind, namespace, name, None, None, options, subresource)

    def begin(self, current: Record | None) -> None:
        """Make the change to the newest state; the object is in ``request`` then. APIError 400, 404, 409."""
        resource, options, change = self._resource, self._options, self._change
        name = self.request.name
        if current is None:
            raise resource.not_found(name)
        self._kept, self.base = current, current.revision
        old = resource.load(current)
        held: list[Entry] = old["metadata"].pop("managedFields", [])
        if isinstance(change, Configuration):
            applied = change.apply(old, held)
            changed, entries = applied.object, applied.entries
        elif options.sees_owners:
            changed = change({**old, "metadata": {**old["metadata"], "managedFields": held}})
        else:
            changed = change(old)
        if self.again:
            # What the client sent is needed once more should this attempt fail.
            changed = clone(changed)
        given = (changed.get("metadata") or {}).pop("managedFields", None)
        new = changed if self._binding else self._settle(changed, old, name)
        if self._part is not None:
            new = self._part.prepare(new, old)
        elif self._status:
            resource.strategy.prepare_status(new, old)
        if self._binding:
            entries = held
        elif not isinstance(change, Configuration):
            entries = ownership.updated(resource.kind, old, new, held, given, resource.author(options))
        self._old, self._held, self._entries = old, held, entries
        self.request.object, self.request.old = new, old

    def mutate(self) -> None:
        """Let the plugins change the object."""
        if self.plan:
            self.plan.mutate(self.request)

    def check(self) -> None:
        """Validate what is to be written. APIError 422."""
        resource, new, old = self._resource, self.request.new, self._old
        told = self.request.options.fields.warnings
        if self._status:
            scheme.check_status(resource.kind, new, old, told)
        elif self._part is not None:
            resource.count_generation(new, old)
            if errors := list(self._part.errors(new, old)):
                raise invalid(resource.kind.group, resource.kind.kind, self.request.name, errors)
        elif not self._binding:
            # A binding changes what no update may.
            if not self._finalize:
                resource.strategy.prepare_update(new, old)
            resource.count_generation(new, old)
            scheme.check_update(resource.kind, new, old, told)
            told = self._options.fields.warnings
            told += [text for text in resource.strategy.warnings(new, old) if text not in told]

    def admit(self) -> None:
        """Ask the validating plugins. APIError 403, 422."""
        if self.plan:
            self.plan.validate(self.request)

    def outcome(self, revision: int) -> Put | Delete | Keep:
        """What the store is to do."""
        resource, new, old = self._resource, self.request.new, self._old
        entries, held = self._entries, self._held
        assert self._kept is not None
        if (
            new == old
            and (entries is held or owners.same_but_time(entries, held))
            and not resource.outdated(self._kept)
        ):
            return Keep()
        if entries:
            # Entries that are as they were are in order already; encoding sorts the others.
            new["metadata"]["managedFields"] = held if entries is held else owners.encoded(entries, held)
        self.removed = deletion.finished(resource.strategy, new)
        if not self.removed and not self._options.dry_run:
            self._reserve(new, old)
        new["metadata"]["resourceVersion"] = str(revision)
        made = index.written(resource.kind, new, bool(resource.bare))
        if self.kept is None:
            encoded = resource.encode(new)
        else:
            owned = {key: new["metadata"][key] for key in _LATE if key in new["metadata"]}
            encoded = resource.encode({**self.kept, "metadata": {**self.kept["metadata"], **owned}})
            resource.remember(made, new)
        return Delete(encoded, made) if self.removed else Put(encoded, made)

    def _reserve(self, new: Obj, old: Obj) -> None:
        if not self._status:
            undo = self._resource.strategy.reserve(new, old)
            if undo is not None:
                self._undos.append(undo)
        if self.plan and self.plan.reserving:
            self._undos += self.plan.reserve(self.request)

    def undo(self) -> None:
        """The write did not come about: give back what was reserved for it."""
        give_back(self._undos)
        self._undos = []

    def run(self, current: Record | None, revision: int) -> Put | Delete | Keep:
        """All of it at once: a ``store.WriteFn``."""
        self.begin(current)
        self.mutate()
        self.check()
        self.admit()
        return self.outcome(revision)

    def _settle(self, new: Obj, old: Obj, name: str) -> Obj:
        """Check identity and version of a changed object and restore the metadata that clients cannot change."""
        kind = self._resource.kind
        was = old["metadata"]
        check_name(kind, new, was.get("namespace", ""), name)
        metadata = new["metadata"]
        if "ownerReferences" in metadata:
            drop_repeated_owners(metadata, self._options.fields.warnings, self._options.kind == "PatchOptions")
        if metadata.get("uid", was["uid"]) not in ("", was["uid"]) and self._options.kind == "UpdateOptions":
            raise conflict(kind.group, kind.plural, name, _another(kind, metadata["uid"], was))
        version = metadata.get("resourceVersion")
        if not version:
            if not self._resource.strategy.unconditional_update:
                error = FieldError(
                    Cause.INVALID, "metadata.resourceVersion", "must be specified for an update", value=0
                )
                raise invalid(kind.group, kind.plural, name, [error])
        elif version != was["resourceVersion"]:
            raise conflict(kind.group, kind.plural, name)
        if errors := list(_changed(metadata, was)):
            raise invalid(kind.group, kind.kind, name, errors)
        for field_name in _SERVER_OWNED:
            if field_name in was:
                metadata[field_name] = was[field_name]
            else:
                metadata.pop(field_name, None)
        metadata.pop("managedFields", None)
        metadata.pop("selfLink", None)
        drop_empty(metadata)
        if self._status:
            status = new.get("status", {})
            if type(kind) is not CustomKind:
                complete(status)
            new = {**old, "metadata": metadata, "status": status}
        elif kind.has_status and self._part is None:
            if "status" in old:
                new["status"] = old["status"]
            else:
                new.pop("status", None)
        new["kind"], new["apiVersion"] = kind.kind, kind.api_version
        return new


def check_name(kind: Kind, obj: Obj, namespace: str, name: str) -> None:
    """APIError 400 unless an object that is sent says that it is what the URL says, or says nothing of its place."""
    metadata = obj.get("metadata") or {}
    if kind.namespaced and metadata.get("namespace") and metadata["namespace"] != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if not metadata.get("name"):
        raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if metadata["name"] != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")


def _changed(metadata: Obj, was: Obj) -> Iterator[FieldError]:
    """What may not change of an object's metadata; other things of the server's are put back without a word."""
    for name in ("uid", "deletionTimestamp", "deletionGracePeriodSeconds"):
        value = metadata.get(name)
        # The time of a deletion that has begun is put back.
        if value not in (None, "", was.get(name)) and not (name == "deletionTimestamp" and name in was):
            yield FieldError(Cause.INVALID, f"metadata.{name}", "field is immutable", value)


_PREFIXES = {
    "endpoints": "services/endpoints",
    "ingresses": "ingress",
    "nodes": "minions",
    "replicationcontrollers": "controllers",
    "services": "services/specs",
}


def _another(kind: Kind, uid: str, was: Obj) -> str:
    """What kube-apiserver's storage says of an update of an object that is another by now."""
    prefix = f"{kind.group}/{kind.plural}" if isinstance(kind, CustomKind) else _PREFIXES.get(kind.plural, kind.plural)
    key = "/".join(("/registry", prefix, *([was["namespace"]] if kind.namespaced else ()), was["name"]))
    return (
        f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
        f"Precondition failed: UID in precondition: {uid}, UID in object meta: {was['uid']}"
    )


def begin_status(kind: Kind, obj: Obj, allowed: bool) -> None:
    """The status of a new object: the client's, if it is allowed one; Kubernetes' own always have one, if empty."""
    if not allowed:
        obj.pop("status", None)
    if type(kind) is not CustomKind:
        complete(obj.setdefault("status", {}))
    elif "status" in obj:
        complete(obj["status"])


def complete(status: Obj) -> None:
    """Conditions have a type and a status, if empty ones, as in Kubernetes: readers need not ask."""
    for condition in status.get("conditions") or ():
        condition.setdefault("type", "")
        condition.setdefault("status", "")


def applied_name(change: Configuration, namespace: str, name: str) -> tuple[Obj, list[Entry]]:
    """The object and owners that a configuration makes of nothing. APIError 400 unless it is called so."""
    applied = change.apply({}, [])
    applied.object.setdefault("metadata", {})
    check_name(change.kind, applied.object, namespace, name)
    return applied.object, applied.entries


def desired(obj: Obj) -> Obj:
    """What an object asks for: everything but metadata and status."""
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}
