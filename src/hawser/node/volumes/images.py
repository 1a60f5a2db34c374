"""Image volumes: the files of an image, read-only.

Source: KEP-4639, "VolumeSource: OCI Artifact and/or Image"; Kubernetes documentation, "image" volumes.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from hawser.api.types import Obj
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError, Unimplemented
from hawser.node.cri.model import Image
from hawser.node.cri.snapshots import MountStep, Snapshots
from hawser.node.pod import view
from hawser.node.volumes import mounts
from hawser.node.volumes.errors import VolumeError
from hawser.node.volumes.folders import Folders, Place

_FOLDER = "volumes/kubernetes.io~image"


class ImageVolumes:
    """The image volumes of the node's pods. containerd's snapshots are asked for when a pod first has one."""

    def __init__(self, runtime: Runtime, folders: Folders) -> None:
        self._runtime = runtime
        self._folders = folders
        self._snapshots: Snapshots | None = None

    async def mount(self, pod: Obj, volume: Obj, image: Image) -> None:
        """Makes an image's files a volume of a pod. Raises VolumeError, OSError."""
        path = self._folders.volume(pod, volume)
        if not mounts.is_mounted(path):
            try:
                steps = await self._view(_key(view.uid(pod), volume["name"]), image)
            except Unimplemented:
                raise VolumeError("the container runtime does not support image volumes") from None
            except (CRIError, KeyError, ValueError) as err:
                raise VolumeError(err.text if isinstance(err, CRIError) else f"image {image.id}: {err}") from err
            path.mkdir(parents=True, exist_ok=True)
            for step in steps:
                _mount(path, step)
        self._folders.place(pod, volume["name"], Place(path, readonly=True))

    def names(self, uid: str) -> list[str]:
        """The image volumes of a pod that were mounted."""
        folder = self._folders.pod(uid) / _FOLDER
        return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []

    async def remove(self, uid: str, names: list[str]) -> None:
        """Unmounts volumes and gives their snapshots up. Raises CRIError."""
        for name in names:
            if mounts.unmount_below(self._folders.pod(uid) / _FOLDER / name):
                continue
            await (await self._service()).remove(_key(uid, name))

    async def _view(self, key: str, image: Image) -> list[MountStep]:
        request = {"image": {"image": image.id}, "verbose": True}
        answer = await self._runtime.call("ImageStatus", request, images=True)
        chain = json.loads(answer.info["info"])["chainID"]
        return await (await self._service()).view(key, chain, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    async def _service(self) -> Snapshots:
        if self._snapshots is None:
            answer = await self._runtime.call("Status", {"verbose": True})
            name = "overlayfs"
            try:
                name = json.loads(answer.info["config"])["containerd"]["snapshotter"] or name
            except (KeyError, ValueError, TypeError):
                pass
            self._snapshots = Snapshots(self._runtime.channel, name)
        return self._snapshots


def _key(uid: str, name: str) -> str:
    return f"hawser-image-volume-{uid}-{name}"


def _mount(path: Path, step: MountStep) -> None:
    if step.kind == "bind":
        mounts.bind(step.source, path, readonly=True)
    else:
        options = ",".join(word for word in step.options if word != "ro")
        mounts.mount(step.source, path, step.kind, mounts.RDONLY, options)
