"""What changed in a container since its image: its writable layer, compared with the layers below.

A container may change its files while they are read here. So no path is ever followed: directories are opened one in
the other, without symbolic links, and nothing outside of the layers can be reached.

Source: the kernel's documentation of overlayfs (whiteouts, opaque directories, redirects, metacopy).
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum

from hawser.node.writable.names import shown
from hawser.node.writable.place import NoOverlay, Place

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20
_NODES = ("trusted.overlay.", "user.overlay.", "security.selinux")
_DEEPEST = 256  # directories one in the other: each takes a descriptor for every layer, and some of Python's stack
_CHANGED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL)  # EINVAL: of readlink(2), for what is no link


class Kind(StrEnum):
    """What happened to a file."""

    ADDED = "added"
    CHANGED = "changed"
    DELETED = "deleted"


@dataclass(frozen=True)
class Change:
    """One file. path: below the container's root; before: bytes of content that the image has there.

    folder: a descriptor of the directory that holds it in the writable layer, open while the change is looked at.
    """

    path: str
    kind: Kind
    info: os.stat_result | None
    before: int = 0
    folder: int = field(default=-1, compare=False, repr=False)

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def changes(place: Place, without: tuple[str, ...] = ()) -> Iterator[Change]:
    """The changes, by path, directories ahead of what they hold.

    without: paths and patterns (fnmatch) of what is left out, with all below; what is mounted in the container always
    is. Raises NoOverlay where a directory of the image was renamed and the kernel only noted that, and for more
    directories one in the other than can be looked at; OSError.
    """
    with ExitStack() as stack:
        upper = _open(stack, place.upper)
        lowers = [_open(stack, path) for path in place.lowers]
        yield from _Walk(place, without).folder(upper, lowers, "", hides=False)


def vanished(error: OSError) -> bool:
    """Whether an error only says that the container has just changed what was to be read."""
    return error.errno in _CHANGED


def open_file(name: str, folder: int, info: os.stat_result) -> int:
    """A descriptor of a regular file that was seen in a directory. Raises FileNotFoundError if it is no more.

    The container may put a device in its place at any time, and opening one may do anything (a watchdog begins to
    count): so it is held first, looked at, and then opened.
    """
    held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        now = os.fstat(held)
        if not stat.S_ISREG(now.st_mode) or not os.path.samestat(now, info):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(held)


def _open(stack: ExitStack, path: str | int, at: int | None = None) -> int:
    descriptor = os.open(path, _OPEN_FOLDER, dir_fd=at) if isinstance(path, str) else path
    stack.callback(os.close, descriptor)
    return descriptor


class _Walk:
    def __init__(self, place: Place, without: tuple[str, ...]) -> None:
        patterns = [path.strip("/") for path in without]
        self._left_out = place.mounts | set(patterns)
        self._matches = re.compile("|".join(map(fnmatch.translate, patterns)) or r"(?!)").match
        self._own = place.attributes
        self._ways = {
            "/".join(parts[:n]) for path in place.mounts for parts in [path.split("/")] for n in range(1, len(parts))
        }

    def _is_out(self, path: str) -> bool:
        return path in self._left_out or self._matches(path) is not None

    def folder(self, upper: int, lowers: list[int], path: str, *, hides: bool) -> Iterator[Change]:
        """hides: nothing of the image shows through, in this directory or below."""
        if path.count("/") >= _DEEPEST:
            raise NoOverlay(f"/{shown(path[:200])}...: more than {_DEEPEST} directories one in the other")
        for name in sorted(os.listdir(upper)):
            here = f"{path}/{name}" if path else name
            if self._is_out(here):
                continue
            try:
                info = os.stat(name, dir_fd=upper, follow_symlinks=False)
                with ExitStack() as stack:
                    yield from self._entry(stack, upper, lowers, name, here, info, hides)
            except OSError as error:
                if not vanished(error):
                    raise

    def _entry(
        self,
        stack: ExitStack,
        upper: int,
        lowers: list[int],
        name: str,
        path: str,
        info: os.stat_result,
        hides: bool,
    ) -> Iterator[Change]:
        below, folders = self._visible(stack, lowers, name)
        if _is_whiteout(info):
            if below is not None:
                yield Change(path, Kind.DELETED, None, _size(below))
            return
        if not stat.S_ISDIR(info.st_mode):
            if below is None:
                yield Change(path, Kind.ADDED, info, folder=upper)
            elif self._differs(upper, folders.holder, name, info, below):
                yield Change(path, Kind.CHANGED, info, _size(below), folder=upper)
            return
        own = _open(stack, name, upper)
        hides = hides or self._opaque(own)
        if _attribute(own, self._own + "redirect"):
            raise NoOverlay(f"/{shown(path)} was renamed and the node's overlayfs only notes that (redirect_dir)")
        inside = self.folder(own, folders.all, path, hides=hides)
        if below is None:
            # The runtime makes the way to what it mounts: no change unless the container put something there.
            first = next(inside, None) if path in self._ways else None
            if first is not None or path not in self._ways:
                yield Change(path, Kind.ADDED, info, folder=upper)
            if first is not None:
                # Its descriptor is open until the next one is asked for.
                yield first
        elif _metadata(info) != _metadata(below) or attributes(own) != attributes(folders.all[0]):
            yield Change(path, Kind.CHANGED, info, _size(below), folder=upper)
        if hides:
            yield from self._gone(own, folders.all, path)
        yield from inside

    def _gone(self, own: int, lowers: list[int], path: str) -> Iterator[Change]:
        """What the image has in a directory that was made anew."""
        there = set(os.listdir(own))
        for name in sorted({name for folder in lowers for name in os.listdir(folder)} - there):  # noqa: PTH208
            with ExitStack() as stack:
                below, _ = self._visible(stack, lowers, name)
            if below is not None and not self._is_out(f"{path}/{name}"):
                yield Change(f"{path}/{name}", Kind.DELETED, None, _size(below))

    def _visible(self, stack: ExitStack, lowers: list[int], name: str) -> tuple[os.stat_result | None, _Folders]:
        """What the image shows under a name of a directory that is merged of these."""
        seen: os.stat_result | None = None
        folders = _Folders()
        for folder in lowers:
            try:
                info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if _is_whiteout(info):
                break
            if not stat.S_ISDIR(info.st_mode):
                if seen is None:
                    seen, folders.holder = info, folder
                break
            seen = seen or info
            folders.all.append(_open(stack, name, folder))
            if self._opaque(folders.all[-1]):
                break
        return seen, folders

    def _opaque(self, folder: int) -> bool:
        return _attribute(folder, self._own + "opaque") == b"y"

    def _differs(self, upper: int, holder: int, name: str, info: os.stat_result, below: os.stat_result) -> bool:
        if _metadata(info) != _metadata(below) or holder < 0:
            return True
        if stat.S_ISLNK(info.st_mode):
            return os.readlink(name, dir_fd=upper) != os.readlink(name, dir_fd=holder)
        if not stat.S_ISREG(info.st_mode):
            return info.st_rdev != below.st_rdev
        if info.st_size != below.st_size:
            return True
        with ExitStack() as stack:
            files = [open_file(name, at, seen) for at, seen in ((upper, info), (holder, below))]
            for descriptor in files:
                stack.callback(os.close, descriptor)
            if attributes(files[0]) != attributes(files[1]):
                return True
            if self._own + "metacopy" in os.listxattr(files[0]):
                return False  # only its metadata was copied, and that is the same
            while True:
                one, other = (os.read(descriptor, _PIECE) for descriptor in files)
                if one != other:
                    return True
                if not one:
                    return False


@dataclass
class _Folders:
    all: list[int] = field(default_factory=list)
    """Of a directory: the layers' directories that it is merged of, the topmost first."""
    holder: int = -1
    """Of anything else: the directory of the layer that has it."""


def _is_whiteout(info: os.stat_result) -> bool:
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def attributes(descriptor: int) -> dict[str, bytes]:
    """A file's extended attributes, by name, but for those that are the node's own."""
    found = {}
    for name in sorted(os.listxattr(descriptor)):
        if not name.startswith(_NODES):
            try:
                found[name] = os.getxattr(descriptor, name)
            except OSError as error:
                if error.errno != errno.ENODATA:  # the container has just removed it
                    raise
    return found


def _attribute(descriptor: int, name: str) -> bytes:
    try:
        return os.getxattr(descriptor, name)
    except OSError:
        return b""


def _metadata(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_mode, info.st_uid, info.st_gid


def _size(info: os.stat_result) -> int:
    return info.st_size if stat.S_ISREG(info.st_mode) else 0
