# ruff: noqa: PTH106, PTH208
"""Directories that a container has filled: their size, and their removal, however deep they are.

shutil.rmtree and os.walk call themselves for each directory in another, and a container may make thousands: here the
way back up is `..`, held against what was there on the way down (as fts(3) does it), so one descriptor is enough and
no path gets too long. No link is followed. Standard library only, Python >= 3.9.
"""

from __future__ import annotations

import errno
import os
import stat

from .light import TYPE_CHECKING, suppress

if TYPE_CHECKING:
    from collections.abc import Callable

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def size(path: str | os.PathLike[str]) -> int:
    """Bytes on disk below a directory, as far as it can be looked at; 0 when it is not there."""
    total = 0

    def add(_folder: int, _name: str, info: os.stat_result) -> None:
        nonlocal total
        total += info.st_blocks * 512

    with suppress(OSError):
        visit(path, add, lambda _folder, _name: None)
    return total


def remove(path: str | os.PathLike[str]) -> None:
    """Removes a directory with all below it, as far as that works. Raises the first OSError that kept something."""
    problems: list[OSError] = []

    def tried(do: Callable[..., None], folder: int, name: str) -> None:
        try:
            do(name, dir_fd=folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            problems.append(error)

    def each(folder: int, name: str, info: os.stat_result) -> None:
        if not stat.S_ISDIR(info.st_mode):
            tried(os.unlink, folder, name)

    visit(path, each, lambda folder, name: tried(os.rmdir, folder, name))
    if problems:
        raise problems[0]
    os.rmdir(path)


def visit(
    path: str | os.PathLike[str],
    each: Callable[[int, str, os.stat_result], None],
    after: Callable[[int, str], None],
) -> None:
    """Calls `each` with all that is there: the directory it is in, its name, what it is; and `after` for a directory
    when all below has been seen. What `each` raises of OSError counts as gone. Raises OSError."""
    here = os.open(path, _FOLDER)
    try:
        way = [(_identity(here), "", os.listdir(here))]
        while True:
            _, name, left = way[-1]
            if left:
                here = _down(here, left.pop(), way, each)
                continue
            way.pop()
            if not way:
                return
            above = os.open("..", _FOLDER, dir_fd=here)
            os.close(here)
            here = above
            if _identity(here) != way[-1][0]:
                raise OSError(errno.EBUSY, "a directory was moved meanwhile", os.fspath(path))
            after(here, name)
    finally:
        os.close(here)


def _down(
    here: int,
    name: str,
    way: list[tuple[tuple[int, int], str, list[str]]],
    each: Callable[[int, str, os.stat_result], None],
) -> int:
    """Looks at one entry of a directory; where to go on: below it, if it is a directory."""
    try:
        info = os.stat(name, dir_fd=here, follow_symlinks=False)
        each(here, name, info)
        if not stat.S_ISDIR(info.st_mode):
            return here
        there = os.open(name, _FOLDER, dir_fd=here)
    except OSError:
        return here  # it is gone, or something else by now
    way.append((_identity(there), name, _names(there)))
    os.close(here)
    return there


def _names(folder: int) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []  # its file system is broken: what is not seen is not removed, and rmdir(2) will say so


def _identity(descriptor: int) -> tuple[int, int]:
    info = os.fstat(descriptor)
    return info.st_dev, info.st_ino
