"""Image volumes: the files of an image, read-only.

Source: KEP-4639, "VolumeSource: OCI Artifact and/or Image"; Kubernetes documentation, "image" volumes.
"""

from __future__ import annotations

from pathlib import Path

from hawser.api.types import Obj
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError, Unimplemented
from hawser.node.cri.model import Image
from hawser.node.cri.snapshots import MountStep
from hawser.node.cri.views import ImageViews
from hawser.node.pod import view
from hawser.node.volumes import mounts
from hawser.node.volumes.errors import VolumeError
from hawser.node.volumes.folders import Folders, Place

_FOLDER = "volumes/kubernetes.io~image"


class ImageVolumes:
    """The image volumes of the node's pods."""

    def __init__(self, runtime: Runtime, folders: Folders) -> None:
        self._folders = folders
        self._views = ImageViews(runtime)

    async def mount(self, pod: Obj, volume: Obj, image: Image) -> None:
        """Makes an image's files a volume of a pod. Raises VolumeError, OSError."""
        path = self._folders.volume(pod, volume)
        if not mounts.is_mounted(path):
            try:
                steps = await self._views.view(_key(view.uid(pod), volume["name"]), image.id)
            except Unimplemented:
                raise VolumeError("the container runtime does not support image volumes") from None
            except (CRIError, KeyError, ValueError) as err:
                raise VolumeError(err.text if isinstance(err, CRIError) else f"image {image.id}: {err}") from err
            path.mkdir(parents=True, exist_ok=True)
            for step in steps:
                mount_step(path, step)
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
            await self._views.remove(_key(uid, name))


def _key(uid: str, name: str) -> str:
    return f"hawser-image-volume-{uid}-{name}"


def mount_step(path: Path, step: MountStep) -> None:
    """Mounts a snapshot, read-only. Raises OSError."""
    if step.kind == "bind":
        mounts.bind(step.source, path, readonly=True)
    else:
        options = ",".join(word for word in step.options if word != "ro")
        mounts.mount(step.source, path, step.kind, mounts.RDONLY, options)
