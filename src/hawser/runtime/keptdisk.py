# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH103, PTH104, PTH108, PTH110, PTH118, PTH123, PTH202, PTH208
"""The limit of a kept root file system: its writable layer lies in a file system of that size, in a sparse file.

So a container that writes more gets ENOSPC, as on a machine whose disk is full, whatever file system the node has:
project quotas (as PouchContainer's and the kubelet's are) need xfs or ext4 mounted with `prjquota`, which few nodes
have. The price: about 0.1 s at the first start, a loop device, and what ext4 needs for itself, which comes on top.

    PLACE/disk.ext4       the file system
          space           where it is mounted while a container runs: upper, work
          previous.ext4   that of the image before
"""

from __future__ import annotations

import os
import time

from . import spawn
from .edited import EditError
from .light import suppress

DISK, SPACE, PREVIOUS = "disk.ext4", "space", "previous.ext4"
_MAKE = (
    *("mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", "-i", "8192"),
    *("-J", "size=4", "-E", "nodiscard,root_owner=0:0"),
)
_OPTIONS = "loop,noatime,discard"  # discard: what is deleted inside is the node's again
_MEBIBYTE = 1 << 20
_LOOKS, _LOOK_SECONDS = 20, 0.1


def attach(place: str, limit: int) -> str:
    """Mounts the file system of a kept layer, made or resized if need be; where, "" when the layer has none.

    limit: bytes, 0 for what it had before. A layer that was begun without a limit has none, nor has one on a node that
    can not make or mount it: that is measured instead. Raises EditError for one that is there and can not be had.
    """
    disk, space = os.path.join(place, DISK), os.path.join(place, SPACE)
    detach(space)
    if os.path.ismount(space):
        return space  # somebody still looks at it
    wanted = limit + limit // 24 + 7 * _MEBIBYTE  # with the journal and the inodes of ext4, to a hundredth
    there = os.path.exists(disk)
    if there and limit and os.path.getsize(disk) != wanted:
        _resize(disk, wanted, limit)
    elif not there and (not limit or os.path.exists(os.path.join(place, "upper")) or not _make(disk, wanted)):
        return ""
    os.makedirs(space, mode=0o700, exist_ok=True)
    code, told = _run(["mount", "-t", "ext4", "-o", _OPTIONS, disk, space])
    if not code:
        return space
    if not there:
        os.unlink(disk)
        return ""
    raise EditError(f"rootfs: keep: {disk} can not be mounted: {told}")


def detach(space: str) -> None:
    """Unmounts a layer's file system, if it is mounted and nobody uses it."""
    if os.path.ismount(space):
        spawn.run(["umount", space], quiet=True)


def put_aside(place: str) -> None:
    """Keeps a layer's file system as that of the image before. Raises EditError while it is used."""
    space = os.path.join(place, SPACE)
    detach(space)
    if os.path.ismount(space):
        raise EditError(f"rootfs: keep: {space} is still used, and the image is another one now")
    with suppress(FileNotFoundError):
        os.rename(os.path.join(place, DISK), os.path.join(place, PREVIOUS))


def _make(disk: str, size: int) -> bool:
    _truncate(disk + ".new", size)
    code, _ = _run([*_MAKE, disk + ".new"])
    if code:
        os.unlink(disk + ".new")
        return False
    os.rename(disk + ".new", disk)
    return True


def _resize(disk: str, size: int, limit: int) -> None:
    """To another limit: more room, or less, if all that is there has room in it."""
    if _attached(disk):
        # Unmounted here, but not yet in the last of the mount namespaces that were made meanwhile.
        raise EditError(f"rootfs: keep: {disk} is still used, and its size is to be another one now")
    grows = size > os.path.getsize(disk)
    code, told = _run(["e2fsck", "-f", "-p", disk])
    if code in (0, 1):  # nothing wrong, or put right
        if grows:
            _truncate(disk, size)
        code, told = _run(["resize2fs", disk, f"{size // 1024}K"])
        if not code and not grows:
            _truncate(disk, size)
    if code:
        raise EditError(f"rootfs: keep: what is kept can not be had in rootfs-size {limit}: {told}")


def _attached(disk: str) -> bool:
    """Whether a file is behind a loop device, that is mounted somewhere; waits a moment for that to end."""
    disk = os.path.realpath(disk)
    for last in [False] * _LOOKS + [True]:
        for name in os.listdir("/sys/block"):
            if name.startswith("loop") and _content(f"/sys/block/{name}/loop/backing_file") == disk:
                break
        else:
            return False
        if not last:
            time.sleep(_LOOK_SECONDS)
    return True


def _content(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _truncate(path: str, size: int) -> None:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.ftruncate(file, size)
    finally:
        os.close(file)


def _run(words: list[str]) -> tuple[int, str]:
    """The code of a program, and what it complains of; 127 when there is no such program."""
    # Of a shell, as util-linux and e2fsprogs may be where a container runtime's own PATH does not lead.
    path = "PATH=$PATH:/usr/sbin:/sbin:/usr/bin:/bin"
    code, told = spawn.read(["/bin/sh", "-c", path + '; exec "$0" "$@"', *words], stream=2)
    return code, " ".join(told.decode("utf-8", "replace").split())
