"""The files of operation agents' images on this node: each image mounted once, read-only, for all containers.

Under it lies a skeleton of directories, where hawser-runtime mounts what a program expects around it. A mount stays as
long as the node has the image's view: containers that run use its layers.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError, Unimplemented
from hawser.node.cri.model import Image
from hawser.node.cri.views import ImageViews
from hawser.node.images.manager import ImageError, Images
from hawser.node.volumes import mounts
from hawser.node.volumes.images import mount_step
from hawser.rich.profiles.merge import ProfileError

_FOLDERS = ("dev", "proc", "run", "sys", "tmp")
_DEVICES = ("null", "zero", "full", "random", "urandom")


class AgentImages:
    """Mounts images of agents below a folder of the node."""

    def __init__(self, runtime: Runtime, images: Images, folder: Path) -> None:
        self._views = ImageViews(runtime)
        self._images = images
        self._folder = folder
        self._pulls: dict[tuple[str, str], asyncio.Task[Image]] = {}
        self._lock = asyncio.Lock()

    async def root(self, image: str, policy: str) -> Path:
        """A read-only directory with an image's files. A pull goes on when nobody waits for it any more. Raises
        ProfileError."""
        found = await asyncio.shield(self._pull(image, policy))
        name = found.id.rpartition(":")[2]
        place = self._folder / name
        async with self._lock:
            try:
                await self._mount(place, f"hawser-agent-image-{name}", found)
            except Unimplemented:
                raise ProfileError("the container runtime does not say where images' files are") from None
            except (CRIError, KeyError, ValueError, OSError) as error:
                raise ProfileError(f"image {image} can not be mounted: {error}") from error
        return place / "root"

    def _pull(self, image: str, policy: str) -> asyncio.Task[Image]:
        key = (image, policy)
        if key not in self._pulls:
            self._pulls[key] = asyncio.create_task(self._ensure(image, policy), name=f"agent image {image}")
            self._pulls[key].add_done_callback(lambda task: self._done(key, task))
        return self._pulls[key]

    def _done(self, key: tuple[str, str], task: asyncio.Task[Image]) -> None:
        del self._pulls[key]
        if not task.cancelled():
            task.exception()  # whoever waits has it; when nobody does, it is not unheard of

    async def _ensure(self, image: str, policy: str) -> Image:
        try:
            return await self._images.ensure(image, policy, (), lambda *_: None)
        except ImageError as error:
            raise ProfileError(f"{error.reason}: {error.message}") from error
        except CRIError as error:
            raise ProfileError(error.text) from error

    async def _mount(self, place: Path, key: str, image: Image) -> None:
        files, skeleton, root = place / "image", place / "skeleton", place / "root"
        if mounts.is_mounted(root):
            return
        for folder in (files, root, *(skeleton / name for name in _FOLDERS)):
            folder.mkdir(parents=True, exist_ok=True)
        for name in _DEVICES:
            (skeleton / "dev" / name).touch()
        if not mounts.is_mounted(files):
            for step in await self._views.view(key, image.id):
                mount_step(files, step)
        mounts.mount("overlay", root, "overlay", mounts.RDONLY, f"lowerdir={files}:{skeleton}")

    async def close(self) -> None:
        """Ends pulls that are under way; mounts stay, as containers do."""
        tasks = list(self._pulls.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
