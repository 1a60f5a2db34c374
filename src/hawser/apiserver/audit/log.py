"""The audit log: JSON lines in a file that is rotated, written by a thread of its own.

Source: kube-apiserver's --audit-log-* options. Rotated files are called NAME-TIME.EXTENSION beside the file.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger("hawser.apiserver.audit")
_DAY = 86400.0
_WAITING = 100_000
"""More lines than that are not kept waiting for a slow disk."""


class AuditLog:
    """path: of the file; None is the standard output. size: bytes at which it is rotated (0: never). backups, days: how
    many rotated files are kept, and for how long (0: all of them, for ever)."""

    def __init__(self, path: Path | None, size: int = 0, backups: int = 0, days: int = 0) -> None:
        self._path = path
        self._size = size
        self._backups = backups
        self._days = days
        self._file: BinaryIO = sys.stdout.buffer if path is None else _append(path)
        self._written = 0 if path is None else path.stat().st_size
        self._lines: deque[bytes] = deque()
        self._ready = threading.Event()
        self._closing = False
        self.lost = 0
        """Lines that were not written: the disk is full or too slow."""
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Have a line written, soon; never waits."""
        if len(self._lines) >= _WAITING:
            self.lost += 1
            return
        self._lines.append(line)
        if not self._ready.is_set():
            self._ready.set()

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._closing = True
        self._ready.set()
        self._thread.join()
        if self._path is not None:
            self._file.close()

    def _run(self) -> None:
        while not self._closing or self._lines:
            self._ready.wait()
            self._ready.clear()
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if lines:
                self._store(lines)

    def _store(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        try:
            if self._path is not None and self._size and self._written and self._written + len(data) > self._size:
                self._rotate(self._path)
            self._file.write(data)
            self._file.flush()
            self._written += len(data)
        except OSError as error:
            self.lost += len(lines)
            log.error("%d audit events were not written: %s", len(lines), error)

    def _rotate(self, path: Path) -> None:
        self._file.close()
        path.replace(_beside(path, datetime.now(UTC)))
        self._file = _append(path)
        self._written = 0
        for old in surplus(rotated(path), self._backups, self._days, time.time()):
            old.unlink(missing_ok=True)


def _append(path: Path) -> BinaryIO:
    """The file to append to; who did what is nobody else's to read."""
    path.touch(mode=0o600)
    return path.open("ab", buffering=0)


def _beside(path: Path, moment: datetime) -> Path:
    stamp = moment.strftime("%Y-%m-%dT%H-%M-%S.") + f"{moment.microsecond // 1000:03d}"
    return path.with_name(f"{path.stem}-{stamp}{path.suffix}")


def rotated(path: Path) -> list[Path]:
    """The rotated files beside a log, newest first."""
    name = re.compile(re.escape(path.stem) + r"-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}" + re.escape(path.suffix))
    return sorted((file for file in path.parent.iterdir() if name.fullmatch(file.name)), reverse=True)


def surplus(files: list[Path], backups: int, days: int, now: float) -> list[Path]:
    """Which rotated files (newest first) are too many or too old."""
    late = files[backups:] if backups else []
    old = [file for file in files if days and now - file.stat().st_mtime > days * _DAY]
    return sorted({*late, *old})
