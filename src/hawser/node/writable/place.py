"""Where a running container's files lie on the node: its overlay's writable layer and the image's layers below it.

Which overlay is the container's root, its own mounts tell; where its layers are, the node's do. A container may have
put another overlay in the place of its root (in a user namespace anybody may mount one), whose options name directories
as the container sees them: on the node these are others' files.

Source: proc_pid_mountinfo(5) and the kernel's documentation of overlayfs. Nothing here is a certain runtime's.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

_ESCAPED = re.compile(r"\\([0-7]{3})")
_FIELDS = 6
_LINKS = 8
_WHOLE = "0 0 4294967295"


class NoOverlay(Exception):
    """A container whose changes can not be told apart from its image; the text says why."""


@dataclass(frozen=True)
class Place:
    """One container's files. upper: the writable layer; lowers: the image's, the topmost first; both the node's paths.

    mounts: what is mounted in the container besides, as paths below its root. attributes: what the names of overlayfs'
    own extended attributes begin with.
    """

    upper: str
    lowers: tuple[str, ...]
    mounts: frozenset[str]
    user_namespace: bool = False
    attributes: str = "trusted.overlay."


def of_process(pid: int, proc: str = "/proc", root: str = "") -> Place:
    """The place of the container that a process of the node is in.

    root: put ahead of the node's paths, for whoever sees the node's root somewhere else. Raises NoOverlay, OSError.
    """
    place = parse(_read(f"{proc}/{pid}/mountinfo"), _of_node(pid, proc), root)
    mapped = " ".join(_read(f"{proc}/{pid}/uid_map").split())
    lowers = tuple(_real(path, root) for path in place.lowers)
    return replace(place, lowers=lowers, user_namespace=mapped != _WHOLE)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
        return file.read()


def _of_node(pid: int, proc: str) -> Iterator[str]:
    """What the node's own processes have mounted: the container's parent, which made it, the first one, this one."""
    parent = _read(f"{proc}/{pid}/stat").rpartition(")")[2].split()[1]
    for process in (parent, "1", "self"):
        with contextlib.suppress(OSError):  # the parent may just have ended
            yield _read(f"{proc}/{process}/mountinfo")


def _real(path: str, root: str) -> str:
    """Where a layer is that goes by a link with a shorter name, as in CRI-O; the link is one of the node."""
    for _ in range(_LINKS):
        try:
            target = os.readlink(path)  # noqa: PTH115
        except OSError:
            return path
        path = root + target if target.startswith("/") else os.path.join(os.path.dirname(path), target)  # noqa: PTH118, PTH120
    return path


def parse(mountinfo: str, node: Iterable[str], root: str = "") -> Place:
    """The place that a container's mountinfo tells, with the node's own ones. Raises NoOverlay."""
    top: _Mount | None = None
    mounts = set()
    for mount in _mounts(mountinfo):
        if mount.point == "/":
            top = mount
        else:
            mounts.add(mount.point.strip("/"))
    if top is None or top.kind != "overlay":
        kind = top.kind if top else "none"
        raise NoOverlay(f"the container's root file system is {kind}, not an overlay: its changes are not kept apart")
    options = next((m.options for table in node for m in _mounts(table) if _same(m, top)), None)
    if options is None:
        raise NoOverlay("the container's root file system is an overlay that this node has not mounted for it")
    upper, lowers = _layers(options)
    if not upper:
        raise NoOverlay("the container's root file system is read-only: nothing can have changed")
    # Runtimes shorten the names of many layers: they are relative to the directory that holds all of them.
    bases = [os.path.dirname(os.path.dirname(upper))]  # noqa: PTH120
    bases.append(os.path.dirname(bases[0]))  # noqa: PTH120 - of a kept root file system that has a size
    near = [path for path in lowers if not path.startswith("/")]
    base = next((base for base in bases if near and os.path.lexists(f"{root}{base}/{near[0]}")), bases[0])
    found = tuple(root + (path if path.startswith("/") else f"{base}/{path}") for path in lowers)
    own = "user.overlay." if "userxattr" in options.split(",") else Place.attributes
    return Place(root + upper, found, frozenset(mounts), attributes=own)


@dataclass(frozen=True)
class _Mount:
    """A line of mountinfo. device: the number of its file system, which is the same wherever that is mounted."""

    device: str
    point: str
    kind: str
    options: str


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    # Names in it may hold whatever else splitlines() takes for the end of a line.
    for line in mountinfo.split("\n"):
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(" "), [*right.split(" ", 2), "", ""][:3]
        if len(fields) >= _FIELDS:
            yield _Mount(fields[2], _plain(fields[4]), kind, options)


def _same(mount: _Mount, top: _Mount) -> bool:
    """Whether a mount of the node is the container's root. The node's own root is nobody's."""
    return mount.device == top.device and mount.kind == "overlay" and mount.point != "/"


def _layers(options: str) -> tuple[str, list[str]]:
    upper, lowers = "", []
    for option in re.split(r"(?<!\\),", options):
        name, _, value = option.partition("=")
        if name == "upperdir":
            upper = _plain(value)
        elif name == "lowerdir":
            lowers = [_plain(part) for part in re.split(r"(?<!\\):", value) if part]
        elif name == "lowerdir+":
            lowers.append(_plain(value))
    return upper, lowers


def _plain(text: str) -> str:
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
    return text.replace("\\:", ":").replace("\\,", ",")
