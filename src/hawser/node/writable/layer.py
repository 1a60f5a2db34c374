"""A container's changes as a layer of an image: a tar file, the same bytes for the same changes.

Source: the OCI image specification, layer.md (whiteouts, extended attributes as libarchive and GNU tar write them).
"""

from __future__ import annotations

import json
import os
import stat
import tarfile
from collections.abc import Iterable
from typing import IO, Any

from hawser.node.writable.changes import Change, Kind, attributes, open_file, vanished
from hawser.node.writable.names import shown
from hawser.node.writable.place import NoOverlay, Place

_WHITEOUT = ".wh."


def write(destination: IO[bytes], changes: Iterable[Change], own: str = Place.attributes) -> None:
    """Writes the layer. Sockets are left out: no image has any. What is gone by the time it is written is, too.

    own: what the names of overlayfs' extended attributes begin with. Raises OSError; NoOverlay for a metacopy, and for
    a name that means something else in an image.
    """
    linked: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=destination, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for change in changes:
            if change.info is None:
                tar.addfile(_whiteout(change.path))
                continue
            if change.name.startswith(_WHITEOUT):
                why = "in an image that name means a file that was deleted: leave it out, or rename it"
                raise NoOverlay(f"/{shown(change.path)}: {why}")
            try:
                _add(tar, change, change.info, linked, own)
            except OSError as error:
                if not vanished(error):
                    raise


def _whiteout(path: str) -> tarfile.TarInfo:
    folder, _, name = path.rpartition("/")
    info = tarfile.TarInfo(f"{folder}/{_WHITEOUT}{name}" if folder else _WHITEOUT + name)
    info.mode = 0o644
    return info


def _add(
    tar: tarfile.TarFile, change: Change, info: os.stat_result, linked: dict[tuple[int, int], str], own: str
) -> None:
    mode = info.st_mode
    if stat.S_ISREG(mode):
        descriptor = open_file(change.name, change.folder, info)
        with os.fdopen(descriptor, "rb") as file:
            _regular(tar, change, os.fstat(descriptor), file, linked, own)
        return
    made = _described(change, info)
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


def _described(change: Change, info: os.stat_result) -> tarfile.TarInfo:
    made = tarfile.TarInfo(change.path)
    made.mode, made.uid, made.gid = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
    made.mtime = info.st_mtime_ns // 1_000_000_000
    return made


def _regular(
    tar: tarfile.TarFile,
    change: Change,
    info: os.stat_result,
    file: IO[bytes],
    linked: dict[tuple[int, int], str],
    own: str,
) -> None:
    made, key = _described(change, info), (info.st_dev, info.st_ino)
    if info.st_nlink > 1 and key in linked:
        made.type, made.linkname = tarfile.LNKTYPE, linked[key]
        tar.addfile(made)
        return
    if own + "metacopy" in os.listxattr(file.fileno()):
        raise NoOverlay(f"/{shown(change.path)}: the node's overlayfs keeps only what changed of it (metacopy)")
    made.pax_headers = _attributes(file.fileno())
    made.size = info.st_size
    tar.addfile(made, _Exactly(file, info.st_size))
    if info.st_nlink > 1:
        linked[key] = change.path


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


def tell(destination: IO[str], image: str, changes: Iterable[Change]) -> None:
    """Writes the changes as JSON, as they come: a container may have made millions. At the end, what they come to."""
    totals = dict.fromkeys(map(str, Kind), 0)
    size = 0
    destination.write(f'{{"image": {json.dumps(image)}, "changes": [')
    for number, change in enumerate(changes):
        row = described(change)
        destination.write(("," if number else "") + json.dumps(row))
        totals[change.kind] += 1
        size += row.get("size", 0)
    destination.write("], " + json.dumps({**totals, "bytes": size})[1:])


def described(change: Change) -> dict[str, Any]:
    """One change as JSON has it; bytes of a name that are no UTF-8 are lone surrogates."""
    info = change.info
    row: dict[str, Any] = {"path": "/" + change.path, "kind": str(change.kind), "before": change.before}
    if info is not None:
        content = info.st_size if stat.S_ISREG(info.st_mode) else 0
        row |= {"type": _type(info.st_mode), "mode": f"{stat.S_IMODE(info.st_mode):04o}", "size": content}
        row |= {"uid": info.st_uid, "gid": info.st_gid, "mtime": info.st_mtime_ns // 1_000_000_000}
    return row


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
