"""Which control groups are a container's, seen from one of its processes. A container's text is trusted in nothing:
what tells is the kernel's own view of the process, as the node sees it.
"""

from __future__ import annotations

import os

_TOPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")


class Groups:
    """The node's hierarchies that count for containers. proc: where its /proc is."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        mounts = _mounts(self._text("self/mountinfo"))
        whole = [(place, kind, options) for root, place, kind, options in mounts if root == "/"]
        self._unified = next((place for place, kind, _ in whole if kind == "cgroup2"), "")
        self._blkio = next((place for place, _, options in whole if "blkio" in options), "")

    def unified(self, process: int) -> str:
        """The directory of the container's group on cgroup v2; "" where it has none of its own there.

        Its root is what the container's namespace of control groups shows as such: its init may be in one below.
        """
        shown = [
            root
            for root, place, kind, _ in _mounts(self._text(f"{process}/mountinfo"))
            if kind == "cgroup2" and place in _TOPS
        ]
        group = shown[-1] if shown and shown[-1] != "/" else self._membership(process, "")
        return self._unified + group if self._unified and group != "/" else ""

    def blkio(self, process: int) -> str:
        """The directory of the container's group in cgroup v1's hierarchy of block I/O; "" where it has none."""
        group = self._membership(process, "blkio")
        return self._blkio + group if self._blkio and group != "/" else ""

    def _membership(self, process: int, controller: str) -> str:
        """cgroups(7), /proc/PID/cgroup."""
        for line in _lines(self._text(f"{process}/cgroup")):
            _, controllers, group = line.split(":", 2)
            if controller in controllers.split(","):
                return group
        return "/"

    def _text(self, name: str) -> str:
        with open(os.path.join(self._proc, name), "rb") as file:  # noqa: PTH118, PTH123
            return file.read().decode("utf-8", "surrogateescape")


def _mounts(mountinfo: str) -> list[tuple[str, str, str, list[str]]]:
    """Root, place, kind and the file system's own options of control groups' mounts, proc_pid_mountinfo(5)."""
    found = []
    for line in _lines(mountinfo):
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup"):
            fields, kinds = left.split(" "), right.split(" ")
            found.append((fields[3], fields[4], kinds[0], kinds[2].split(",")))
    return found


def _lines(text: str) -> list[str]:
    """The kernel's lines. Names in them are the container's, with anything but a newline: "\\r" or "\\f", say."""
    return text.split("\n")[:-1]
