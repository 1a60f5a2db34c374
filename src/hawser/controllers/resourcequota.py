"""ResourceQuotas' status: what is bounded and how much of it is used.

The API server refuses what is too much by its own count; this is what people and autoscalers read. Source: Kubernetes
documentation, "Resource Quotas", viewing and setting quotas.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from hawser.api.errors import APIError, ignoring, service_unavailable
from hawser.api.extended_resources import resource_of
from hawser.api.kinds import DEVICE_CLASS, POD, RESOURCE_CLAIM, RESOURCE_QUOTA, Kind, watched
from hawser.api.quantity import Quantity
from hawser.api.quota.names import bounds_extended, concerning, counted
from hawser.api.quota.scopes import matches, selectors
from hawser.api.quota.usage import ALONE, ZERO, Around, Usage, add, changes_by_itself, is_measured, usage
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.client.discovery import discover
from hawser.client.informer import Handler, Informer, key_of

_LOOK_AGAIN = 300.0
# Custom resources come and go with their definitions: they are listed when they are counted, and now and then.
_LOOK_AT_CUSTOM = 5.0


def status(quota: Obj, used: Usage) -> Obj | None:
    """The status of a quota as it should be; None when it is."""
    hard = quota["spec"].get("hard") or {}
    wanted: Obj = {"hard": hard, "used": {name: str(used.get(name, ZERO)) for name in hard}}
    was = quota.get("status") or {}
    return None if (was.get("hard") or {}, was.get("used") or {}) == (wanted["hard"], wanted["used"]) else wanted


def total(quota: Obj, kind: Kind, objects: Iterable[Obj], now: datetime, around: Around = ALONE) -> Usage:
    """What objects of a kind count for in a quota. around: see ``usage``."""
    names = concerning(kind, quota["spec"].get("hard") or {})
    scopes = selectors(quota)
    used: Usage = {}
    for obj in objects:
        if matches(kind, scopes, obj):
            found = usage(kind, obj, now, around)
            used = add(used, {name: found[name] for name in names if name in found})
    return used


def counts_differently(kind: Kind, old: Obj, new: Obj) -> bool:
    """Whether a change of an object may have changed what it counts for."""
    if not is_measured(kind):
        return False
    before, after = old.get("status") or {}, new.get("status") or {}
    if any(before.get(name) != after.get(name) for name in ("phase", "allocatedResources")):
        return True
    if _given(before) != _given(after):
        return True
    deleted = old["metadata"].get("deletionTimestamp") != new["metadata"].get("deletionTimestamp")
    return deleted or old.get("spec") != new.get("spec")


def _given(status: Obj) -> list[tuple[object, object]]:
    """What a node has given to the containers of a pod."""
    listed = status.get("containerStatuses") or ()
    return [(one.get("resources"), one.get("allocatedResources")) for one in listed]


class ResourceQuotaController(Controller):
    """See the module."""

    name = "resourcequota-controller"
    workers = 5

    def setup(self, manager: Manager) -> None:
        self._manager = manager
        self._client = manager.client
        self._quotas = manager.informer(RESOURCE_QUOTA)
        self._quotas.on_change(self.enqueue)
        self._kinds = [kind for kind in watched() if counted(kind) and kind.form_of is None]
        self._counted: dict[Kind, Informer] = {}

    def _on_change_of(self, kind: Kind) -> Handler:
        """Queues the quotas that count a kind when one of it comes, goes or counts for something else."""

        def handler(old: Obj | None, new: Obj | None) -> None:
            if old is not None and new is not None and not counts_differently(kind, old, new):
                return
            obj = new if new is not None else old
            if obj is None:
                return
            for quota in self._quotas.list(obj["metadata"].get("namespace") or ""):
                if concerning(kind, quota["spec"].get("hard") or {}):
                    self.queue.add(key_of(quota))

        return handler

    async def _objects(self, kind: Kind, namespace: str) -> list[Obj]:
        """The objects of a kind; from the first time on they are watched."""
        informer = self._counted.get(kind)
        if informer is None:
            informer = self._manager.informer(kind, metadata_only=not is_measured(kind))
            self._counted[kind] = informer
            await informer.synced()
            informer.on_change(self._on_change_of(kind))
        await informer.synced()
        return informer.list(namespace)

    async def _around(self) -> Around:
        """What ResourceClaims count for depends on their classes, and on the pods they were made for."""
        classes, pods = self._manager.informer(DEVICE_CLASS), self._manager.informer(POD)
        await classes.synced()
        await pods.synced()
        claims = self._counted[RESOURCE_CLAIM]
        return Around(lambda name: resource_of(classes.get(None, name) or {}), pods.get, claims.list)

    async def reconcile(self, key: str) -> float | None:
        quota = self._quotas.get_key(key)
        if quota is None:
            return None
        namespace = quota["metadata"]["namespace"]
        hard: Obj = quota["spec"].get("hard") or {}
        now = self._manager.clock.now()
        used: Usage = {}
        moving = False
        for kind in self._kinds:
            if concerning(kind, hard):
                objects = await self._objects(kind, namespace)
                around = ALONE
                if objects and kind is RESOURCE_CLAIM and any(map(bounds_extended, hard)):
                    around, moving = await self._around(), True
                used = add(used, total(quota, kind, objects, now, around))
                moving = moving or any(changes_by_itself(kind, obj) for obj in objects)
        custom = {name for name in hard if name.startswith("count/")} - used.keys()
        custom -= {name for kind in self._kinds for name in concerning(kind, custom)}
        unknown: APIError | None = None
        if custom:
            try:
                used = add(used, await self._custom(quota, custom, namespace))
            except APIError as error:
                unknown = error
        await self._write(quota, used, custom if unknown is not None else ())
        if unknown is not None:
            raise unknown
        return _LOOK_AT_CUSTOM if custom or moving else _LOOK_AGAIN

    async def _custom(self, quota: Obj, names: set[str], namespace: str) -> Usage:
        """What custom resources count for. Raises APIError, also when a server does not say now whether it has them."""
        used: Usage = {}
        found = await discover(self._client)
        for one in found.stale:
            group = one.partition("/")[0]
            if any(name.partition(".")[2] == group for name in names):
                raise service_unavailable(f"stale GroupVersion discovery: {one}")
        for kind in found.kinds:
            if counted(kind) and concerning(kind, names):
                try:
                    listed = await self._client.list(kind, namespace, metadata_only=True)
                except APIError as error:
                    if error.code != 404:
                        raise
                    continue
                used = add(used, total(quota, kind, listed.items, self._manager.clock.now()))
        return used

    async def _write(self, quota: Obj, used: Usage, unknown: Collection[str]) -> None:
        """unknown: names for which objects could not be counted: what was found before stays."""
        before = (quota.get("status") or {}).get("used") or {}
        if not before.keys() >= set(unknown):
            # Nothing would be taken for none.
            return
        wanted = status(quota, {**used, **{name: Quantity.parse(before[name]) for name in unknown}})
        if wanted is None:
            return
        changed = {**quota, "status": wanted}
        with ignoring(404):
            self._quotas.observe(await self._client.update(RESOURCE_QUOTA, changed, subresource="status"))
