"""The files of operation agents' images on this node: each image mounted once, read-only, for all containers.

Under it lies a skeleton of directories, where hawser-runtime mounts what a program expects around it. An image stays
mounted, and its layers stay on the node, until no container has it any more. Who has it is the kernel's knowledge, so
nothing of this is lost when the agent starts anew.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from hawser.api.types import Obj
from hawser.node.agentpulls import AgentPulls
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError, Unimplemented
from hawser.node.cri.model import Image
from hawser.node.cri.views import ImageViews
from hawser.node.images.manager import Images
from hawser.node.volumes import mounts
from hawser.node.volumes.images import mount_step
from hawser.rich.profiles.merge import ProfileError

_FOLDERS = ("dev", "proc", "run", "sys", "tmp")
_DEVICES = ("null", "zero", "full", "random", "urandom")
STARTING_SECONDS = 120.0
"""So long a container that asked for an image may take until it has mounted it."""


class AgentImages:
    """Mounts images of agents below a folder of the node."""

    def __init__(self, runtime: Runtime, images: Images, folder: Path) -> None:
        self._views = ImageViews(runtime)
        self._pulls = AgentPulls(images)
        self._folder = folder
        self._asked: dict[str, float] = {}
        self._lock = asyncio.Lock()

    async def files(self, image: str, policy: str) -> Obj:
        """The read-only directory with an image's files. Raises ProfileError."""
        found = await self._pulls.get(image, policy)
        name = found.id.rpartition(":")[2]
        place = self._folder / name
        async with self._lock:
            self._asked[name] = time.monotonic()
            try:
                await self._mount(place, view_key(name), found)
            except Unimplemented:
                raise ProfileError("the container runtime does not say where images' files are") from None
            except (CRIError, KeyError, ValueError, OSError) as error:
                raise ProfileError(f"image {image} can not be mounted: {error}") from error
        return {"root": str(place / "root")}

    async def held(self) -> set[str]:
        """Ids of the images that containers have or are about to have; what else is mounted is given up.

        Raises CRIError and OSError.
        """
        async with self._lock:
            recent = time.monotonic() - STARTING_SECONDS
            self._asked = {name: asked for name, asked in self._asked.items() if asked >= recent}
            places = list(self._folder.iterdir()) if self._folder.is_dir() else []
            idle = [place for place in places if place.name not in self._asked]
            elsewhere = await asyncio.to_thread(_mounted_elsewhere) if idle else set()
            for place in idle:
                if not _is_used(place / "root", elsewhere):
                    await self._release(place)
                    places.remove(place)
        return {f"sha256:{place.name}" for place in places}

    async def _release(self, place: Path) -> None:
        for part in ("root", "image"):
            if mounts.is_mounted(place / part):
                mounts.unmount(place / part)
        await self._views.remove(view_key(place.name))
        shutil.rmtree(place)

    async def _mount(self, place: Path, key: str, image: Image) -> None:
        files, skeleton, root = place / "image", place / "skeleton", place / "root"
        if mounts.is_mounted(root):
            return
        for folder in (files, root):
            folder.mkdir(parents=True, exist_ok=True)
        make_skeleton(skeleton)
        if not mounts.is_mounted(files):
            for step in await self._views.view(key, image.id):
                mount_step(files, step)
        mounts.mount("overlay", root, "overlay", mounts.RDONLY, f"lowerdir={files}:{skeleton}")

    async def close(self) -> None:
        """Ends pulls that are under way; mounts stay, as containers do."""
        await self._pulls.close()


def make_skeleton(place: Path) -> None:
    """Makes the directories and files that are mounted over in an image's root. Raises OSError."""
    for name in _FOLDERS:
        (place / name).mkdir(parents=True, exist_ok=True)
    for name in _DEVICES:
        (place / "dev" / name).touch()


def view_key(name: str) -> str:
    """What the view of an image is called in containerd."""
    return f"hawser-agent-image-{name}"


def _is_used(root: Path, elsewhere: set[tuple[int, str]]) -> bool:
    if not mounts.is_mounted(root):
        return False
    device = root.stat().st_dev
    # At this very path it is only a copy of our own mount, as each service of systemd with a namespace of its own has.
    return any(found == device and not point.endswith(str(root)) for found, point in elsewhere)


def _mounted_elsewhere() -> set[tuple[int, str]]:
    """Devices, and where they are mounted, in other mount namespaces than this process's."""
    return {mount for process in of_namespaces() for mount in _mounts_of(process)}


def of_namespaces() -> Iterator[Path]:
    """A process of each other mount namespace."""
    seen = {Path("/proc/self/ns/mnt").readlink()}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            namespace = (process / "ns/mnt").readlink()
        except OSError:  # it has ended
            continue
        if namespace not in seen:
            seen.add(namespace)
            yield process


def _mounts_of(process: Path) -> Iterator[tuple[int, str]]:
    try:
        text = (process / "mountinfo").read_bytes().decode(errors="surrogateescape")
    except OSError:
        return
    for line in text.split("\n")[:-1]:  # a container's names may have any other end of a line in them
        fields = line.split(" ", 5)
        major, _, minor = fields[2].partition(":")
        yield os.makedev(int(major), int(minor)), fields[4]
