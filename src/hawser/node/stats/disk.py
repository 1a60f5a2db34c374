"""How full file systems are, and how much folders hold."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from hawser import threads

_PATIENCE = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system in bytes and inodes; used: of whom is asked about, which may be less than all of it."""

    capacity: int
    available: int
    used: int
    inodes: int
    inodes_free: int
    inodes_used: int

    def holding(self, size: int, inodes: int) -> Disk:
        """The same file system, with what somebody uses of it."""
        return Disk(self.capacity, self.available, size, self.inodes, self.inodes_free, inodes)


def disk(path: Path) -> Disk | None:
    """The file system that a path is on (statvfs(3)); None when the path is gone."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    size = found.f_frsize
    return Disk(
        found.f_blocks * size,
        found.f_bavail * size,
        (found.f_blocks - found.f_bfree) * size,
        found.f_files,
        found.f_ffree,
        found.f_files - found.f_ffree,
    )


class Served:
    """File systems that somebody else serves, who may not answer: then nobody waits long, and it is asked once only."""

    def __init__(self, patience: float = _PATIENCE) -> None:
        self._patience = patience
        self._asked: dict[str, asyncio.Future[Disk | None]] = {}

    async def disk(self, folder: str) -> Disk | None:
        """What ``disk`` says; None also when that takes too long."""
        answer = self._asked.get(folder)
        if answer is None:
            answer = self._asked[folder] = threads.begin(lambda: disk(Path(folder)), f"statvfs {folder}")
            answer.add_done_callback(lambda _: self._asked.pop(folder, None))
        await asyncio.wait([answer], timeout=self._patience)
        return answer.result() if answer.done() else None

    async def disks(self, folders: Collection[str]) -> dict[str, Disk | None]:
        """The same of several by their folders, all at once."""
        return dict(zip(folders, await asyncio.gather(*map(self.disk, folders)), strict=True))


def usage(folder: Path) -> tuple[int, int]:
    """Bytes on disk and inodes of a folder and all below it on the same device; what has several names counts once."""
    size = count = 0
    seen: set[int] = set()
    stack = [str(folder)]
    try:
        top = os.lstat(folder)
    except OSError:
        return 0, 0
    size, count = top.st_blocks * 512, 1
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if found.st_dev != top.st_dev or found.st_ino in seen:
                        continue
                    if found.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                        seen.add(found.st_ino)
                    size += found.st_blocks * 512
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
        except OSError:
            # It is written to meanwhile: what has gone is not counted.
            continue
    return size, count
