"""The garbage collector: dependents go with their owners; the decisions are in ``ownership``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from hawser.api.errors import APIError
from hawser.api.kinds import CUSTOM_RESOURCE_DEFINITION, EVENT, Kind, watched
from hawser.api.kinds import of as kind_of
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.client.discovery import Discovered, discover
from hawser.client.informer import Handler, Informer, key_of
from hawser.controllers import ownership
from hawser.controllers.ownership import Owner
from hawser.series import Counters

_AT_ONCE = 32
_REMEMBERED = 4096
_STRATEGIC = "application/strategic-merge-patch+json"
_LOOK_AGAIN = 60.0


class GarbageCollector(Controller):
    """Keys are ``INDEX|namespace/name``, INDEX the kind's place among those seen so far.

    Custom resources are followed from when they are discovered until nobody serves them; gone they are only with their
    definition.
    """

    name = "garbage-collector-controller"
    workers = 10

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._recorder = manager.recorder("garbage-collector-controller")
        self._kinds = [kind for kind in watched() if kind is not EVENT]
        self._informers: dict[Kind, Informer] = {}
        # Owners known not to exist, the oldest knowledge first; a uid never comes back.
        self._absent: dict[tuple[Kind, str, str, str], None] = {}
        self._custom: dict[tuple[str, str], Kind] = {}
        # Names of the definitions that there have been; what has none is another server's.
        self._defined: set[str] = set()
        self._definitions_changed = asyncio.Event()
        text = "Number of garbage collector resources sync errors"
        self._errors = Counters("garbagecollector_controller_resources_sync_error_total", text)
        for number, kind in enumerate(self._kinds):
            self._follow(number, kind, manager.informer(kind, metadata_only=True))
        self._informers[CUSTOM_RESOURCE_DEFINITION].on_change(self._definition_changed)

    def _follow(self, number: int, kind: Kind, informer: Informer) -> None:
        informer.add_index("owners", _owner_uids)
        informer.add_index("uid", _uid)
        informer.on_change(self._handler(number, kind))
        self._informers[kind] = informer

    def _definition_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None:
            self._defined.add(new["metadata"]["name"])
        self._definitions_changed.set()

    async def run(self) -> None:
        """Follow custom resources as they come and go."""
        running: dict[Kind, asyncio.Task[None]] = {}
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._definitions_changed.clear()
                    discovered = await self._discovered()
                    found = {kind for kind in discovered.kinds if "watch" in kind.verbs}
                    for kind in running.keys() - found:
                        # Whose server does not say now what it has may have it still.
                        if kind.api_version not in discovered.stale:
                            gone = await self._is_gone(kind)
                            running.pop(kind).cancel()
                            self._drop(kind, gone)
                    for kind in found - running.keys():
                        running[kind] = tasks.create_task(self._follow_custom(kind))
                    # Of several versions of a kind the one that is preferred now comes last.
                    for kind in sorted(running, key=found.__contains__):
                        self._custom[kind.group, kind.kind] = kind
                    try:
                        async with asyncio.timeout(_LOOK_AGAIN):
                            await self._definitions_changed.wait()
                    except TimeoutError:
                        pass
        finally:
            for kind in running:
                self._informers.pop(kind, None)

    async def _discovered(self) -> Discovered:
        try:
            return await discover(self._client)
        except APIError:
            self._errors.add()
            raise

    def exposed(self) -> Iterable[str]:
        return self._errors.lines()

    async def _follow_custom(self, kind: Kind) -> None:
        if kind not in self._kinds:
            self._kinds.append(kind)
        informer = Informer(self._client, kind, metadata_only=True)
        self._follow(self._kinds.index(kind), kind, informer)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(informer.run())
            await informer.synced()
            # Until now their owners were of a kind that nothing was known of.
            for number, _, other in self._followed():
                for obj in other.list():
                    if any(self._kind_of(r) == kind for r in obj["metadata"].get("ownerReferences") or ()):
                        self.queue.add(f"{number}|{key_of(obj)}")

    async def _is_gone(self, kind: Kind) -> bool:
        """Whether nobody serves a kind because its definition is gone, or about to be. Raises APIError."""
        name = f"{kind.plural}.{kind.group}"
        if name not in self._defined:
            return False
        try:
            definition = await self._client.get(CUSTOM_RESOURCE_DEFINITION, name)
        except APIError as e:
            if e.code != 404:
                raise
            return True
        return "deletionTimestamp" in definition["metadata"]

    def _drop(self, kind: Kind, gone: bool) -> None:
        """Nobody serves a kind any more. gone: nor are there objects of it; else another server may have them still,
        or the definition has another version: nothing is known of them any more."""
        informer = self._informers.pop(kind, None)
        if not gone:
            if self._custom.get((kind.group, kind.kind)) == kind:
                del self._custom[kind.group, kind.kind]
        elif informer is not None:
            tell = self._handler(self._kinds.index(kind), kind)
            for obj in informer.list():
                tell(obj, None)

    def _followed(self) -> Iterator[tuple[int, Kind, Informer]]:
        for number, kind in enumerate(self._kinds):
            if kind in self._informers:
                yield number, kind, self._informers[kind]

    def _kind_of(self, reference: Obj) -> Kind | None:
        found = kind_of(reference["apiVersion"], reference["kind"])
        group = reference["apiVersion"].rpartition("/")[0]
        return found or self._custom.get((group, reference["kind"]))

    def _handler(self, number: int, kind: Kind) -> Handler:
        def handler(old: Obj | None, new: Obj | None) -> None:
            if new is None:
                if old is not None:
                    gone = old["metadata"]
                    self._note_absent((kind, gone.get("namespace") or "", gone["name"], gone["uid"]))
                    self._enqueue_relatives(old)
                return
            metadata = new["metadata"]
            deleting = metadata.get("deletionTimestamp") and metadata.get("finalizers")
            before = old["metadata"] if old is not None else {}
            changed = before.get("ownerReferences") != metadata.get("ownerReferences")
            if deleting or (metadata.get("ownerReferences") and changed):
                self.queue.add(f"{number}|{key_of(new)}")
            if old is not None and changed:
                self._enqueue_waiting(ownership.released(old, new))

        return handler

    def _note_absent(self, owner: tuple[Kind, str, str, str]) -> None:
        if len(self._absent) >= _REMEMBERED:
            del self._absent[next(iter(self._absent))]
        self._absent[owner] = None

    def _enqueue_waiting(self, uids: Iterable[str]) -> None:
        """Owners under deletion that may have waited for what changed."""
        for uid in uids:
            for number, _, informer in self._followed():
                for owner in informer.by_index("uid", uid):
                    if owner["metadata"].get("deletionTimestamp"):
                        self.queue.add(f"{number}|{key_of(owner)}")

    def _enqueue_relatives(self, gone: Obj) -> None:
        """An object is gone: its dependents may go, and owners that waited for it."""
        uid = gone["metadata"]["uid"]
        for number, _, informer in self._followed():
            for dependent in informer.by_index("owners", uid):
                self.queue.add(f"{number}|{key_of(dependent)}")
        self._enqueue_waiting(_owner_uids(gone))

    async def reconcile(self, key: str) -> float | None:
        number, _, name = key.partition("|")
        kind = self._kinds[int(number)]
        informer = self._informers.get(kind)
        obj = informer.get_key(name) if informer is not None else None
        if obj is None:
            return None
        deleting = obj["metadata"].get("deletionTimestamp")
        references = obj["metadata"].get("ownerReferences") or ()
        owners = [] if deleting else [await self._state(obj, r) for r in references]
        # Every new pod comes here: its dependents are looked for only when they matter.
        matter = deleting or Owner.WAITING in owners
        dependents = self._dependents(obj["metadata"]["uid"]) if matter else []
        todo = ownership.plan(obj, owners, [d for _, d in dependents])
        try:
            await self._apply(kind, obj, todo, dependents)
        except APIError as e:
            if e.code == 404:
                return None
            raise
        return None

    def _dependents(self, uid: str) -> list[tuple[Kind, Obj]]:
        return [(kind, d) for kind, informer in self._informers.items() for d in informer.by_index("owners", uid)]

    def _tell_elsewhere(self, obj: Obj, reference: Obj) -> None:
        """Says that an object names an owner that cannot be its own, for where it is."""
        namespace = obj["metadata"].get("namespace") or ""
        kind, name, uid = f"{reference['apiVersion']}/{reference['kind']}", reference["name"], reference["uid"]
        text = f"ownerRef [{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in namespace"
        self._recorder.event(obj, "Warning", "OwnerRefInvalidNamespace", f'{text} "{namespace}"')

    async def _state(self, obj: Obj, reference: Obj) -> Owner:
        """What a reference points to: from the caches, and before it is called absent, from the server."""
        kind = self._kind_of(reference)
        if kind is None:
            # A kind this server does not have: what cannot be looked up is never taken for gone.
            return Owner.SOLID
        namespace = obj["metadata"].get("namespace")
        if kind.namespaced and not namespace:
            self._tell_elsewhere(obj, reference)
            return Owner.SOLID
        where = namespace if kind.namespaced else None
        informer = self._informers.get(kind)
        owner = informer.get(where, reference["name"]) if informer is not None else None
        if owner is None or owner["metadata"]["uid"] != reference["uid"]:
            coordinates = (kind, where or "", reference["name"], reference["uid"])
            if coordinates in self._absent:
                return Owner.ABSENT
            if informer is not None and any(
                one["metadata"]["uid"] == reference["uid"] for one in informer.named(reference["name"])
            ):
                self._tell_elsewhere(obj, reference)
            try:
                owner = await self._client.get(kind, reference["name"], where)
            except APIError as e:
                if e.code != 404:
                    raise
                owner = None
            if owner is None or owner["metadata"]["uid"] != reference["uid"]:
                self._note_absent(coordinates)
                return Owner.ABSENT
        return Owner.WAITING if ownership.is_waiting(owner) else Owner.SOLID

    async def _apply(
        self, kind: Kind, obj: Obj, todo: ownership.Action | None, dependents: list[tuple[Kind, Obj]]
    ) -> None:
        metadata = obj["metadata"]
        match todo:
            case None:
                return
            case ownership.Delete(unblock=True):
                # Comes back as a change of this object, which no longer holds up the circle.
                await self._unblock_owners(kind, obj)
            case ownership.Delete(propagation):
                await self._client.delete(
                    kind,
                    metadata["name"],
                    metadata.get("namespace"),
                    propagation=propagation,
                    uid=metadata["uid"],
                    resource_version=metadata["resourceVersion"],
                )
            case ownership.DropReferences(uids):
                await self._drop_references(kind, obj, uids)
            case ownership.DropFinalizer(finalizer):
                await self._drop_finalizer(kind, obj, finalizer)
            case ownership.ReleaseDependents():
                for start in range(0, len(dependents), _AT_ONCE):
                    some = dependents[start : start + _AT_ONCE]
                    await asyncio.gather(*(self._drop_references(k, d, (metadata["uid"],)) for k, d in some))
                await self._drop_finalizer(kind, obj, ownership.ORPHAN)
            case ownership.DeleteDependents():
                for dependent_kind, dependent in dependents:
                    self.queue.add(f"{self._kinds.index(dependent_kind)}|{key_of(dependent)}")

    async def _drop_references(self, kind: Kind, obj: Obj, uids: tuple[str, ...]) -> None:
        metadata = obj["metadata"]
        body = {
            "metadata": {
                "uid": metadata["uid"],
                "ownerReferences": [{"$patch": "delete", "uid": uid} for uid in uids],
            }
        }
        try:
            changed = await self._patch_references(kind, obj, body)
        except APIError as e:
            if e.code not in (404, 409):
                raise
            return  # gone, or another one of that name
        self._informers[kind].observe(changed)

    async def _unblock_owners(self, kind: Kind, obj: Obj) -> None:
        metadata = obj["metadata"]
        references = [{"uid": r["uid"], "blockOwnerDeletion": False} for r in metadata["ownerReferences"]]
        body = {"metadata": {"uid": metadata["uid"], "ownerReferences": references}}
        changed = await self._patch_references(kind, obj, body)
        self._informers[kind].observe(changed)

    async def _patch_references(self, kind: Kind, obj: Obj, body: Obj) -> Obj:
        """Patch owner references by uid; custom resources take no such patch and are given the whole list."""
        metadata = obj["metadata"]
        where = metadata["name"], metadata.get("namespace")
        if kind not in self._custom.values():
            return await self._client.patch(kind, *where, body, type=_STRATEGIC)
        changes = {r["uid"]: r for r in body["metadata"]["ownerReferences"]}
        references = [
            {**r, **changes.get(r["uid"], {})}
            for r in metadata.get("ownerReferences") or ()
            if "$patch" not in changes.get(r["uid"], {})
        ]
        version = metadata["resourceVersion"]
        whole = {"metadata": {"uid": metadata["uid"], "resourceVersion": version, "ownerReferences": references}}
        return await self._client.patch(kind, *where, whole)

    async def _drop_finalizer(self, kind: Kind, obj: Obj, finalizer: str) -> None:
        """Removes one finalizer from the object as it is now."""
        metadata = obj["metadata"]
        current = await self._client.get(kind, metadata["name"], metadata.get("namespace"))
        finalizers = current["metadata"].get("finalizers") or []
        if current["metadata"]["uid"] != metadata["uid"] or finalizer not in finalizers:
            return
        body = {
            "metadata": {
                "resourceVersion": current["metadata"]["resourceVersion"],
                "finalizers": [f for f in finalizers if f != finalizer],
            }
        }
        await self._client.patch(kind, metadata["name"], metadata.get("namespace"), body)


def _owner_uids(obj: Obj) -> list[str]:
    return [r["uid"] for r in obj["metadata"].get("ownerReferences") or ()]


def _uid(obj: Obj) -> list[str]:
    return [obj["metadata"]["uid"]]
