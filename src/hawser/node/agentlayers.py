"""The files of operation agents' images where nothing may be mounted on the node: on other clusters than the engine's.

hawser-runtime is told of the image's layers, as containerd has them unpacked, and each container mounts them itself,
above a skeleton of directories for what a program expects around it. The mount ends with its container. That the
layers stay so long is containerd's business: a view of the image, which is given up once no container has it.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from hawser.api.types import Obj
from hawser.node.agentimages import STARTING_SECONDS, make_skeleton, of_namespaces, view_key
from hawser.node.agentpulls import AgentPulls
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError, Unimplemented
from hawser.node.cri.snapshots import MountStep
from hawser.node.cri.views import ImageViews
from hawser.node.images.manager import Images
from hawser.node.images.records import PullRecords
from hawser.rich.profiles.merge import ProfileError
from hawser.runtime.install import STATE

FOLDER = Path(STATE, "agents")
_OPTIONS = 3900  # bytes of a mount's options, less than a page


class AgentLayers:
    """Images of agents on one node, by containerd. folder: for what is known of them, at the same place on the node."""

    def __init__(self, runtime: Runtime, folder: Path = FOLDER) -> None:
        self._pulls = AgentPulls(Images(runtime, PullRecords(folder / "pulls")))
        self._views = ImageViews(runtime)
        self._folder = folder
        self._lock = asyncio.Lock()

    async def files(self, image: str, policy: str) -> Obj:
        """The directories of an image's layers on the node, the topmost first. Raises ProfileError."""
        found = await self._pulls.get(image, policy)
        name = found.id.rpartition(":")[2]
        async with self._lock:
            try:
                make_skeleton(self._folder / "skeleton")
                layers = _layers(await self._views.view(view_key(name), found.id))
                (self._folder / "used").mkdir(exist_ok=True)
                note = self._folder / f"{name}.new"
                note.write_text(layers[0])
                note.replace(self._folder / "used" / name)
            except Unimplemented:
                raise ProfileError("the container runtime does not say where images' files are") from None
            except (CRIError, KeyError, ValueError, OSError) as error:
                raise ProfileError(f"image {image} can not be mounted: {error}") from error
        layers.append(str(self._folder / "skeleton"))
        if len(":".join(layers)) > _OPTIONS:
            raise ProfileError(f"image {image} has more layers than can be mounted at once")
        return {"layers": layers}

    async def tidy(self) -> None:
        """Gives up what no container has had for a while. Raises CRIError and OSError."""
        async with self._lock:
            before = time.time() - STARTING_SECONDS
            notes = [note for note in (self._folder / "used").glob("*") if note.stat().st_mtime < before]
            mounted = await asyncio.to_thread(_mounted) if notes else ""
            for note in notes:
                if note.read_text() not in mounted:
                    await self._views.remove(view_key(note.name))
                    note.unlink()

    async def close(self) -> None:
        """Ends pulls that are under way."""
        await self._pulls.close()


def _layers(steps: list[MountStep]) -> list[str]:
    """The directories that a read-only view is made of. Raises ValueError for one of another kind."""
    (step,) = steps
    if step.kind == "bind":
        return [step.source]
    lower = next((option.partition("=")[2] for option in step.options if option.startswith("lowerdir=")), "")
    if step.kind != "overlay" or not lower:
        raise ValueError(f"its files are a {step.kind}, not an overlay's")
    return lower.split(":")


def _mounted() -> str:
    """What is mounted in any namespace, as the kernel tells it."""
    found = []
    for process in of_namespaces():
        try:
            found.append((process / "mountinfo").read_bytes().decode(errors="replace"))
        except OSError:  # it has ended
            continue
    return os.linesep.join(found)
