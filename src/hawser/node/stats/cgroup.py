"""What a cgroup uses: its files on cgroup v1 and v2 read into one shape.

Source: Linux Documentation/admin-guide/cgroup-v1 (cpuacct, memory, blkio, pids) and cgroup-v2.rst; which file means
what is cAdvisor's choice: the working set is what is used without file pages that were not touched of late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hawser.node.cgroups import Hierarchy, shares_of

_NO_LIMIT = 1 << 62
_MICRO = 1000
_NANO_TICK = 10_000_000
"""cpuacct.stat counts in clock ticks of user space, of which a second has a hundred (time(7), USER_HZ)."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU time in nanoseconds; throttling as the CFS counts it."""

    usage: int
    user: int = 0
    system: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, and counts of page faults. limit: None for none."""

    usage: int
    working_set: int
    rss: int
    cache: int = 0
    mapped: int = 0
    swap: int = 0
    active_file: int = 0
    inactive_file: int = 0
    faults: int = 0
    major_faults: int = 0
    peak: int = 0
    failures: int = 0
    limit: int | None = None
    swap_limit: int | None = None
    oom_kills: int = 0


@dataclass(frozen=True, slots=True)
class Stall:
    """How long tasks waited for a resource: microseconds since the group was made, and shares of the last seconds."""

    total: int
    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0


Pressure = Mapping[tuple[str, str], Stall]
"""By resource (cpu, memory, io) and whether some or all (full) of the tasks waited; empty on cgroup v1."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one cgroup with all below it. processes: None where the pids controller is not there; io: bytes and operations
    by (device, Read or Write)."""

    cpu: Cpu | None = None
    memory: Memory | None = None
    processes: int | None = None
    threads_limit: int | None = None
    io_bytes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    io_operations: Mapping[tuple[str, str], int] = field(default_factory=dict)
    settings: Mapping[str, int] = field(default_factory=dict)
    pressure: Pressure = field(default_factory=dict)


class Reader:
    """Reads cgroups by their path below the hierarchies' roots (``/kubepods/pod1``)."""

    def __init__(self, hierarchies: list[Hierarchy]) -> None:
        self._folders = {name: h.path for h in hierarchies for name in h.controllers}
        self._unified = next((h.path for h in hierarchies if h.unified), None) if not self._folders else None

    def usage(self, path: str, *, full: bool = False) -> Usage:
        """CPU and memory; full: everything else, too. What cannot be read is None, as of a cgroup that has gone."""
        path = path.strip("/")
        if self._unified is not None:
            return _unified(self._unified / path, full)
        return self._divided(path, full)

    def _divided(self, path: str, full: bool) -> Usage:
        accounting, memory = self._folders.get("cpuacct"), self._folders.get("memory")
        cpu = cpu_v1(*(_text(accounting / path / name) for name in ("cpuacct.usage",))) if accounting else None
        used = None
        if memory is not None:
            folder = memory / path
            used = memory_v1(_text(folder / "memory.usage_in_bytes"), _text(folder / "memory.stat"))
        if not full:
            return Usage(cpu, used)
        if accounting is not None:
            throttling = _text(self._folders.get("cpu", accounting) / path / "cpu.stat")
            cpu = cpu_v1(
                _text(accounting / path / "cpuacct.usage"), _text(accounting / path / "cpuacct.stat"), throttling
            )
        if memory is not None and used is not None:
            used = _memory_v1_more(used, memory / path)
        pids, blkio = self._folders.get("pids"), self._folders.get("blkio")
        return Usage(
            cpu,
            used,
            _number(pids / path / "pids.current") if pids else None,
            _number(pids / path / "pids.max") if pids else None,
            blkio_v1(_text(blkio / path / "blkio.throttle.io_service_bytes")) if blkio else {},
            blkio_v1(_text(blkio / path / "blkio.throttle.io_serviced")) if blkio else {},
            _settings_v1(self._folders.get("cpu"), path),
        )


def cpu_v1(usage: str, stat: str = "", throttling: str = "") -> Cpu | None:
    """From cpuacct.usage, cpuacct.stat and cpu.stat."""
    if not usage:
        return None
    times, cfs = pairs(stat), pairs(throttling)
    return Cpu(
        int(usage),
        times.get("user", 0) * _NANO_TICK,
        times.get("system", 0) * _NANO_TICK,
        cfs.get("nr_periods", 0),
        cfs.get("nr_throttled", 0),
        cfs.get("throttled_time", 0),
    )


def memory_v1(usage: str, stat: str) -> Memory | None:
    """From memory.usage_in_bytes and memory.stat."""
    if not usage:
        return None
    rows = pairs(stat)
    used, inactive = int(usage), rows.get("total_inactive_file", 0)
    return Memory(
        used,
        max(0, used - inactive),
        rows.get("total_rss", 0),
        cache=rows.get("total_cache", 0),
        mapped=rows.get("total_mapped_file", 0),
        swap=rows.get("total_swap", 0),
        active_file=rows.get("total_active_file", 0),
        inactive_file=inactive,
        faults=rows.get("total_pgfault", 0),
        major_faults=rows.get("total_pgmajfault", 0),
        limit=_limit(rows.get("hierarchical_memory_limit")),
        swap_limit=_limit(rows.get("hierarchical_memsw_limit")),
    )


def _memory_v1_more(known: Memory, folder: Path) -> Memory:
    return replace(
        known,
        peak=_number(folder / "memory.max_usage_in_bytes") or 0,
        failures=_number(folder / "memory.failcnt") or 0,
        oom_kills=pairs(_text(folder / "memory.oom_control")).get("oom_kill", 0),
    )


def blkio_v1(text: str) -> dict[tuple[str, str], int]:
    """From blkio.throttle.*: what was read and written by device number."""
    rows = (line.split() for line in text.splitlines())
    return {(row[0], row[1]): int(row[2]) for row in rows if len(row) == 3 and row[1] in ("Read", "Write")}


def _settings_v1(cpu: Path | None, path: str) -> dict[str, int]:
    if cpu is None:
        return {}
    names = {"shares": "cpu.shares", "quota": "cpu.cfs_quota_us", "period": "cpu.cfs_period_us"}
    found = {key: _number(cpu / path / name) for key, name in names.items()}
    return {key: value for key, value in found.items() if value is not None}


def _unified(folder: Path, full: bool) -> Usage:
    cpu = cpu_v2(_text(folder / "cpu.stat"))
    memory = memory_v2(_text(folder / "memory.current"), _text(folder / "memory.stat"))
    if not full:
        return Usage(cpu, memory)
    if memory is not None:
        memory = _memory_v2_more(memory, folder)
    both, operations = io_v2(_text(folder / "io.stat"))
    quota = cpu_max(_text(folder / "cpu.max"))
    weight = _number(folder / "cpu.weight")
    if weight is not None:
        quota["shares"] = shares_of(weight)
    pids, most = _number(folder / "pids.current"), _number(folder / "pids.max")
    return Usage(cpu, memory, pids, most, both, operations, quota, _pressure(folder))


def _pressure(folder: Path) -> Pressure:
    found: dict[tuple[str, str], Stall] = {}
    for resource in ("cpu", "memory", "io"):
        found |= {(resource, who): row for who, row in stalls(_text(folder / f"{resource}.pressure")).items()}
    return found


def stalls(text: str) -> dict[str, Stall]:
    """From a file of pressure stall information (Documentation/accounting/psi.rst): the rows some and full."""
    found = {}
    for line in text.splitlines():
        who, *rest = line.split()
        row = dict(word.split("=", 1) for word in rest)
        found[who] = Stall(int(row["total"]), float(row["avg10"]), float(row["avg60"]), float(row["avg300"]))
    return found


def cpu_v2(stat: str) -> Cpu | None:
    """From cpu.stat, which counts microseconds."""
    rows = pairs(stat)
    if "usage_usec" not in rows:
        return None
    return Cpu(
        rows["usage_usec"] * _MICRO,
        rows.get("user_usec", 0) * _MICRO,
        rows.get("system_usec", 0) * _MICRO,
        rows.get("nr_periods", 0),
        rows.get("nr_throttled", 0),
        rows.get("throttled_usec", 0) * _MICRO,
    )


def memory_v2(current: str, stat: str) -> Memory | None:
    """From memory.current and memory.stat."""
    if not current:
        return None
    rows = pairs(stat)
    used, inactive = int(current), rows.get("inactive_file", 0)
    return Memory(
        used,
        max(0, used - inactive),
        rows.get("anon", 0),
        cache=rows.get("file", 0),
        mapped=rows.get("file_mapped", 0),
        active_file=rows.get("active_file", 0),
        inactive_file=inactive,
        faults=rows.get("pgfault", 0),
        major_faults=rows.get("pgmajfault", 0),
    )


def _memory_v2_more(known: Memory, folder: Path) -> Memory:
    events = pairs(_text(folder / "memory.events"))
    return replace(
        known,
        swap=_number(folder / "memory.swap.current") or 0,
        peak=_number(folder / "memory.peak") or 0,
        failures=events.get("max", 0),
        oom_kills=events.get("oom_kill", 0),
        limit=_number(folder / "memory.max"),
        swap_limit=_number(folder / "memory.swap.max"),
    )


def io_v2(text: str) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
    """From io.stat: bytes and operations."""
    sizes: dict[tuple[str, str], int] = {}
    operations: dict[tuple[str, str], int] = {}
    for line in text.splitlines():
        device, *rest = line.split()
        row = dict(word.split("=", 1) for word in rest if "=" in word)
        for prefix, word in (("r", "Read"), ("w", "Write")):
            if f"{prefix}bytes" in row:
                sizes[(device, word)] = int(row[f"{prefix}bytes"])
                operations[(device, word)] = int(row.get(f"{prefix}ios", 0))
    return sizes, operations


def cpu_max(text: str) -> dict[str, int]:
    """Quota (-1 for none) and period in microseconds from cpu.max."""
    words = text.split()
    if len(words) != 2:
        return {}
    return {"quota": -1 if words[0] == "max" else int(words[0]), "period": int(words[1])}


def pairs(text: str) -> dict[str, int]:
    """A flat keyed file: a word and a number a line."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def _limit(value: int | None) -> int | None:
    return None if value is None or value >= _NO_LIMIT else value


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.lstrip("-").isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
