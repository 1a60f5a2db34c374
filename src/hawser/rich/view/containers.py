"""Which containers have the view, and what of it they lack. Read from /proc/PID/mountinfo alone.

That is the kernel's own list: reading it never asks a file system, so it cannot hang on a dead lxcfs, and nothing that
a container does to its files can mislead it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hawser.runtime.view import LATE_PLACES, PLACE, PLACES

SOURCE = "hawser-view"
"""The source by which mounts of the view are known."""
_OCTAL = re.compile(r"\\([0-7]{3})")
_PROCESSES = 8
"""So many processes of a namespace are asked: one that has changed its root does not see all mounts."""
_HOLDERS = {"/proc/": ("/proc", "proc"), "/sys/": ("/sys", "sysfs")}


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of proc_pid_mountinfo(5). device: ``MAJOR:MINOR``; root: what of the file system is mounted."""

    device: str
    root: str
    place: str
    kind: str
    source: str


@dataclass(frozen=True, slots=True)
class Namespace:
    """A mount namespace with the view: a process in it, its inode, and its mounts in order."""

    pid: int
    inode: int
    mounts: tuple[Mount, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A file of the view to mount. stale: what a dead server left is unmounted first."""

    offer: str
    place: str
    stale: bool


def parse(mountinfo: str) -> tuple[Mount, ...]:
    """The mounts of a mountinfo file."""
    found = []
    for line in mountinfo.split("\n"):  # names have anything else that other ways take for the end of a line
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(" "), right.split(" ")
        if len(fields) >= 5 and len(kinds) >= 2:
            found.append(Mount(fields[2], _plain(fields[3]), _plain(fields[4]), kinds[0], _plain(kinds[1])))
    return tuple(found)


def mounts_of(process: Path) -> tuple[Mount, ...]:
    """What a process, a directory of /proc, sees mounted. Raises OSError."""
    return parse((process / "mountinfo").read_bytes().decode(errors="surrogateescape"))


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), text)


def identity(path: str, mounts: Iterable[Mount]) -> tuple[str, str]:
    """The device and the root that a bind mount of a directory shows; ("", "") when no mount holds it."""
    found = ("", "")
    longest = -1
    for mount in mounts:
        base = mount.place.rstrip("/")
        if (path == base or path.startswith(base + "/")) and len(base) >= longest:
            longest = len(base)
            found = (mount.device, mount.root.rstrip("/") + path[len(base) :] or "/")
    return found


def mounted_device(path: str, mounts: Iterable[Mount]) -> str:
    """The device of the file system that is mounted at a place; "" when none is."""
    return next((mount.device for mount in reversed(tuple(mounts)) if mount.place == path), "")


def find(library: Path, proc: Path = Path("/proc")) -> list[Namespace]:
    """The mount namespaces of containers that have the view whose library is in a directory."""
    marker = identity(str(library), mounts_of(proc / "self"))
    asked: dict[int, int] = {_inode(proc / "self"): _PROCESSES}
    found: dict[int, Namespace] = {}
    for pid in sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()):
        try:
            inode = _inode(proc / str(pid))
            if inode in found or asked.get(inode, 0) >= _PROCESSES:
                continue
            asked[inode] = asked.get(inode, 0) + 1
            mounts = mounts_of(proc / str(pid))
        except OSError:
            continue
        if any(mount.place == PLACE and (mount.device, mount.root) == marker for mount in mounts):
            found[inode] = Namespace(pid, inode, mounts)
    return list(found.values())


def _inode(process: Path) -> int:
    return (process / "ns/mnt").stat().st_ino


def lacking(mounts: Iterable[Mount], devices: Mapping[str, str], offers: Iterable[str]) -> list[Step]:
    """What a container lacks of what is offered. What the pod mounts there itself stays.

    devices: of the file systems that are served now, by the first part of an offer.
    """
    top = {mount.place: mount for mount in mounts}  # a later mount covers an earlier one
    steps = []
    for offer in offers:
        device = devices[offer.partition("/")[0]]
        for place in (*PLACES.get(offer, ()), *LATE_PLACES.get(offer, ())):
            holder, kind = next(known for prefix, known in _HOLDERS.items() if place.startswith(prefix))
            if holder not in top or top[holder].kind != kind:
                continue
            there = top.get(place)
            if there is None or (there.source == SOURCE and there.device != device):
                steps.append(Step(offer, place, there is not None))
    return steps
