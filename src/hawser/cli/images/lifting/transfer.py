"""A machine's files on their way into a layer: a tar stream in, a tar stream out, nothing kept in between.

Source: pax(1) for extended headers, tar(5) and GNU tar's manual ("PAX 1.0" sparse files), the OCI image
specification's layer.md. Owners are numbers, times and modes stay, extended attributes are those that mean something
on another machine: file capabilities, ACLs and users' own.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from typing import IO, Protocol, cast

from hawser.cli.images.lifting.selection import Selection
from hawser.cli.images.lifting.survey import Captured, Survey

_BLOCK = 512
_CHUNK = 1 << 20
_LARGE_HOLE = 1 << 30
_XATTR = "SCHILY.xattr."
_KEPT_XATTRS = (_XATTR + "user.", _XATTR + "security.capability", _XATTR + "system.posix_acl_")
_EVERY = 8 << 20  # bytes between two reports of progress

Progress = Callable[[str], None]


class TransferError(Exception):
    """The stream of files broke off or is none."""


class Sink(Protocol):
    """Where a layer's bytes go."""

    def write(self, data: bytes, /) -> object:
        """Takes the next bytes."""


def transfer(
    stream: IO[bytes], sink: Sink | None, selection: Selection, progress: Progress = lambda _line: None
) -> Survey:
    """Copies what is selected of a tar stream (plain, gzip, bzip2 or xz) to `sink`, and tells what passed.

    Without a sink only the survey is made. Raises TransferError.
    """
    survey = Survey()
    reported = 0
    try:
        with tarfile.open(fileobj=stream, mode="r|*", encoding="utf-8", errors="surrogateescape") as tar:
            names: list[tarfile.TarInfo] = tar.members  # type: ignore[attr-defined]
            while (member := tar.next()) is not None:
                _member(tar, member, sink, selection, survey)
                names.clear()  # else a machine's million names stay in memory
                if survey.total - reported >= _EVERY:
                    reported = survey.total
                    progress(f"{survey.total >> 20} MiB, {survey.count} files: /{printable(member.name)}")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise TransferError(f"not a whole tar stream: {error}") from None
    if sink is not None:
        sink.write(bytes(2 * _BLOCK))
    return survey


def printable(path: str) -> str:
    """A path from the root that can be shown and encoded, whatever its bytes."""
    return clean_path(path).encode(errors="surrogateescape").decode(errors="replace")


def clean_path(name: str) -> str:
    """A member's name as a path from the root: no leading `/` or `./`. Raises TransferError for `..`."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise TransferError(f'"{name}" points out of the root')
    return "/".join(parts)


def _member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, sink: Sink | None, selection: Selection, survey: Survey
) -> None:
    path = clean_path(member.name)
    if not path:
        return
    if rule := selection.left_out(path):
        survey.left_out[rule] += 1
        return
    if member.ischr() or member.isblk():
        survey.devices += 1
        return
    if path.rpartition("/")[2].startswith(".wh."):
        survey.notes.append(f"/{printable(path)} is left out: in a layer, its name means that a file is removed")
        return
    if member.islnk():
        target = clean_path(member.linkname)
        if selection.left_out(target):
            survey.notes.append(f"/{printable(path)} is left out: it is a hard link to /{printable(target)}")
            return
        member.linkname = target
    data = _note(tar, member, path, survey)
    if sink is not None:
        _write(tar, member, path, data, sink)


def _note(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, survey: Survey) -> bytes | None:
    """Tells the survey; returns the content if it had to be read, which works once."""
    if member.isdir():
        survey.directory(path)
    elif member.issym():
        survey.link(path, member.linkname)
    elif member.isreg():
        holes = member.sparse is not None
        if holes and member.size >= _LARGE_HOLE:
            survey.sparse[path] = member.size
        survey.file(path, sum(length for _, length in _segments(member)) if holes else member.size)
        if not holes and survey.wants(path, member.size):
            file = tar.extractfile(member)
            content = file.read() if file else b""
            survey.files[path] = Captured(content, member.mode & 0o7777, member.uid, member.gid)
            return content
    return None


def _segments(member: tarfile.TarInfo) -> list[tuple[int, int]]:
    return [*cast(list[tuple[int, int]], member.sparse or [])]


def header(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    """A member's header as the layer has it."""
    info = tarfile.TarInfo(path)
    info.type = tarfile.REGTYPE if member.isreg() else member.type
    info.mode, info.uid, info.gid = member.mode & 0o7777, member.uid, member.gid
    info.mtime, info.linkname = member.mtime, member.linkname if member.islnk() or member.issym() else ""
    info.size = member.size if member.isreg() else 0
    kept = {key: value for key, value in member.pax_headers.items() if key.startswith(_KEPT_XATTRS)}
    if "mtime" in member.pax_headers:
        kept["mtime"] = member.pax_headers["mtime"]  # to the nanosecond, which a float is too coarse for
    info.pax_headers = dict(sorted(kept.items()))
    return info


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, data: bytes | None, sink: Sink) -> None:
    info = header(member, path)
    if not member.isreg():
        sink.write(_bytes(info))
        return
    if data is not None:
        sink.write(_bytes(info) + data + bytes(-len(data) % _BLOCK))
        return
    if member.sparse is None:
        sink.write(_bytes(info))
        file = tar.extractfile(member)
        assert file is not None  # a regular file has one
        _copy(file, member.size, sink)
        sink.write(bytes(-member.size % _BLOCK))
        return
    segments = _segments(member)
    listed = "".join(f"{number}\n" for number in (len(segments), *(n for segment in segments for n in segment)))
    table = listed.encode() + bytes(-len(listed) % _BLOCK)
    info.pax_headers = {
        **info.pax_headers,
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": path,
        "GNU.sparse.realsize": str(member.size),
    }
    parent, _, name = path.rpartition("/")
    info.name = f"{parent}/GNUSparseFile.0/{name}".lstrip("/")
    info.size = len(table) + sum(length for _, length in segments)
    sink.write(_bytes(info) + table)
    # A stream can not seek, so the reader of sparse files does not work on it; the data lie there in one piece.
    stream = cast(IO[bytes], tar.fileobj)
    stream.seek(member.offset_data)
    _copy(stream, sum(length for _, length in segments), sink)
    sink.write(bytes(-info.size % _BLOCK))


def _bytes(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _copy(file: IO[bytes], size: int, sink: Sink) -> None:
    while size:
        data = file.read(min(size, _CHUNK))
        if not data:
            raise TransferError("the stream ends within a file")
        sink.write(data)
        size -= len(data)
