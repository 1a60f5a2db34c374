"""The files of a container's view that lxcfs has not, or has of statistics that kernels keep no more.

One server for all containers of a node: ``python -m hawser.rich.view.statistics DIRECTORY``, with the mounted /dev/fuse
as its standard input. It does nothing but answer who reads.

| file | shows |
|---|---|
| proc/diskstats | what cgroup v2's io.stat counts, or cgroup v1's throttle statistics |
| proc/pressure/{cpu,io,memory} | the control group's own, on cgroup v2 |
| proc/slabinfo | no slab |
"""

from __future__ import annotations

import errno
import sys

from hawser.rich.view.counters import SLABINFO, diskstats, io_stat, throttled
from hawser.rich.view.fuse import Content, FileSystem
from hawser.rich.view.groups import Groups

PRESSURES = ("cpu", "io", "memory")


def files(groups: Groups) -> dict[str, Content]:
    """What is served, by name."""

    def disks(process: int) -> bytes:
        if (group := groups.unified(process)) and (counted := _read(group, "io.stat")) is not None:
            counts = io_stat(counted)
        else:
            group = groups.blkio(process)
            names = ("io_service_bytes", "io_serviced")
            counts = throttled(*(_read(group, f"blkio.throttle.{name}_recursive") or "" for name in names))
        return diskstats(_read("/proc", "diskstats") or "", counts).encode()

    def pressure(kind: str) -> Content:
        def stalls(process: int) -> bytes:
            text = _read(groups.unified(process), f"{kind}.pressure")
            if text is None:  # as the kernel says where it keeps none
                raise OSError(errno.EOPNOTSUPP, "no pressure is measured")
            return text.encode()

        return stalls

    return {
        "proc/diskstats": disks,
        "proc/slabinfo": lambda _process: SLABINFO,
        **{f"proc/pressure/{kind}": pressure(kind) for kind in PRESSURES},
    }


def _read(folder: str, name: str) -> str | None:
    """A file of the kernel's; None where there is no folder or no such file."""
    if not folder:
        return None
    try:
        with open(f"{folder}/{name}", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return file.read()
    except FileNotFoundError:
        return None


def main() -> None:
    """Serves until it is unmounted."""
    FileSystem(files(Groups())).serve(sys.stdin.fileno())


if __name__ == "__main__":
    main()
