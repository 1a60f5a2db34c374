"""The images every engine has: made locally and imported once, so that nothing depends on a registry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from hawser.cli.engine.settings import Settings
from hawser.cli.images import local
from hawser.cli.images.importer import ImportFailed, import_archive
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError, Unavailable

_BUILD: dict[str, Callable[[Path], Path]] = {local.PAUSE: local.build_pause, local.BUSYBOX: local.build_busybox}


class RuntimeNotReady(Exception):
    """The container runtime does not answer yet, or refuses; the text says how."""


def containerd_socket(engine: Settings) -> Path:
    """The socket that ctr talks to."""
    return Path(engine.cri_endpoint.removeprefix("unix://"))


async def ensure(engine: Settings) -> None:
    """Imports the base images that are missing. Raises RuntimeNotReady; LocalImageError when the host lacks a part."""
    try:
        async with Runtime(engine.cri_endpoint) as runtime:
            missing = [name for name in _BUILD if await runtime.image_status(name) is None]
    except Unavailable as e:
        raise RuntimeNotReady(f"containerd does not answer at {engine.cri_endpoint}: {e.text}") from None
    except CRIError as e:
        raise RuntimeNotReady(e.text) from None
    for name in missing:
        archive = await asyncio.to_thread(_BUILD[name], engine.data_dir / "images")
        try:
            await asyncio.to_thread(import_archive, archive, containerd_socket(engine))
        except ImportFailed as e:
            raise RuntimeNotReady(str(e)) from None


async def has(engine: Settings, name: str) -> bool:
    """Whether the runtime has an image of this name."""
    async with Runtime(engine.cri_endpoint) as runtime:
        return await runtime.image_status(name) is not None
