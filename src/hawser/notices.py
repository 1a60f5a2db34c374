"""The kernel's word that files have changed; inotify(7)."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

MODIFY, CLOSE_WRITE, MOVED_FROM, MOVED_TO = 0x2, 0x8, 0x40, 0x80
CREATE, DELETE, DELETE_SELF = 0x100, 0x200, 0x400


class Notices:
    """What is told of files and folders, for an event loop to wait on. mask: which changes are told.

    Raises OSError: a machine's users of inotify share a limit.
    """

    def __init__(self, mask: int) -> None:
        self._mask = mask
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise _error("inotify_init1")

    def watch(self, path: Path) -> None:
        """Watches a file or a folder; one that is watched already stays so. Raises OSError."""
        if self._libc.inotify_add_watch(self.descriptor, bytes(path), self._mask) < 0:
            raise _error(str(path))

    def read(self) -> None:
        """Takes what was told: that something changed is all that counts."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 65536)

    def close(self) -> None:
        os.close(self.descriptor)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)
