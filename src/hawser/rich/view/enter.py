"""Mounts files of the view into running containers. A program of its own, because a process with threads may not enter
a mount namespace (setns(2)); it reads what to do as JSON and prints what failed.

``{"view": PATH, "namespaces": [{"pid": …, "inode": …, "steps": [{"offer": …, "place": …, "stale": …}]}]}``

Everything is loaded before the first namespace is entered, and nothing is run or read in one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import sys
from typing import Any

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same on every architecture
_AT_FDCWD = -100
_AT_EMPTY_PATH, _CLONE, _CLOEXEC = 0x1000, 1, os.O_CLOEXEC
_FROM_EMPTY_PATH = 4  # MOVE_MOUNT_F_EMPTY_PATH
_RDONLY, _NOSUID, _NODEV = 1, 2, 4  # MOUNT_ATTR_
_NEWNS = 0x20000
_DETACH = 2  # MNT_DETACH

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """struct mount_attr, mount_setattr(2)."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd"))


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _clone(path: str) -> int:
    """A copy of a file's mount that is nowhere yet, read-only."""
    path_bytes = os.fsencode(path)
    tree = _check(_libc.syscall(_OPEN_TREE, _AT_FDCWD, path_bytes, _CLONE | _CLOEXEC))
    wanted = _Attributes(attr_set=_RDONLY | _NOSUID | _NODEV)
    with contextlib.suppress(OSError):  # older than Linux 5.12; nothing of the view can be written anyway
        _check(_libc.syscall(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, ctypes.byref(wanted), ctypes.sizeof(wanted)))
    return tree


def _put(tree: int, step: dict[str, Any]) -> None:
    place = os.fsencode(step["place"])
    if step["stale"]:
        _check(_libc.umount2(place, _DETACH))
    _check(_libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, place, _FROM_EMPTY_PATH))


def work(view: str, namespace: dict[str, Any], home: int) -> list[str]:
    """Mounts what one namespace lacks and comes back to the one of `home`; what failed, in words."""
    failed, pid = [], namespace["pid"]
    steps = namespace["steps"]
    trees: list[int] = []
    try:
        there = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []  # it has ended
    try:
        if os.fstat(there).st_ino != namespace["inode"]:
            return []
        trees.extend(_clone(os.path.join(view, step["offer"])) for step in steps)  # noqa: PTH118
        _check(_libc.setns(there, _NEWNS))
        for tree, step in zip(trees, steps, strict=True):
            try:
                _put(tree, step)
            except OSError as err:
                if err.errno != errno.ENOENT:  # a kernel without that file
                    failed.append(f"process {pid}: {step['place']}: {err.strerror}")
    except OSError as err:
        failed.append(f"process {pid}: {err.strerror}")
    finally:
        _check(_libc.setns(home, _NEWNS))
        for fd in (*trees, there):
            os.close(fd)
    return failed


def main() -> None:
    """Does what the standard input tells."""
    task = json.load(sys.stdin)
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    failed = [text for namespace in task["namespaces"] for text in work(task["view"], namespace, home)]
    print(json.dumps(failed))


if __name__ == "__main__":
    main()
