"""What changed in a container since its image: its writable layer, compared with the layers below.

A container may change its files while they are read here. So no path is ever followed: directories are opened one in
the other, without symbolic links, and nothing outside of the layers can be reached.

Source: the kernel's documentation of overlayfs (whiteouts, opaque directories, redirects, metacopy).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum

from hawser.node.writable.place import NoOverlay, Place

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20
_ATTRIBUTES = ("trusted.overlay.", "user.overlay.")
_NODES = (*_ATTRIBUTES, "security.selinux")


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

    without: paths that are left out, with all below; what is mounted in the container always is.
    Raises NoOverlay where a directory of the image was renamed and the kernel only noted that; OSError.
    """
    with ExitStack() as stack:
        upper = _open(stack, place.upper)
        lowers = [_open(stack, path) for path in place.lowers]
        left_out = place.mounts | {path.strip("/") for path in without}
        yield from _Walk(left_out, place.mounts).folder(upper, lowers, "", hides=False)


def _open(stack: ExitStack, path: str | int, at: int | None = None) -> int:
    descriptor = os.open(path, _OPEN_FOLDER, dir_fd=at) if isinstance(path, str) else path
    stack.callback(os.close, descriptor)
    return descriptor


class _Walk:
    def __init__(self, left_out: frozenset[str], mounts: frozenset[str]) -> None:
        self._left_out = left_out
        self._ways = {
            "/".join(parts[:n]) for path in mounts for parts in [path.split("/")] for n in range(1, len(parts))
        }

    def folder(self, upper: int, lowers: list[int], path: str, *, hides: bool) -> Iterator[Change]:
        """hides: nothing of the image shows through, in this directory or below."""
        for name in sorted(os.listdir(upper)):
            here = f"{path}/{name}" if path else name
            if here in self._left_out:
                continue
            try:
                info = os.stat(name, dir_fd=upper, follow_symlinks=False)
                with ExitStack() as stack:
                    yield from self._entry(stack, upper, lowers, name, here, info, hides)
            except FileNotFoundError:
                continue  # the container has just removed it

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
        below, folders = _visible(stack, lowers, name)
        if _is_whiteout(info):
            if below is not None:
                yield Change(path, Kind.DELETED, None, _size(below))
            return
        if not stat.S_ISDIR(info.st_mode):
            if below is None:
                yield Change(path, Kind.ADDED, info, folder=upper)
            elif _differs(upper, folders.holder, name, info, below):
                yield Change(path, Kind.CHANGED, info, _size(below), folder=upper)
            return
        own = _open(stack, name, upper)
        hides = hides or _marked(own, "opaque")
        if _attribute(own, "redirect"):
            raise NoOverlay(f"/{path} was renamed and the node's overlayfs only notes that (redirect_dir)")
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
                below, _ = _visible(stack, lowers, name)
            if below is not None and f"{path}/{name}" not in self._left_out:
                yield Change(f"{path}/{name}", Kind.DELETED, None, _size(below))


@dataclass
class _Folders:
    all: list[int] = field(default_factory=list)
    """Of a directory: the layers' directories that it is merged of, the topmost first."""
    holder: int = -1
    """Of anything else: the directory of the layer that has it."""


def _visible(stack: ExitStack, lowers: list[int], name: str) -> tuple[os.stat_result | None, _Folders]:
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
        if _marked(folders.all[-1], "opaque"):
            break
    return seen, folders


def _is_whiteout(info: os.stat_result) -> bool:
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def attributes(descriptor: int) -> dict[str, bytes]:
    """A file's extended attributes, by name, but for those that are the node's own."""
    names = (name for name in os.listxattr(descriptor) if not name.startswith(_NODES))
    return {name: os.getxattr(descriptor, name) for name in sorted(names)}


def _attribute(descriptor: int, name: str) -> bytes:
    for prefix in _ATTRIBUTES:
        try:
            return os.getxattr(descriptor, prefix + name)
        except OSError:
            continue
    return b""


def _marked(descriptor: int, name: str) -> bool:
    return _attribute(descriptor, name) == b"y"


def _metadata(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_mode, info.st_uid, info.st_gid


def _size(info: os.stat_result) -> int:
    return info.st_size if stat.S_ISREG(info.st_mode) else 0


def _differs(upper: int, holder: int, name: str, info: os.stat_result, below: os.stat_result) -> bool:
    if _metadata(info) != _metadata(below) or holder < 0:
        return True
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(name, dir_fd=upper) != os.readlink(name, dir_fd=holder)
    if not stat.S_ISREG(info.st_mode):
        return info.st_rdev != below.st_rdev
    if info.st_size != below.st_size:
        return True
    with ExitStack() as stack:
        files = [os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at) for at in (upper, holder)]
        for descriptor in files:
            stack.callback(os.close, descriptor)
        if attributes(files[0]) != attributes(files[1]):
            return True
        if _attribute(files[0], "metacopy"):
            return False  # only its metadata was copied, and that is the same
        while True:
            one, other = (os.read(descriptor, _PIECE) for descriptor in files)
            if one != other:
                return True
            if not one:
                return False
