"""Memory and CPU time of processes, from /proc."""

from __future__ import annotations

import os
import re
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def _kilobytes(pid: int | str, file: str, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def memory(pid: int | str = "self") -> int:
    """Resident bytes (VmRSS)."""
    return _kilobytes(pid, "status", "VmRSS") * 1024


class Processes:
    """The server's processes.

    specs: ``NAME=PID`` or ``PID``, separated by commas or given one by one.
    """

    def __init__(self, specs: list[str]) -> None:
        self.pids: dict[str, int] = {}
        for spec in ",".join(specs).split(","):
            name, _, pid = spec.rpartition("=")
            if pid:
                self.pids[name or Path(f"/proc/{pid}/comm").read_text().strip()] = int(pid)

    def rss(self) -> dict[str, int]:
        """Resident bytes by name."""
        return {name: memory(pid) for name, pid in self.pids.items()}

    def pss(self) -> int:
        """Proportional bytes (shared pages are split among those who share them), all processes together."""
        return sum(_kilobytes(pid, "smaps_rollup", "Pss") for pid in self.pids.values()) * 1024

    def cpu(self) -> float:
        """Seconds of CPU so far, all processes together."""
        ticks = 0
        for pid in self.pids.values():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS
