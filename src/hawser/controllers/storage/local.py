"""Volumes of a storage class that are folders, or disks in files, of the engine's own machine.

An external provisioner, as Kubernetes calls those outside the controller manager: a claim that is to have a volume of
ours gets a folder below the root and a PersistentVolume of it, on the node that the scheduler has chosen for its first
pod; when the claim is gone, folder and volume go, if the class says Delete. The size of a folder is not limited. With
the class's parameter ``type: disk`` it is a sparse file instead, in which the node makes a file system: it is full at
its size, and the node enlarges it when the claim asks for more. A finalizer keeps the volume until what it is made of
is gone, whichever of claim and volume is deleted first.
Source: "Dynamic Volume Provisioning"; "Persistent Volumes", PersistentVolume deletion protection finalizer (KEP-2644);
the words of events are those of Kubernetes' sidecars for provisioning and resizing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hawser.api import storage
from hawser.api.errors import APIError, ignoring
from hawser.api.kinds import NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS
from hawser.api.types import Obj
from hawser.client.clock import timestamp
from hawser.client.controller import Controller, Manager
from hawser.client.informer import key_of
from hawser.runtime import trees

log = logging.getLogger(__name__)

PROVISIONER = "hawser.dev/local"
_CLAIM, _VOLUME = "claim/", "volume/"
_HOSTNAME = "kubernetes.io/hostname"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
_MODE = 0o777
"""Pods of any user write into their volumes; the root above is closed to everybody else."""
_TYPES = ("folder", "disk")
_FILE_SYSTEM = "ext4"
_EXPANDING = ("FileSystemResizePending", "NodeResizeError")


def volume_for(claim: Obj, storage_class: Obj, folder: Path, host: str) -> Obj:
    """The PersistentVolume of a claim that is made of a folder or, if the class says so, of a disk. Pure.

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
        spec["local"] = {"path": str(folder), **({"fsType": _FILE_SYSTEM} if is_disk(storage_class) else {})}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [term]}}
    else:
        spec["hostPath"] = {"path": str(folder), "type": "DirectoryOrCreate"}
    if options := storage_class.get("mountOptions"):
        spec["mountOptions"] = options
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": folder.name,
            "annotations": {storage.PROVISIONED_BY: PROVISIONER},
            **({"finalizers": [FINALIZER]} if spec["persistentVolumeReclaimPolicy"] == "Delete" else {}),
        },
        "spec": spec,
    }


def is_disk(storage_class: Obj) -> bool:
    """Whether volumes of a class are disks. Pure."""
    return (storage_class.get("parameters") or {}).get("type") == "disk"


def problem(claim: Obj, storage_class: Obj) -> str:
    """What of a claim cannot be had, or of its class not be understood; "" for nothing. Pure."""
    for name, value in (storage_class.get("parameters") or {}).items():
        if name != "type":
            return f'unknown parameter "{name}": this provisioner knows "type"'
        if value not in _TYPES:
            return f'parameter "type" is "{value}": expected {" or ".join(_TYPES)}'
    if is_disk(storage_class) and not storage.is_delayed(storage_class):
        return "disks are tied to a node: the class needs volumeBindingMode WaitForFirstConsumer"
    if storage.mode(claim) != "Filesystem":
        return "this provisioner makes file systems only, no block volumes"
    if claim["spec"].get("dataSource") or claim["spec"].get("dataSourceRef"):
        return "this provisioner makes empty volumes only: spec.dataSource is not supported"
    if claim["spec"].get("selector"):
        return "claim.spec.selector is not supported"
    if claim["spec"].get("volumeAttributesClassName"):
        return "folders have no attributes: spec.volumeAttributesClassName is not supported"
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
        self._clock = manager.clock
        self._recorder = manager.recorder(PROVISIONER)
        self._claims = manager.informer(PERSISTENT_VOLUME_CLAIM)
        self._volumes = manager.informer(PERSISTENT_VOLUME)
        self._classes = manager.informer(STORAGE_CLASS)
        self._claims.on_change(self._on_claim)
        self._volumes.on_change(self._on_volume)
        self._classes.on_change(self._on_class)

    def _on_claim(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and storage.notes(new).get(storage.STORAGE_PROVISIONER) == PROVISIONER:
            self.queue.add(_CLAIM + key_of(new))

    def _on_volume(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and storage.notes(new).get(storage.PROVISIONED_BY) == PROVISIONER:
            self.queue.add(_VOLUME + new["metadata"]["name"])

    def _on_class(self, old: Obj | None, new: Obj | None) -> None:
        """One that comes (back) may be what claims wait for."""
        if old is None and new is not None and new["provisioner"] == PROVISIONER:
            for claim in self._claims.list():
                if storage.class_of(claim) == new["metadata"]["name"] and not claim["spec"].get("volumeName"):
                    self._on_claim(None, claim)

    async def run(self) -> None:
        """Takes away the empty folders and disks of claims that went before there was a volume of theirs."""
        if self._root is None or not self._root.is_dir():
            return
        wanted = {f"pvc-{claim['metadata']['uid']}" for claim in self._claims.list()}
        for folder in self._root.glob("pvc-*"):
            if folder.name not in wanted and self._volumes.get("", folder.name) is None:
                # Never one with anything in it.
                with contextlib.suppress(OSError):
                    if folder.is_dir():
                        folder.rmdir()
                    elif not folder.lstat().st_blocks:
                        folder.unlink()

    async def reconcile(self, key: str) -> float | None:
        if self._root is None:
            return None
        if key.startswith(_VOLUME):
            volume = self._volumes.get_key(key.removeprefix(_VOLUME))
            if volume is not None:
                await self._volume(volume)
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
        if wrong := problem(claim, storage_class):
            text = f'failed to provision volume with StorageClass "{storage_class["metadata"]["name"]}": {wrong}'
            self._recorder.event(claim, "Warning", "ProvisioningFailed", text)
            return
        where = f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"
        text = f'External provisioner is provisioning volume for claim "{where}"'
        self._recorder.event(claim, "Normal", "Provisioning", text)
        folder = root / name
        try:
            host = await self._host(claim)
            if is_disk(storage_class):
                await asyncio.to_thread(_make_disk, folder, int(storage.requested(claim)))
            else:
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

    async def _volume(self, volume: Obj) -> None:
        metadata = volume["metadata"]
        held, deletes = FINALIZER in (metadata.get("finalizers") or ()), _is_deleted_with_claim(volume)
        ending = bool(metadata.get("deletionTimestamp"))
        if deletes and storage.phase(volume) == "Released" and (held or not ending):
            await self._remove(volume)
            if not ending:
                with ignoring(404, 409):
                    await self._client.delete(PERSISTENT_VOLUME, metadata["name"], uid=metadata["uid"])
            else:
                await self._hold(volume, held=False)
        elif held != deletes and not (deletes and ending):
            # Its reclaim policy has changed, or it is from before there was the finalizer.
            await self._hold(volume, held=deletes)

    async def _remove(self, volume: Obj) -> None:
        try:
            await asyncio.to_thread(_remove, self._folder(volume))
        except OSError as error:
            self._recorder.event(volume, "Warning", "VolumeFailedDelete", str(error))
            raise

    async def _hold(self, volume: Obj, *, held: bool) -> None:
        finalizers = [name for name in volume["metadata"].get("finalizers") or () if name != FINALIZER]
        metadata = {**volume["metadata"], "finalizers": [*finalizers, FINALIZER] if held else finalizers}
        with ignoring(404):
            self._volumes.observe(await self._client.update(PERSISTENT_VOLUME, {**volume, "metadata": metadata}))

    def _folder(self, volume: Obj) -> Path:
        """The folder of a volume of ours, whatever its spec says: it is named after the volume, below our root."""
        assert self._root is not None
        return self._root / str(volume["metadata"]["name"])

    async def _expand(self, claim: Obj) -> None:
        """A larger claim is granted: a folder has no size of its own, the rest of a disk is for its node to do."""
        volume = self._volumes.get("", claim["spec"]["volumeName"])
        if volume is None or storage.notes(volume).get(storage.PROVISIONED_BY) != PROVISIONER:
            return
        disk = "fsType" in (volume["spec"].get("local") or {})
        wanted = claim["spec"]["resources"]["requests"]["storage"]
        if storage.capacity(volume) < storage.requested(claim):
            if disk:
                await asyncio.to_thread(_make_disk, self._folder(volume), int(storage.requested(claim)))
            capacity = {**volume["spec"]["capacity"], "storage": wanted}
            written = {**volume, "spec": {**volume["spec"], "capacity": capacity}}
            self._volumes.observe(await self._client.update(PERSISTENT_VOLUME, written))
        if storage.held(claim) >= storage.requested(claim):
            return
        if not disk:
            await self._write(claim, granted(claim, wanted))
            self._recorder.event(claim, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded")
        elif (claim["status"].get("allocatedResources") or {}).get("storage") != wanted:
            await self._write(claim, left_to_the_node(claim, wanted, timestamp(self._clock.now())))
            text = "Require file system resize of volume on node"
            self._recorder.event(claim, "Normal", "FileSystemResizeRequired", text)

    async def _write(self, claim: Obj, status: Obj) -> None:
        written = {**claim, "status": status}
        self._claims.observe(await self._client.update(PERSISTENT_VOLUME_CLAIM, written, subresource="status"))


def granted(claim: Obj, size: str) -> Obj:
    """The status of a claim that has this size. Pure."""
    status = claim.get("status") or {}
    return {**status, "capacity": {**(status.get("capacity") or {}), "storage": size}}


def left_to_the_node(claim: Obj, size: str, now: str) -> Obj:
    """The status of a claim whose disk has this size, but not yet the file system on it (KEP-1790). Pure."""
    status = claim.get("status") or {}
    pending = {
        "type": "FileSystemResizePending",
        "status": "True",
        "lastTransitionTime": now,
        "message": "Waiting for user to (re-)start a pod to finish file system resize of volume on node.",
    }
    others = [row for row in status.get("conditions") or () if row["type"] not in _EXPANDING]
    return {
        **status,
        "allocatedResources": {**(status.get("allocatedResources") or {}), "storage": size},
        "allocatedResourceStatuses": {"storage": "NodeResizePending"},
        "conditions": [*others, pending],
    }


def _is_deleted_with_claim(volume: Obj) -> bool:
    return bool(volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete")


def _make(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(exist_ok=True)
    # Whatever the umask says.
    folder.chmod(_MODE)


def _make_disk(file: Path, size: int) -> None:
    """Makes a sparse file of so many bytes, or makes one larger."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(file, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as disk:
        if disk.tell() < size:
            disk.truncate(size)


def _remove(volume: Path) -> None:
    if volume.is_symlink():
        return
    if volume.is_dir():
        trees.remove(volume)
    else:
        volume.unlink(missing_ok=True)
