"""The machine as a whole, and single processes.

Source: proc_meminfo(5), proc_vmstat(5), proc_loadavg(5), proc_pid_stat(5).
"""

from __future__ import annotations

import os
import resource
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from hawser.node.stats.cgroup import Cpu, Memory, Usage, pairs


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Bytes. used: as of the root cgroup, so that what is available is the capacity without the working set."""

    capacity: int
    used: Memory
    swap: int
    swap_used: int


def memory() -> HostMemory:
    """From /proc/meminfo and /proc/vmstat."""
    return memory_of(Path("/proc/meminfo").read_text(), Path("/proc/vmstat").read_text())


def memory_of(meminfo: str, vmstat: str = "") -> HostMemory:
    """From the texts of these files: the working set is all that is used but for file pages not touched of late."""
    rows: dict[str, int] = {}
    for line in meminfo.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        rows[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    total = rows["MemTotal"]
    used, inactive = total - rows["MemFree"], rows.get("Inactive(file)", 0)
    swap = rows.get("SwapTotal", 0)
    found = Memory(
        used,
        max(0, used - inactive),
        rows.get("AnonPages", 0),
        cache=rows.get("Cached", 0),
        mapped=rows.get("Mapped", 0),
        active_file=rows.get("Active(file)", 0),
        inactive_file=inactive,
        faults=pairs(vmstat).get("pgfault", 0),
        major_faults=pairs(vmstat).get("pgmajfault", 0),
    )
    return HostMemory(total, found, swap, swap - rows.get("SwapFree", 0))


def booted() -> float:
    """When the machine was started, seconds since the epoch."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def processes() -> int:
    """How many processes and threads there are."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


def processes_limit() -> int:
    """How many there may be (kernel.pid_max, kernel.threads-max)."""
    return min(int(Path(f"/proc/sys/kernel/{name}").read_text()) for name in ("pid_max", "threads-max"))


def process(pid: int) -> Usage:
    """One process; nothing when it is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        sizes = (folder / "statm").read_text().split()
        row = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return Usage()
    page, tick = resource.getpagesize(), 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    resident, shared = int(sizes[1]) * page, int(sizes[2]) * page
    user, system = int(row[11]) * tick, int(row[12]) * tick
    faults, major = int(row[7]), int(row[9])
    held = Memory(resident, resident, resident - shared, faults=faults + major, major_faults=major)
    return Usage(Cpu(user + system, user, system), held)


def listener(path: str) -> int:
    """The process that listens at a unix socket (unix(7), SO_PEERCRED); 0 when nobody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return 0
        pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)
