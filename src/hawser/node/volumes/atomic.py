"""Files that change together: a directory whose contents are replaced in one rename.

User-visible names are symlinks into ``..data``, itself a symlink to a timestamped folder; changing what ``..data``
points to changes all files at once. Source: documentation of mounted ConfigMaps, "updated atomically".
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hawser.node.volumes import ownership

_DATA = "..data"


@dataclass(frozen=True, slots=True)
class File:
    """One file's contents and permission bits. uid: its owner, -1 leaves root."""

    data: bytes
    mode: int = 0o644
    uid: int = -1


def write(folder: Path, files: Mapping[str, File], group: int | None = None) -> bool:
    """Makes ``folder`` hold exactly these files (relative paths); whether anything changed.

    group: fsGroup: owns everything, and may read what the owner may read. Raises ValueError for a path that leaves
    the folder, OSError.
    """
    for name in files:
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or parts[0].startswith(".."):
            raise ValueError(f"invalid path: {name}")
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / _DATA
    old = str(link.readlink()) if link.is_symlink() else ""
    if old and _holds(folder / old, files):
        return False
    fresh = f"..{time.strftime('%Y_%m_%d_%H_%M_%S', time.gmtime())}.{secrets.randbelow(10**10):010}"
    for name, file in files.items():
        _put(folder / fresh / name, file)
    (folder / fresh).mkdir(exist_ok=True)
    (folder / fresh).chmod(0o755)
    if group is not None:
        ownership.own(folder / fresh, group, readonly=True)
        os.chown(folder, -1, group)
    staged = folder / "..data_tmp"
    staged.unlink(missing_ok=True)
    staged.symlink_to(fresh)
    staged.rename(link)
    tops = {name.split("/")[0] for name in files}
    for top in tops:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(f"{_DATA}/{top}")
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
        elif entry.name.startswith("..") and entry.name not in (_DATA, fresh):
            # Also what an agent left that was killed half-way.
            shutil.rmtree(entry, ignore_errors=True)
    return True


def _put(path: Path, file: File) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.data)
    path.chmod(file.mode)
    if file.uid >= 0:
        os.chown(path, file.uid, -1)


def _holds(folder: Path, files: Mapping[str, File]) -> bool:
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} if folder.is_dir() else None
    if there is None or there != set(files):
        return False
    return all((folder / name).read_bytes() == file.data for name, file in files.items())
