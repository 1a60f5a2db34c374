"""subPath: a part of a volume, held by a bind mount so that no symlink can lead a container out of it later.

Source: Kubernetes documentation, "Using subPath"; the layout below the pod's folder and the words are kubelet's.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from hawser.node.pod.env import ConfigError
from hawser.node.volumes import beneath, mounts

_FOLDER = "volume-subpaths"


def check(path: str) -> None:
    """Raises ConfigError for a path that no volume can have."""
    if path.startswith("/"):
        raise ConfigError(f"error SubPath `{path}` must not be an absolute path")
    if ".." in path.split("/"):
        raise ConfigError(f"unable to provision SubPath `{path}`: must not contain '..'")


def prepare(folder: Path, volume: Path, path: str, mount: str, container: str, index: int) -> Path:
    """Binds ``path`` of a volume to a place of its own below the pod's ``folder``; that place.

    mount: the volume's name. index: of the container's volumeMount. A missing path is made as a folder with the
    volume's mode. Raises ConfigError; what exactly is wrong concerns the node, not its users.
    """
    check(path)
    try:
        if not (volume / path).exists():
            beneath.make_folders(volume, path, stat.S_IMODE(volume.stat().st_mode))
    except OSError:
        text = f'failed to create subPath directory for volumeMount "{mount}" of container "{container}"'
        raise ConfigError(text) from None
    target = folder / _FOLDER / mount / container / str(index)
    try:
        source = beneath.open_below(volume, path, os.O_PATH)
        try:
            _bind(source, target)
        finally:
            os.close(source)
    except OSError:
        text = f'failed to prepare subPath for volumeMount "{mount}" of container "{container}"'
        raise ConfigError(text) from None
    return target


def _bind(source: int, target: Path) -> None:
    seen = os.fstat(source)
    with contextlib.suppress(FileNotFoundError):
        there = target.lstat()
        if mounts.is_mounted(target):
            if (there.st_dev, there.st_ino) == (seen.st_dev, seen.st_ino):
                return
            # A container that starts again gets what the path means now.
            mounts.unmount(target)
        _clear(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISDIR(seen.st_mode):
        target.mkdir()
    else:
        target.touch()
    mounts.bind(f"/proc/self/fd/{source}", target)


def _clear(target: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if target.is_dir():
            target.rmdir()
        else:
            target.unlink()
