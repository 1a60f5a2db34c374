"""The volumes of pods that are placed: promised at once, written to the API, and waited for before the pod is bound.

Source: Kubernetes documentation, "Storage Classes", volume binding mode WaitForFirstConsumer; the annotation
``volume.kubernetes.io/selected-node`` asks provisioners for a volume that the node can reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from hawser.api.kinds import (
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    STORAGE_CLASS,
    VOLUME_ATTACHMENT,
)
from hawser.api.storage import BOUND_BY_CONTROLLER, SELECTED_NODE, notes
from hawser.api.types import Obj
from hawser.client.controller import Manager
from hawser.client.informer import Informer
from hawser.scheduler import volumes
from hawser.scheduler.cache import Cache
from hawser.scheduler.hints import VOLUMES, Concerns, refused_by
from hawser.scheduler.preparing import CANCELED, CalledOffError, Preparation, Preparations, Unbound
from hawser.scheduler.promises import Promises
from hawser.scheduler.volumes import Binding, Stock

_KINDS = (
    PERSISTENT_VOLUME_CLAIM,
    PERSISTENT_VOLUME,
    STORAGE_CLASS,
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    VOLUME_ATTACHMENT,
)


class ByKey(Mapping[str, Obj]):
    """An informer's objects by key."""

    def __init__(self, informer: Informer) -> None:
        self._informer = informer

    def __getitem__(self, key: str) -> Obj:
        obj = self._informer.get_key(key)
        if obj is None:
            raise KeyError(key)
        return obj

    def __iter__(self) -> Iterator[str]:
        namespaced = self._informer.kind.namespaced
        for obj in self._informer.list():
            yield volumes.key(obj) if namespaced else obj["metadata"]["name"]

    def __len__(self) -> int:
        return len(self._informer)


class VolumeBinder:
    """Watches storage from the first pod on that has a claim; until then it costs nothing.

    wake: called with whom a change may help. preparations: what is told of every change.
    """

    def __init__(
        self, manager: Manager, cache: Cache, wake: Callable[[Concerns], None], preparations: Preparations
    ) -> None:
        self._manager = manager
        self._client = manager.client
        self._cache = cache
        self._wake = wake
        self._promises: Promises | None = None
        self._informers: list[Informer] = []
        self._preparations = preparations

    @property
    def promises(self) -> Promises | None:
        """What may be decided on; None as long as it is not known what there is of storage."""
        return self._promises

    async def start(self) -> None:
        """Begins to watch storage, and returns when all of it is known."""
        if not self._informers:
            self._informers = [self._manager.informer(kind) for kind in _KINDS]
        for informer in self._informers:
            await informer.synced()
        if self._promises is None:
            claims, every, classes, drivers, nodes, capacities, attachments = self._informers
            attachments.add_index("node", lambda attachment: (attachment["spec"]["nodeName"],))
            by_key = ByKey(claims), ByKey(every), ByKey(classes), ByKey(drivers), ByKey(nodes)
            stock = Stock(*by_key, _List(capacities), partial(attachments.by_index, "node"))
            self._promises = Promises(stock, self._cache)
            for informer in self._informers:
                informer.on_change(self._on_change)

    async def bind(self, binding: Binding, node: str, preparation: Preparation, seconds: float) -> None:
        """Writes what was promised and waits until the claims are bound. Raises Unbound, APIError."""
        try:
            await self._write(binding, node, preparation)
            await preparation.until(lambda: self._all_bound(binding, node), seconds)
        except CalledOffError:
            raise CalledOffError(f"binding volumes: {CANCELED}") from None
        except TimeoutError:
            raise Unbound("binding volumes: context deadline exceeded") from None

    async def _write(self, binding: Binding, node: str, preparation: Preparation) -> None:
        for claim, volume in binding.static:
            preparation.go_on()
            await self._claim(claim, volume)
        for claim in binding.dynamic:
            preparation.go_on()
            body = {
                "metadata": {"uid": claim["metadata"]["uid"], "annotations": {SELECTED_NODE: node}},
            }
            name, namespace = claim["metadata"]["name"], claim["metadata"]["namespace"]
            if notes(claim).get(SELECTED_NODE) != node:
                changed = await self._client.patch(PERSISTENT_VOLUME_CLAIM, name, namespace, body)
                self._informers[0].observe(changed)

    async def _claim(self, claim: Obj, volume: Obj) -> None:
        """Reserves the volume for the claim; the PV controller completes it."""
        metadata = claim["metadata"]
        body = {
            "metadata": {
                "resourceVersion": volume["metadata"]["resourceVersion"],
                "annotations": {BOUND_BY_CONTROLLER: "yes"},
            },
            "spec": {
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "name": metadata["name"],
                    "namespace": metadata["namespace"],
                    "uid": metadata["uid"],
                    "resourceVersion": metadata["resourceVersion"],
                }
            },
        }
        reference = volume["spec"].get("claimRef") or {}
        if reference.get("uid") == metadata["uid"]:
            return
        if reference:
            # Whoever made it for this claim binds it: the controller is not to free it afterwards.
            del body["metadata"]["annotations"]
        changed = await self._client.patch(PERSISTENT_VOLUME, volume["metadata"]["name"], None, body)
        self._informers[1].observe(changed)

    def _all_bound(self, binding: Binding, node: str) -> bool:
        assert self._promises is not None
        stock = self._promises.stock
        done = True
        for claim in (*(c for c, _ in binding.static), *binding.dynamic):
            now = stock.claims.get(volumes.key(claim))
            if now is None or now["metadata"]["uid"] != claim["metadata"]["uid"]:
                raise Unbound(f'binding volumes: persistentvolumeclaim "{claim["metadata"]["name"]}" not found')
            if volumes.is_bound(now):
                continue
            done = False
            selected = notes(now).get(SELECTED_NODE)
            if claim in binding.dynamic and selected != node:
                # The provisioner gives the node up: another may be tried.
                raise Unbound(f'binding volumes: provisioning failed for PVC "{claim["metadata"]["name"]}"')
        return done

    def _on_change(self, old: Obj | None, new: Obj | None) -> None:
        self._preparations.stir()
        self._wake(refused_by(*VOLUMES))


class _List:
    """An informer's objects, as they are whenever they are walked."""

    def __init__(self, informer: Informer) -> None:
        self._informer = informer

    def __iter__(self) -> Iterator[Obj]:
        return iter(self._informer.list())
