"""The journals of rich containers on this node: found by container id, read from where one left off.

`hawser-runtime` keeps, for each containerd or CRI-O, a directory below /run/hawser-runtime: `<id>` begins with the init
of a container, `.inside/<id>/journal` is what its own scripts write, `.journal/<id>.jsonl` what the node's programs do,
and `.journal/<id>.inside.jsonl` what was inside when it ended. Next to these, `<id>.told` and `<id>.inside.told` say
how far they have been reported, so that a restart repeats nothing and misses nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path("/run/hawser-runtime")
_LARGEST = 128 * 1024  # bytes; the runtime's own limit is the half
_DEEPEST = 12


class Place:
    """What the runtime keeps of one container."""

    def __init__(self, records: Path, container_id: str) -> None:
        self.records = records
        self.id = container_id
        self._init = ""

    @property
    def init(self) -> str:
        """The container's init, "" when the runtime never said it."""
        if not self._init:
            with contextlib.suppress(OSError):
                self._init = re.split("[: \n]", (self.records / self.id).read_text(), maxsplit=1)[0]
        return self._init

    @property
    def inside(self) -> Path:
        """The file that the container writes."""
        return self.records / ".inside" / self.id / "journal"

    def told(self) -> list[bytes]:
        """The lines that were reported already, those of them that are still there."""
        return self._each(lambda path, told: _lines(path, 0, _number(told)))

    def new(self) -> list[bytes]:
        """The lines that its own scripts wrote since the last call, also before a restart of this program."""
        return self._each(unread)

    def _each(self, read: Callable[[Path, Path], list[bytes] | None]) -> list[bytes]:
        journal = self.records / ".journal"
        for path in (self.inside, journal / f"{self.id}.inside.jsonl"):
            lines = read(path, journal / f"{self.id}.inside.told")
            if lines is not None:
                return lines
        return []

    def last(self) -> list[bytes]:
        """All lines that are kept of a container that has ended; none of one that has not."""
        return _lines(self.records / ".journal" / f"{self.id}.inside.jsonl", 0, None) or []

    def forget(self) -> None:
        """Removes what is kept of the container's own words after its end."""
        for name in ("inside.jsonl", "inside.told"):
            (self.records / ".journal" / f"{self.id}.{name}").unlink(missing_ok=True)


def unread(path: Path, told: Path) -> list[bytes] | None:
    """Whole lines of a journal beyond what `told` says was read, and notes them as read; None without a journal."""
    start = _number(told)
    with contextlib.suppress(OSError):
        if path.lstat().st_size < start:
            start = 0  # the container began it anew
    lines = _lines(path, start, None)
    if lines:
        with contextlib.suppress(OSError):
            told.parent.mkdir(mode=0o700, exist_ok=True)
            fresh = told.with_suffix(".new")
            fresh.write_text(str(start + sum(len(line) + 1 for line in lines)))
            fresh.replace(told)
    return lines


def _lines(path: Path, start: int, end: int | None) -> list[bytes] | None:
    try:
        # Nothing but a plain file: no link is followed, no pipe waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        size = _LARGEST if end is None else min(end - start, _LARGEST)
        data = os.pread(descriptor, size, start)
    finally:
        os.close(descriptor)
    return data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def directories(root: Path = ROOT) -> Iterator[Path]:
    """The runtime's directories, one for each containerd or CRI-O on this node."""
    for place, names, _ in os.walk(root):
        found = Path(place)
        if ".inside" in names or ".journal" in names:
            yield found
        names[:] = [name for name in names if name[0] != "." and len(found.parts) < _DEEPEST]


def find(container_id: str, known: list[Path]) -> Place | None:
    """The container's place in one of the directories; None when it is not a rich one of this node."""
    if not container_id or "/" in container_id or container_id[0] == ".":
        return None
    for records in known:
        if (records / container_id).exists() or (records / ".journal" / f"{container_id}.inside.jsonl").exists():
            return Place(records, container_id)
    return None
