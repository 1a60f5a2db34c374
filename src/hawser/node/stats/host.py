"""The machine as a whole, and this process. Source: proc_meminfo(5), proc_loadavg(5), proc_pid_statm(5)."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from hawser.node.stats.cgroup import Cpu, Memory, Usage


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Bytes. used: as of the root cgroup, so that what is available is the capacity without the working set."""

    capacity: int
    used: Memory
    swap: int
    swap_used: int


def memory() -> HostMemory:
    """From /proc/meminfo."""
    return memory_of(Path("/proc/meminfo").read_text())


def memory_of(meminfo: str) -> HostMemory:
    """From the text of /proc/meminfo: the working set is all that is used but for file pages not touched of late."""
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


def own_process() -> Usage:
    """This process."""
    fields = Path("/proc/self/statm").read_text().split()
    page = resource.getpagesize()
    resident, shared = int(fields[1]) * page, int(fields[2]) * page
    times = os.times()
    user, system = int(times.user * 1e9), int(times.system * 1e9)
    return Usage(Cpu(time.process_time_ns(), user, system), Memory(resident, resident, resident - shared))
