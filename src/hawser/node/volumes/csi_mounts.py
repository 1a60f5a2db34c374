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
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import CSI_DRIVER, SECRET, VOLUME_ATTACHMENT
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.node.cri.errors import CRIError, Unavailable
from hawser.node.csi.driver import Ability, Driver, access_mode
from hawser.node.csi.plugins import CSIDrivers
from hawser.node.objects import Objects
from hawser.node.pod import view
from hawser.node.volumes import mounts, ownership
from hawser.node.volumes.csi import Volume
from hawser.node.volumes.errors import VolumeError
from hawser.node.volumes.folders import Folders, Place

_DATA = "vol_data.json"
_STAGE = "MountVolume.MountDevice failed"
_INIT = "MountVolume.NewMounter initialization failed"


class CSIVolumes:
    """Brings CSI volumes to pods. root: the agent's folder."""

    def __init__(self, root: Path, client: Client, plugins: CSIDrivers, folders: Folders, objects: Objects) -> None:
        self._staging = root / "plugins/kubernetes.io/csi"
        self._client = client
        self._plugins = plugins
        self._folders = folders
        self._objects = objects

    async def mount(self, pod: Obj, volume: Volume, node: str) -> Place:
        """Stages and publishes a volume. Raises VolumeError, OSError."""
        settings = await self._settings(volume)
        driver = self._plugins.driver(volume.driver)
        if driver is None:
            text = f"driver name {volume.driver} not found in the list of registered CSI drivers"
            raise VolumeError(text, _INIT if volume.inline else _STAGE)
        context = await self._attached(volume, settings, node)
        folder = self._folders.persistent(pod, "csi", volume.name)
        target = folder / ("device" if volume.block else "mount")
        if not (mounts.is_mounted(target) or (volume.block and target.exists())):
            try:
                await self._publish(pod, volume, driver, settings, context, target)
            except CRIError as err:
                raise VolumeError(err.text) from err
        return Place(target.resolve() if volume.block else target, volume.readonly, device=volume.block)

    async def remove(self, uid: str) -> None:
        """Gives back what a pod had. Raises CRIError."""
        for file in (self._folders.pod(uid) / "volumes/kubernetes.io~csi").glob(f"*/{_DATA}"):
            data = json.loads(file.read_text())
            driver = self._plugins.driver(data["driverName"])
            if driver is None:
                if not self._plugins.settled():
                    text = f"driver name {data['driverName']} not found in the list of registered CSI drivers"
                    raise Unavailable(text)
                # A driver that is gone cannot be asked; what it mounted is detached with the pod's folder.
                continue
            handle = data["volumeHandle"]
            for target in (file.parent / "mount", file.parent / "device"):
                if target.exists():
                    await driver.call("NodeUnpublishVolume", volume_id=handle, target_path=str(target))
            if not mounts.points(file.parent):
                shutil.rmtree(file.parent, ignore_errors=True)
            if data.get("staged") and not self._still_used(handle):
                staged = self._stage(data["driverName"], handle)
                await driver.call("NodeUnstageVolume", volume_id=handle, staging_target_path=str(staged))
                if not mounts.points(staged):
                    shutil.rmtree(staged.parent, ignore_errors=True)

    def _still_used(self, handle: str) -> bool:
        files = self._folders.pods.glob(f"*/volumes/kubernetes.io~csi/*/{_DATA}")
        return any(json.loads(file.read_text()).get("volumeHandle") == handle for file in files)

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
        self, pod: Obj, volume: Volume, driver: Driver, settings: Obj, context: dict[str, str], target: Path
    ) -> None:
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        delegated = group is not None and await driver.can(Ability.MOUNT_GROUP)
        capability = await self._capability(volume, driver, str(group) if delegated else "")
        staged = not volume.inline and await driver.can(Ability.STAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        note = {"driverName": driver.name, "specVolID": volume.name, "volumeHandle": volume.handle, "staged": staged}
        # Written first: whatever is cut short is given back at the end.
        (target.parent / _DATA).write_text(json.dumps(note))
        attributes = dict(volume.source.get("volumeAttributes") or {})
        common: dict[str, Any] = {"volume_id": volume.handle, "volume_capability": capability}
        if staged:
            stage = self._stage(driver.name, volume.handle)
            stage.mkdir(parents=True, exist_ok=True)
            common["staging_target_path"] = str(stage)
            secret = await self._secret(pod, volume.source.get("nodeStageSecretRef"))
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
            secrets=await self._secret(pod, volume.source.get("nodePublishSecretRef")),
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

    async def _secret(self, pod: Obj, ref: Obj | None) -> dict[str, str]:
        if not ref:
            return {}
        namespace = ref.get("namespace") or view.key(pod)[0]
        try:
            data = (await self._client.get(SECRET, ref["name"], namespace)).get("data") or {}
        except APIError as err:
            text = f"failed to get NodePublishSecretRef {namespace}/{ref['name']}: {err.message}"
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
