"""How much memory systemd itself takes in rich containers: what leaks in there, no limit of a unit holds.

The first process of a container is found by the notes of its OCI runtime: runc's `state.json`, crun's `status`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import orjson

from hawser.rich.application import Told
from hawser.rich.journal import ROOT, Place

LIMIT = 64 << 20
"""Bytes; systemd with a hundred units takes 10 to 15 MiB."""
_CALM = 0.8  # of the limit: below that it is told again when it grows


class InitMemory:
    """Watches the containers that it is asked for. limit: bytes of resident memory."""

    def __init__(self, root: Path = ROOT, limit: int = LIMIT) -> None:
        self._root = root
        self._limit = limit
        self._pids: dict[str, int] = {}
        self._told: set[str] = set()

    def look(self, place: Place) -> Told | None:
        """What to tell of a container now; None for nothing, or nothing new."""
        if place.init != "systemd":
            return None
        used = resident(self._pid(place))
        if used < self._limit * _CALM:
            self._told.discard(place.id)
        if used <= self._limit or place.id in self._told:
            return None
        self._told.add(place.id)
        text = f"pid 1 (systemd) takes {used >> 20} MiB of the container's memory, more than {self._limit >> 20} MiB"
        return Told("Warning", "InitMemoryHigh", text)

    def forget(self, container_id: str) -> None:
        """Takes a container that is gone out of memory."""
        self._pids.pop(container_id, None)
        self._told.discard(container_id)

    def _pid(self, place: Place) -> int:
        if place.id not in self._pids:
            runtime = Path("/") / place.records.relative_to(self._root) / place.id
            self._pids[place.id] = _number(runtime / "state.json", "init_process_pid") or _number(
                runtime / "status", "pid"
            )
        return self._pids[place.id]


def resident(pid: int) -> int:
    """Bytes of resident memory of a process, proc_pid_status(5); 0 when it is not systemd, or gone."""
    fields: dict[str, str] = {}
    with contextlib.suppress(OSError):
        # Its name is the container's: any bytes but a newline.
        text = Path(f"/proc/{pid}/status").read_bytes().decode(errors="replace") if pid else ""
        for line in text.split("\n"):
            key, _, value = line.partition(":")
            fields[key] = value.strip()
    if fields.get("Name") != "systemd":
        return 0
    return int(fields.get("VmRSS", "0").split()[0]) << 10


def _number(path: Path, key: str) -> int:
    try:
        document: Any = orjson.loads(path.read_bytes())
        return int(document[key])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
