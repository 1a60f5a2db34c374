"""Volumes of a storage class that are folders of the engine's own machine.

An external provisioner, as Kubernetes calls those outside the controller manager: a claim that is to have a volume of
ours gets a folder below the root and a PersistentVolume of it, on the node that the scheduler has chosen for its first
pod; when the claim is gone, folder and volume go, if the class says Delete. Sizes are not limited.
Source: "Dynamic Volume Provisioning"; the words of events are those of Kubernetes' sidecars for provisioning and
resizing.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hawser.api import storage
from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.client.informer import key_of

log = logging.getLogger(__name__)

PROVISIONER = "hawser.dev/local"
_CLAIM, _VOLUME = "claim/", "volume/"
_HOSTNAME = "kubernetes.io/hostname"
_MODE = 0o777
"""Pods of any user write into their volumes; the root above is closed to everybody else."""


def volume_for(claim: Obj, storage_class: Obj, folder: Path, host: str) -> Obj:
    """The PersistentVolume of a claim that is made of a folder. Pure.

    host: the hostname label of the node that it is tied to, as a volume of type local; without one it is a hostPath,
    because local needs a node.
    """
    metadata = claim["metadata"]
    spec: Obj = {
        "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
        "accessModes": claim["spec"]["accessModes"],
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
        "storageClassName": storage_class["metadata"]["name"],
        "volumeMode": storage.mode(claim),
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }
    if host:
        term = {"matchExpressions": [{"key": _HOSTNAME, "operator": "In", "values": [host]}]}
        spec["local"] = {"path": str(folder)}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [term]}}
    else:
        spec["hostPath"] = {"path": str(folder), "type": "DirectoryOrCreate"}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": folder.name, "annotations": {storage.PROVISIONED_BY: PROVISIONER}},
        "spec": spec,
    }


def problem(claim: Obj) -> str:
    """What of a claim cannot be had; "" for nothing. Pure."""
    if storage.mode(claim) != "Filesystem":
        return "this provisioner makes file systems only, no block volumes"
    if claim["spec"].get("dataSource") or claim["spec"].get("dataSourceRef"):
        return "this provisioner makes empty volumes only: spec.dataSource is not supported"
    if claim["spec"].get("selector"):
        return "claim.spec.selector is not supported"
    return ""


class LocalProvisioner(Controller):
    """See the module."""

    name = "local-volume-provisioner"
    workers = 2

    def configure(self, options: Mapping[str, Any]) -> None:
        """local_volume_root: the folder for volumes; None makes none."""
        self._root: Path | None = options.get("local_volume_root")

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._recorder = manager.recorder(PROVISIONER)
        self._claims = manager.informer(PERSISTENT_VOLUME_CLAIM)
        self._volumes = manager.informer(PERSISTENT_VOLUME)
        self._classes = manager.informer(STORAGE_CLASS)
        self._claims.on_change(self._on_claim)
        self._volumes.on_change(self._on_volume)

    def _on_claim(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and storage.notes(new).get(storage.STORAGE_PROVISIONER) == PROVISIONER:
            self.queue.add(_CLAIM + key_of(new))

    def _on_volume(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and storage.notes(new).get(storage.PROVISIONED_BY) == PROVISIONER:
            self.queue.add(_VOLUME + new["metadata"]["name"])

    async def reconcile(self, key: str) -> float | None:
        if self._root is None:
            return None
        if key.startswith(_VOLUME):
            volume = self._volumes.get_key(key.removeprefix(_VOLUME))
            if volume is not None and _is_to_go(volume):
                await self._delete(volume)
            return None
        claim = self._claims.get_key(key.removeprefix(_CLAIM))
        if claim is None or claim["metadata"].get("deletionTimestamp"):
            return None
        if not claim["spec"].get("volumeName"):
            await self._provision(claim, self._root)
        elif storage.phase(claim) == "Bound":
            await self._expand(claim)
        return None

    async def _provision(self, claim: Obj, root: Path) -> None:
        storage_class = self._classes.get("", storage.class_of(claim))
        name = f"pvc-{claim['metadata']['uid']}"
        if storage_class is None or storage_class["provisioner"] != PROVISIONER or self._volumes.get("", name):
            return
        if storage.is_delayed(storage_class) and storage.SELECTED_NODE not in storage.notes(claim):
            return
        if wrong := problem(claim):
            text = f'failed to provision volume with StorageClass "{storage_class["metadata"]["name"]}": {wrong}'
            self._recorder.event(claim, "Warning", "ProvisioningFailed", text)
            return
        where = f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"
        text = f'External provisioner is provisioning volume for claim "{where}"'
        self._recorder.event(claim, "Normal", "Provisioning", text)
        folder = root / name
        try:
            host = await self._host(claim)
            await asyncio.to_thread(_make, folder)
            made = await self._client.create(PERSISTENT_VOLUME, volume_for(claim, storage_class, folder, host))
            self._volumes.observe(made)
        except OSError as error:
            text = f'failed to provision volume with StorageClass "{storage_class["metadata"]["name"]}": {error}'
            self._recorder.event(claim, "Warning", "ProvisioningFailed", text)
            raise
        except APIError as error:
            if error.reason != "AlreadyExists":
                raise
            return
        self._recorder.event(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}")

    async def _host(self, claim: Obj) -> str:
        """The hostname of the chosen node. When that is gone, the scheduler is asked to choose again, and APIError."""
        name = storage.notes(claim).get(storage.SELECTED_NODE)
        if not name:
            return ""
        try:
            node = await self._client.get(NODE, name)
        except APIError as error:
            if error.code == 404:
                released = storage.without_annotation(claim, storage.SELECTED_NODE)
                self._claims.observe(await self._client.update(PERSISTENT_VOLUME_CLAIM, released))
            raise
        return str((node["metadata"].get("labels") or {}).get(_HOSTNAME) or name)

    async def _delete(self, volume: Obj) -> None:
        name = volume["metadata"]["name"]
        try:
            await asyncio.to_thread(_remove, self._folder(volume))
        except OSError as error:
            self._recorder.event(volume, "Warning", "VolumeFailedDelete", str(error))
            raise
        with ignoring(404, 409):
            await self._client.delete(PERSISTENT_VOLUME, name, uid=volume["metadata"]["uid"])

    def _folder(self, volume: Obj) -> Path:
        """The folder of a volume of ours, whatever its spec says: it is named after the volume, below our root."""
        assert self._root is not None
        return self._root / str(volume["metadata"]["name"])

    async def _expand(self, claim: Obj) -> None:
        """A larger claim is granted: the folder has no size of its own."""
        volume = self._volumes.get("", claim["spec"]["volumeName"])
        if volume is None or storage.notes(volume).get(storage.PROVISIONED_BY) != PROVISIONER:
            return
        wanted = claim["spec"]["resources"]["requests"]["storage"]
        if storage.capacity(volume) < storage.requested(claim):
            capacity = {**volume["spec"]["capacity"], "storage": wanted}
            written = {**volume, "spec": {**volume["spec"], "capacity": capacity}}
            self._volumes.observe(await self._client.update(PERSISTENT_VOLUME, written))
        status = claim.get("status") or {}
        if storage.held(claim) < storage.requested(claim):
            written = {**claim, "status": {**status, "capacity": {**(status.get("capacity") or {}), "storage": wanted}}}
            self._claims.observe(await self._client.update(PERSISTENT_VOLUME_CLAIM, written, subresource="status"))
            self._recorder.event(claim, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded")


def _is_to_go(volume: Obj) -> bool:
    if volume["metadata"].get("deletionTimestamp"):
        return False
    return storage.phase(volume) == "Released" and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"


def _make(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(exist_ok=True)
    # Whatever the umask says.
    folder.chmod(_MODE)


def _remove(folder: Path) -> None:
    if folder.is_symlink() or not folder.exists():
        return
    shutil.rmtree(folder)
