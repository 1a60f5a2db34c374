"""A container's changes as a layer of an image: a tar file, the same bytes for the same changes.

Source: the OCI image specification, layer.md (whiteouts, extended attributes as libarchive and GNU tar write them).
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable
from typing import IO

from hawser.node.writable.changes import Change, Kind, attributes
from hawser.node.writable.place import NoOverlay


def write(destination: IO[bytes], changes: Iterable[Change]) -> None:
    """Writes the layer. Sockets are left out: no image has any. Raises OSError; NoOverlay for a metacopy."""
    linked: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=destination, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for change in changes:
            if change.info is None:
                tar.addfile(_whiteout(change.path))
            else:
                _add(tar, change, change.info, linked)


def _whiteout(path: str) -> tarfile.TarInfo:
    folder, _, name = path.rpartition("/")
    info = tarfile.TarInfo(f"{folder}/.wh.{name}" if folder else f".wh.{name}")
    info.mode = 0o644
    return info


def _add(tar: tarfile.TarFile, change: Change, info: os.stat_result, linked: dict[tuple[int, int], str]) -> None:
    made = tarfile.TarInfo(change.path)
    made.mode, made.uid, made.gid = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
    made.mtime = info.st_mtime_ns // 1_000_000_000
    mode = info.st_mode
    if stat.S_ISREG(mode):
        _regular(tar, change, info, made, linked)
        return
    if stat.S_ISDIR(mode):
        made.type = tarfile.DIRTYPE
        descriptor = os.open(change.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=change.folder)
        try:
            made.pax_headers = _attributes(descriptor)
        finally:
            os.close(descriptor)
    elif stat.S_ISLNK(mode):
        made.type, made.linkname = tarfile.SYMTYPE, os.readlink(change.name, dir_fd=change.folder)
    elif stat.S_ISFIFO(mode):
        made.type = tarfile.FIFOTYPE
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        made.type = tarfile.CHRTYPE if stat.S_ISCHR(mode) else tarfile.BLKTYPE
        made.devmajor, made.devminor = os.major(info.st_rdev), os.minor(info.st_rdev)
    else:
        return
    tar.addfile(made)


def _regular(
    tar: tarfile.TarFile,
    change: Change,
    info: os.stat_result,
    made: tarfile.TarInfo,
    linked: dict[tuple[int, int], str],
) -> None:
    key = (info.st_dev, info.st_ino)
    if info.st_nlink > 1 and key in linked:
        made.type, made.linkname = tarfile.LNKTYPE, linked[key]
        tar.addfile(made)
        return
    linked[key] = change.path
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(change.name, flags, dir_fd=change.folder), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return
        made.pax_headers = _attributes(file.fileno())
        if any(name.endswith(".overlay.metacopy") for name in os.listxattr(file.fileno())):
            raise NoOverlay(f"/{change.path}: the node's overlayfs keeps only what changed of it (metacopy)")
        made.size = info.st_size
        tar.addfile(made, _Exactly(file, info.st_size))


def _attributes(descriptor: int) -> dict[str, str]:
    found = attributes(descriptor).items()
    return {f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape") for name, value in found}


class _Exactly:
    """So many bytes of a file that a container may be cutting off meanwhile; what is missing is zero."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int = -1) -> bytes:
        size = self._left if size < 0 else min(size, self._left)
        data = self._file.read(size)
        self._left -= size
        return data + bytes(size - len(data))


def document(changes: Iterable[Change]) -> dict[str, object]:
    """The changes as JSON: a list, and what they come to."""
    rows = []
    totals = dict.fromkeys(map(str, Kind), 0)
    size = 0
    for change in changes:
        info = change.info
        content = info.st_size if info is not None and stat.S_ISREG(info.st_mode) else 0
        row: dict[str, object] = {"path": "/" + change.path, "kind": str(change.kind), "before": change.before}
        if info is not None:
            row |= {"type": _type(info.st_mode), "mode": f"{stat.S_IMODE(info.st_mode):04o}", "size": content}
            row |= {"uid": info.st_uid, "gid": info.st_gid, "mtime": info.st_mtime_ns // 1_000_000_000}
        rows.append(row)
        totals[change.kind] += 1
        size += content
    return {"changes": rows, **totals, "bytes": size}


def _type(mode: int) -> str:
    kinds = {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "directory",
        stat.S_IFLNK: "link",
        stat.S_IFIFO: "pipe",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
    }
    return kinds[stat.S_IFMT(mode)]
