"""Where a running container's files lie on the node: its overlay's writable layer and the image's layers below it.

Source: proc_pid_mountinfo(5) and the kernel's documentation of overlayfs. Nothing here is a certain runtime's.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

_ESCAPED = re.compile(r"\\([0-7]{3})")
_FIELDS = 6
_LINKS = 8
_WHOLE = "0 0 4294967295"


class NoOverlay(Exception):
    """A container whose changes can not be told apart from its image; the text says why."""


@dataclass(frozen=True)
class Place:
    """One container's files. upper: the writable layer; lowers: the image's, the topmost first; both the node's paths.

    mounts: what is mounted in the container besides, as paths below its root.
    """

    upper: str
    lowers: tuple[str, ...]
    mounts: frozenset[str]
    user_namespace: bool = False


def of_process(pid: int, proc: str = "/proc", root: str = "") -> Place:
    """The place of the container that a process of the node is in.

    root: put ahead of the node's paths, for whoever sees the node's root somewhere else. Raises NoOverlay, OSError.
    """
    with open(f"{proc}/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
        place = parse(file.read(), root)
    with open(f"{proc}/{pid}/uid_map", encoding="utf-8") as file:  # noqa: PTH123
        mapped = " ".join(file.read().split())
    lowers = tuple(_real(path, root) for path in place.lowers)
    return Place(place.upper, lowers, place.mounts, mapped != _WHOLE)


def _real(path: str, root: str) -> str:
    """Where a layer is that goes by a link with a shorter name, as in CRI-O; the link is one of the node."""
    for _ in range(_LINKS):
        try:
            target = os.readlink(path)  # noqa: PTH115
        except OSError:
            return path
        path = root + target if target.startswith("/") else os.path.join(os.path.dirname(path), target)  # noqa: PTH118, PTH120
    return path


def parse(mountinfo: str, root: str = "") -> Place:
    """The place that a container's mountinfo tells. Raises NoOverlay."""
    mounts = set()
    found: tuple[str, str] | None = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(" "), [*right.split(" ", 2), "", ""][:3]
        if len(fields) < _FIELDS:
            continue
        point = _plain(fields[4])
        if point == "/":
            found = (kind, options)
        else:
            mounts.add(point.strip("/"))
    if found is None or found[0] != "overlay":
        kind = found[0] if found else "none"
        raise NoOverlay(f"the container's root file system is {kind}, not an overlay: its changes are not kept apart")
    upper, lowers = "", []
    for option in re.split(r"(?<!\\),", found[1]):
        name, _, value = option.partition("=")
        if name == "upperdir":
            upper = _plain(value)
        elif name == "lowerdir":
            lowers = [_plain(part) for part in re.split(r"(?<!\\):", value) if part]
        elif name == "lowerdir+":
            lowers.append(_plain(value))
    if not upper:
        raise NoOverlay("the container's root file system is read-only: nothing can have changed")
    # Runtimes shorten the names of many layers: they are relative to the directory that holds all of them.
    base = os.path.dirname(os.path.dirname(upper))  # noqa: PTH120
    lowers = [path if path.startswith("/") else f"{base}/{path}" for path in lowers]
    return Place(root + upper, tuple(root + path for path in lowers), frozenset(mounts))


def _plain(text: str) -> str:
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
    return text.replace("\\:", ":").replace("\\,", ",")
