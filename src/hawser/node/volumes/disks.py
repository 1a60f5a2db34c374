"""Local volumes that are files with a file system in them: disks of a size of their own, which can grow.

A PersistentVolume of type local says so by a path that is a file, and its ``fsType``. Growing is for ext4.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hawser.api.types import Obj
from hawser.node.volumes import commands
from hawser.node.volumes.errors import InUse, VolumeError

OPTIONS = ("loop", "discard")
"""Of mounts of disks; discard: what is deleted on it is the node's again."""

# Of ext4's superblock, which lies at 1024: blocks (low), their size, the magic number, blocks (high). Source: the
# kernel's Documentation/filesystems/ext4.
_SUPERBLOCK, _MAGIC = struct.Struct("<4xI16xI28xH278xI"), 0xEF53
_SYS_RESOURCE = 24


def is_disk(row: Obj) -> bool:
    """Whether a PersistentVolume is a disk."""
    source = row["spec"].get("local") or {}
    return bool(source.get("fsType")) and Path(source["path"]).is_file()


def open_to_all(target: Path) -> None:
    """Makes a mounted disk that nobody has used yet empty, and anybody's to write to, as folders of a class are."""
    lost = target / "lost+found"
    if [*target.iterdir()] == [lost] and not any(lost.iterdir()):
        target.chmod(0o777)
    # Each check of the file system makes it anew. What has been found is somebody's.
    with suppress(OSError):
        lost.rmdir()


def grow(target: Path) -> None:
    """Makes the file system of a disk that is mounted there as large as its file. Waits for commands.

    Raises VolumeError, OSError; InUse where the node may not do this while it is mounted.
    """
    number = target.stat().st_dev
    loop = Path("/dev", Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve().name)
    for command in (["losetup", "--set-capacity", str(loop)], ["resize2fs", str(loop)]):
        if problem := commands.run(command):
            text = f"resize of device {loop} failed: {problem}"
            if _may_in_use():
                raise VolumeError(text)
            raise InUse(f"{text}\nThis node has no CAP_SYS_RESOURCE: the volume grows when the next pod mounts it.")


@contextmanager
def held(disk: Path) -> Iterator[int]:
    """The time in which nobody else makes or resizes what is on a disk; the descriptor of the lock. Raises OSError.

    Commands that have it, too, hold it for as long as they run: they do so even when the agent is killed, and what they
    write must be whole before the next one looks.
    """
    with disk.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def grow_unused(disk: Path, lock: int) -> None:
    """Makes the file system of a disk as large as its file, if it is not mounted. Waits for commands.

    lock: of the disk, which is held. Raises VolumeError, OSError.
    """
    with disk.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(1024)
        head = file.read(_SUPERBLOCK.size)
    if len(head) < _SUPERBLOCK.size:
        return
    low, scale, magic, high = _SUPERBLOCK.unpack(head)
    if magic != _MAGIC or ((high << 32) + low + 1) * (1024 << scale) > size or _is_mounted(disk):
        return
    problem = commands.run(["e2fsck", "-f", "-p", str(disk)], lock=lock)
    # 1: what was wrong has been put right (e2fsck(8)).
    if not problem or problem.startswith("exit status 1\n"):
        problem = commands.run(["resize2fs", str(disk)], lock=lock)
    if problem:
        raise VolumeError(f'resize of disk "{disk}" failed: {problem}')


def _is_mounted(disk: Path) -> bool:
    found = subprocess.run(["losetup", "-n", "-O", "NAME", "-j", str(disk)], capture_output=True, check=False)
    return bool(found.stdout.strip())


def _may_in_use() -> bool:
    """Whether this process may resize file systems that are mounted (CAP_SYS_RESOURCE, capabilities(7))."""
    words = Path("/proc/self/status").read_text().split()
    return bool(int(words[words.index("CapEff:") + 1], 16) >> _SYS_RESOURCE & 1)
