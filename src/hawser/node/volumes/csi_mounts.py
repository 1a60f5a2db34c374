"""CSI volumes of pods: staged and published by their driver, and given back at the end.

Source: Kubernetes documentation, "csi" volumes, "CSIDriver"; the CSI specification. Folders, volume contexts and words
are kubelet's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple, Self

from hawser.api.errors import APIError
from hawser.api.kinds import CSI_DRIVER, SECRET, VOLUME_ATTACHMENT
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.node import checkpoint
from hawser.node.cri.errors import CRIError, Unavailable
from hawser.node.csi.driver import Ability, Driver, access_mode
from hawser.node.csi.plugins import CSIDrivers
from hawser.node.objects import Objects
from hawser.node.pod import view
from hawser.node.volumes import mounts, ownership
from hawser.node.volumes.csi import Volume
from hawser.node.volumes.errors import VolumeError
from hawser.node.volumes.folders import Folders, Place
from hawser.node.volumes.turns import Turns

_DATA = "vol_data.json"
_STAGE = "MountVolume.MountDevice failed"
_INIT = "MountVolume.NewMounter initialization failed"


class _Note(NamedTuple):
    """What is noted of a volume that a pod has."""

    driver: str
    handle: str
    staged: bool

    @classmethod
    def read(cls, row: Any) -> Self:
        """Raises KeyError, TypeError."""
        return cls(row["driverName"], row["volumeHandle"], bool(row.get("staged")))


class CSIVolumes:
    """Brings CSI volumes to pods. root: the agent's folder."""

    def __init__(self, root: Path, client: Client, plugins: CSIDrivers, folders: Folders, objects: Objects) -> None:
        self._staging = root / "plugins/kubernetes.io/csi"
        self._client = client
        self._plugins = plugins
        self._folders = folders
        self._objects = objects
        self._turns = Turns()

    async def mount(self, pod: Obj, volume: Volume, node: str) -> Place:
        """Stages and publishes a volume. Raises VolumeError, OSError."""
        settings = await self._settings(volume)
        driver = self._plugins.driver(volume.driver)
        if driver is None:
            text = f"driver name {volume.driver} not found in the list of registered CSI drivers"
            raise VolumeError(text, _INIT if volume.inline else _STAGE)
        context = await self._attached(volume, settings, node)
        target = self._target(pod, volume)
        async with self._turns.turn(_turn(driver.name, volume.handle)):
            if not (mounts.is_mounted(target) or (volume.block and target.exists())):
                try:
                    await self._publish(pod, volume, driver, settings, context, target)
                except CRIError as err:
                    raise VolumeError(err.text) from err
        return Place(target.resolve() if volume.block else target, volume.readonly, device=volume.block)

    async def publish_again(self, pod: Obj, volume: Volume, node: str) -> bool:
        """Has a driver bring a mounted volume up to date, if it wants that now and then; whether it does.

        Source: API reference, CSIDriverSpec.requiresRepublish. Raises VolumeError, OSError.
        """
        settings = await self._settings(volume)
        if not settings.get("requiresRepublish"):
            return False
        driver, target = self._plugins.driver(volume.driver), self._target(pod, volume)
        async with self._turns.turn(_turn(volume.driver, volume.handle)):
            # Not after it was given back.
            if driver is not None and mounts.is_mounted(target):
                context = await self._attached(volume, settings, node)
                try:
                    await self._publish(pod, volume, driver, settings, context, target, again=True)
                except CRIError as err:
                    raise VolumeError(err.text) from err
        return True

    async def grow(self, pod: Obj, volume: Volume, size: int) -> None:
        """Has the driver make a pod's volume this large, in bytes. Raises CRIError, VolumeError."""
        driver = self._plugins.driver(volume.driver)
        if driver is None:
            raise VolumeError(f"driver name {volume.driver} not found in the list of registered CSI drivers")
        if not await driver.can(Ability.EXPAND):
            plugin = f"kubernetes.io/csi/{volume.driver}"
            raise VolumeError(f"Expander.NodeExpand found CSI plugin {plugin} to not support node expansion")
        target = self._target(pod, volume)
        more: dict[str, Any] = {}
        if await driver.can(Ability.STAGE):
            more["staging_target_path"] = str(self._stage(driver.name, volume.handle))
        async with self._turns.turn(_turn(driver.name, volume.handle)):
            await driver.call(
                "NodeExpandVolume",
                volume_id=volume.handle,
                volume_path=str(target.resolve() if volume.block else target),
                capacity_range={"required_bytes": size},
                volume_capability=await self._capability(volume, driver, ""),
                secrets=await self._secret(pod, volume.source, "nodeExpandSecretRef"),
                **more,
            )

    async def remove(self, uid: str) -> None:
        """Gives back what a pod had. Raises CRIError."""
        for file in (self._folders.pod(uid) / "volumes/kubernetes.io~csi").glob(f"*/{_DATA}"):
            note = checkpoint.load(file, _Note.read)
            if note is None:
                # Nothing was asked of a driver before its note was written.
                continue
            driver = self._plugins.driver(note.driver)
            if driver is None:
                if not self._plugins.settled():
                    raise Unavailable(f"driver name {note.driver} not found in the list of registered CSI drivers")
                # A driver that is gone cannot be asked; what it mounted is detached with the pod's folder.
                continue
            async with self._turns.turn(_turn(note.driver, note.handle)):
                await self._give_back(driver, note, file.parent)

    async def _give_back(self, driver: Driver, note: _Note, folder: Path) -> None:
        # By the folder: what lies on a server that is dead cannot be looked at itself.
        for target in [*folder.iterdir()]:
            if target.name in ("mount", "device"):
                await driver.call("NodeUnpublishVolume", volume_id=note.handle, target_path=str(target))
        if not mounts.points(folder):
            shutil.rmtree(folder, ignore_errors=True)
        if note.staged and not self._still_used(note):
            staged = self._stage(note.driver, note.handle)
            await driver.call("NodeUnstageVolume", volume_id=note.handle, staging_target_path=str(staged))
            if not mounts.points(staged):
                shutil.rmtree(staged.parent, ignore_errors=True)

    def _target(self, pod: Obj, volume: Volume) -> Path:
        """Where a driver publishes a volume for a pod."""
        return self._folders.persistent(pod, "csi", volume.name) / ("device" if volume.block else "mount")

    def _still_used(self, by: _Note) -> bool:
        files = self._folders.pods.glob(f"*/volumes/kubernetes.io~csi/*/{_DATA}")
        return any(checkpoint.load(file, _Note.read) == by for file in files)

    def _stage(self, driver: str, handle: str) -> Path:
        return self._staging / driver / hashlib.sha256(handle.encode()).hexdigest() / "globalmount"

    async def _settings(self, volume: Volume) -> Obj:
        """The spec of the CSIDriver. Raises VolumeError when the driver does not do this kind of volume."""
        mode = "Ephemeral" if volume.inline else "Persistent"
        spec: Obj = {}
        try:
            spec = (await self._client.get(CSI_DRIVER, volume.driver)).get("spec") or {}
        except APIError as err:
            if err.code != 404:
                raise VolumeError(err.message, _INIT) from err
            if volume.inline:
                text = f'volume mode "{mode}" not supported by driver {volume.driver} (no CSIDriver object)'
                raise VolumeError(text, _INIT) from None
        modes = spec.get("volumeLifecycleModes") or ["Persistent"]
        if mode not in modes:
            only = " ".join(f'"{known}"' for known in modes)
            text = f'volume mode "{mode}" not supported by driver {volume.driver} (only supports [{only}])'
            raise VolumeError(text, _INIT)
        return dict(spec)

    async def _attached(self, volume: Volume, settings: Obj, node: str) -> dict[str, str]:
        """What attaching has told, for drivers that attach. Raises VolumeError until it has happened."""
        if volume.inline or not settings.get("attachRequired", True):
            return {}
        name = "csi-" + hashlib.sha256(f"{volume.handle}{volume.driver}{node}".encode()).hexdigest()
        try:
            status = (await self._client.get(VOLUME_ATTACHMENT, name)).get("status") or {}
        except APIError as err:
            raise VolumeError(f"volume attachment is not there: {err.message}", "AttachVolume.Attach failed") from err
        if not status.get("attached"):
            raise VolumeError("volume attachment is being waited for", "AttachVolume.Attach failed")
        return dict(status.get("attachmentMetadata") or {})

    async def _publish(
        self,
        pod: Obj,
        volume: Volume,
        driver: Driver,
        settings: Obj,
        context: dict[str, str],
        target: Path,
        *,
        again: bool = False,
    ) -> None:
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        delegated = group is not None and await driver.can(Ability.MOUNT_GROUP)
        capability = await self._capability(volume, driver, str(group) if delegated else "")
        staged = not volume.inline and await driver.can(Ability.STAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        note = {"driverName": driver.name, "specVolID": volume.name, "volumeHandle": volume.handle, "staged": staged}
        # Written first: whatever is cut short is given back at the end.
        checkpoint.save(target.parent / _DATA, note)
        attributes = dict(volume.source.get("volumeAttributes") or {})
        common: dict[str, Any] = {"volume_id": volume.handle, "volume_capability": capability}
        if staged:
            stage = self._stage(driver.name, volume.handle)
            common["staging_target_path"] = str(stage)
            if not again:
                stage.mkdir(parents=True, exist_ok=True)
                secret = await self._secret(pod, volume.source, "nodeStageSecretRef")
                request = {**common, "publish_context": context, "secrets": secret, "volume_context": attributes}
                try:
                    await driver.call("NodeStageVolume", **request)
                except CRIError as err:
                    raise VolumeError(err.text, _STAGE) from err
        if settings.get("podInfoOnMount"):
            attributes |= _pod_info(pod, inline=volume.inline)
        if settings.get("tokenRequests"):
            attributes["csi.storage.k8s.io/serviceAccount.tokens"] = await self._tokens(pod, settings["tokenRequests"])
        await driver.call(
            "NodePublishVolume",
            **common,
            target_path=str(target),
            publish_context=context,
            readonly=volume.readonly,
            secrets=await self._secret(pod, volume.source, "nodePublishSecretRef"),
            volume_context=attributes,
        )
        if group is not None and not delegated and not volume.block and _owns(volume, settings):
            ownership.own(target, group)

    async def _capability(self, volume: Volume, driver: Driver, group: str) -> Obj:
        mode = access_mode(volume.modes, precise=await driver.can(Ability.MULTI_WRITER))
        made: Obj = {"access_mode": {"mode": mode}}
        if volume.block:
            return {**made, "block": {}}
        flags = list(volume.options)
        kind = volume.source.get("fsType") or ""
        return {**made, "mount": {"fs_type": kind, "mount_flags": flags, "volume_mount_group": group}}

    async def _secret(self, pod: Obj, source: Obj, field: str) -> dict[str, str]:
        """The Secret that a field of the source names, if any. Raises VolumeError."""
        ref = source.get(field)
        if not ref:
            return {}
        namespace = ref.get("namespace") or view.key(pod)[0]
        try:
            data = (await self._client.get(SECRET, ref["name"], namespace)).get("data") or {}
        except APIError as err:
            text = f"failed to get {field[0].upper()}{field[1:]} {namespace}/{ref['name']}: {err.message}"
            raise VolumeError(text) from err
        return {name: base64.b64decode(value or "").decode(errors="replace") for name, value in data.items()}

    async def _tokens(self, pod: Obj, requests: list[Obj]) -> str:
        made = {}
        for request in requests:
            audience = request.get("audience") or ""
            try:
                token = await self._objects.token(pod, audience, int(request.get("expirationSeconds") or 3600))
            except APIError as err:
                raise VolumeError(f"failed to fetch token: {err.message}") from err
            made[audience] = {"token": token}
        return json.dumps(made)


def _turn(driver: str, handle: str) -> str:
    """The volume, as drivers know it: one of a handle may be staged while another is unstaged."""
    return f"{driver}/{handle}"


def _pod_info(pod: Obj, *, inline: bool) -> dict[str, str]:
    namespace, name = view.key(pod)
    return {
        "csi.storage.k8s.io/pod.name": name,
        "csi.storage.k8s.io/pod.namespace": namespace,
        "csi.storage.k8s.io/pod.uid": view.uid(pod),
        "csi.storage.k8s.io/serviceAccount.name": pod["spec"].get("serviceAccountName") or "",
        "csi.storage.k8s.io/ephemeral": "true" if inline else "false",
    }


def _owns(volume: Volume, settings: Obj) -> bool:
    """Whether the node gives the volume to the pod's fsGroup (CSIDriver's fsGroupPolicy)."""
    policy = settings.get("fsGroupPolicy") or "ReadWriteOnceWithFSType"
    if policy != "ReadWriteOnceWithFSType":
        return policy == "File" and not volume.readonly
    once = bool({"ReadWriteOnce", "ReadWriteOncePod"} & set(volume.modes))
    return once and bool(volume.source.get("fsType")) and not volume.readonly
