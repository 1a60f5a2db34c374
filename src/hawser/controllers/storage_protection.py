"""Claims, volumes and attributes classes stay as long as somebody uses them.

The finalizer is put on by the API server's StorageObjectInUseProtection and taken off here. Source: Kubernetes
documentation, "Persistent Volumes", storage object in use protection; "Volume Attributes Classes".
"""

from __future__ import annotations

from collections.abc import Iterable

from hawser.api.errors import ignoring
from hawser.api.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, VOLUME_ATTRIBUTES_CLASS, Kind
from hawser.api.pod_claims import claim_names
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.client.informer import Informer


def claims_in_use(pod: Obj) -> list[str]:
    """The names of the claims that a pod uses; one that no node runs yet cannot be started with a dying claim."""
    if not pod["spec"].get("nodeName"):
        return []
    over = is_shut_down(pod)
    volumes = (volume for volume in pod["spec"].get("volumes") or () if not (over and "ephemeral" in volume))
    return claim_names(pod["metadata"]["name"], volumes)


def is_shut_down(pod: Obj) -> bool:
    """Whether nothing of a pod is left but its object, which finalizers may hold that wait for its claims to go."""
    metadata = pod["metadata"]
    return bool(metadata.get("deletionTimestamp")) and metadata.get("deletionGracePeriodSeconds") == 0


def classes_of(obj: Obj) -> set[str]:
    """The VolumeAttributesClasses that a claim or volume has, or is on its way to."""
    status = obj.get("status") or {}
    named = (
        obj["spec"].get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return {name for name in named if name}


class _Protection(Controller):
    """What all three have in common."""

    kind: Kind
    finalizer: str

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._objects = manager.informer(self.kind)
        self._objects.on_change(self.enqueue)

    async def used(self, obj: Obj) -> bool:
        """Whether somebody needs an object that is to be deleted."""
        raise NotImplementedError

    async def reconcile(self, key: str) -> float | None:
        obj = self._objects.get_key(key)
        if obj is None:
            return None
        finalizers = obj["metadata"].get("finalizers") or []
        if obj["metadata"].get("deletionTimestamp"):
            if self.finalizer in finalizers and not await self.used(obj):
                await self._write(obj, [one for one in finalizers if one != self.finalizer])
        elif self.finalizer not in finalizers:
            await self._write(obj, [*finalizers, self.finalizer])
        return None

    async def _write(self, obj: Obj, finalizers: list[str]) -> None:
        changed = {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}}
        with ignoring(404):
            self._objects.observe(await self._client.update(self.kind, changed))

    def _requeue(self, namespace: str, names: Iterable[str]) -> None:
        """Look at those of the named ones again that are to be deleted."""
        for name in names:
            obj = self._objects.get(namespace, name)
            if obj is not None and obj["metadata"].get("deletionTimestamp"):
                self.enqueue(None, obj)


class ClaimProtection(_Protection):
    """A claim is in use while there is a pod on a node that names it."""

    name = "persistentvolumeclaim-protection-controller"
    kind = PERSISTENT_VOLUME_CLAIM
    finalizer = "kubernetes.io/pvc-protection"

    def setup(self, manager: Manager) -> None:
        super().setup(manager)
        self._pods: Informer = manager.informer(POD)
        self._pods.on_change(self._on_pod)

    def _on_pod(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and (new is None or has_ended(new) or is_shut_down(new)):
            self._requeue(old["metadata"]["namespace"], claims_in_use(old))

    async def used(self, obj: Obj) -> bool:
        metadata = obj["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        if any(name in claims_in_use(pod) for pod in self._pods.list(namespace)):
            return True
        # A pod may have been bound that the watch has not told of yet.
        listed = await self._client.list(POD, namespace)
        return any(name in claims_in_use(pod) for pod in listed.items)


class VolumeProtection(_Protection):
    """A volume is in use while it is bound."""

    name = "persistentvolume-protection-controller"
    kind = PERSISTENT_VOLUME
    finalizer = "kubernetes.io/pv-protection"

    async def used(self, obj: Obj) -> bool:
        return (obj.get("status") or {}).get("phase") == "Bound"


class AttributesClassProtection(_Protection):
    """A VolumeAttributesClass is in use while a claim or volume has it."""

    name = "volumeattributesclass-protection-controller"
    kind = VOLUME_ATTRIBUTES_CLASS
    finalizer = "kubernetes.io/vac-protection"

    def setup(self, manager: Manager) -> None:
        super().setup(manager)
        self._users = [manager.informer(kind) for kind in (PERSISTENT_VOLUME_CLAIM, PERSISTENT_VOLUME)]
        for informer in self._users:
            informer.on_change(self._on_user)

    def _on_user(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None:
            self._requeue("", classes_of(old) - (classes_of(new) if new is not None else set()))

    async def used(self, obj: Obj) -> bool:
        name = obj["metadata"]["name"]
        if any(name in classes_of(user) for informer in self._users for user in informer.list()):
            return True
        for informer in self._users:
            listed = await self._client.list(informer.kind)
            if any(name in classes_of(user) for user in listed.items):
                return True
        return False
