"""Work inside another network namespace without starting a process: setns(2) on a thread of its own.

A socket stays in the namespace it was opened in, so a thread only has to visit the namespace to open one.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hawser.runtime import host

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_MS_BIND = 4096
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def enter(descriptor: int) -> None:
    """Move the calling thread into the network namespace open at descriptor; raises OSError."""
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def call_in(descriptor: int, work: Callable[[], T]) -> T:
    """Run work in the network namespace open at descriptor, on a thread that ends afterwards.

    The caller's thread never changes its namespace, so nothing has to be put back. Raises what work raises.
    """
    answers: list[T] = []
    failures: list[BaseException] = []

    def visit() -> None:
        try:
            enter(descriptor)
            answers.append(work())
        except BaseException as error:  # handed to the caller's thread
            failures.append(error)

    thread = threading.Thread(target=visit, name="netns")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return answers[0]


def make(path: Path) -> None:
    """Makes a network namespace and mounts it at path, as `ip netns add` does. Raises OSError."""
    _mount(path, _CLONE_NEWNET)


def keep(path: Path) -> None:
    """Mounts the caller's own network namespace at path, as `ip netns attach` does. Raises OSError."""
    _mount(path, 0)


def _mount(path: Path, flags: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o444)
    failures: list[OSError] = []

    def unshare() -> None:
        # A new namespace is the thread's alone; the mount keeps it when the thread ends.
        made = not flags or _libc.unshare(flags) == 0
        if not made or _libc.mount(b"/proc/thread-self/ns/net", str(path).encode(), None, _MS_BIND, None) != 0:
            number = ctypes.get_errno()
            failures.append(OSError(number, os.strerror(number), str(path)))

    thread = threading.Thread(target=unshare, name="netns")
    thread.start()
    thread.join()
    if failures:
        path.unlink(missing_ok=True)
        raise failures[0]


def is_mounted(path: Path) -> bool:
    """Whether a namespace is mounted at path."""
    return str(path) in mounted(path.parent)


def mounted(folder: Path) -> list[str]:
    """Namespaces that are mounted below a folder (proc(5), /proc/self/mounts)."""
    return [row[1] for row in host.mounts() if row[2] == "nsfs" and row[1].startswith(f"{folder}/")]


def release(path: str) -> None:
    """Unmounts a namespace and removes its mount point; it dies when no process is in it. Quiet when it is gone."""
    _libc.umount2(path.encode(), _MNT_DETACH)
    try:
        os.unlink(path)  # noqa: PTH108
    except OSError:
        pass
