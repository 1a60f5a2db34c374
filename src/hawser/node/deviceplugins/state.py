"""Which devices of plugins which containers have, kept on disk over restarts of the agent."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson


@dataclass(slots=True)
class Allocation:
    """The devices of one resource that a container has, and what comes into the container with them.

    mounts: host path, container path, read-only; nodes: host path, container path, permissions; cdi: CDI names.
    """

    devices: list[str]
    envs: dict[str, str] = field(default_factory=dict)
    mounts: list[tuple[str, str, bool]] = field(default_factory=list)
    nodes: list[tuple[str, str, str]] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    cdi: list[str] = field(default_factory=list)


Containers = dict[str, dict[str, Allocation]]
"""By container and resource."""


class State:
    """All allocations of the node. pods: by uid; resources: the names of all that had a plugin."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.pods: dict[str, Containers] = {}
        self.resources: set[str] = set()
        if file.exists():
            kept = orjson.loads(file.read_bytes())
            self.resources = set(kept["resources"])
            self.pods = {
                uid: {name: {key: Allocation(**row) for key, row in rows.items()} for name, rows in containers.items()}
                for uid, containers in kept["pods"].items()
            }

    def save(self) -> None:
        """Writes all of it to disk, or nothing. Raises OSError."""
        pods = {
            uid: {name: {key: asdict(row) for key, row in rows.items()} for name, rows in containers.items()}
            for uid, containers in self.pods.items()
        }
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(orjson.dumps({"resources": sorted(self.resources), "pods": pods}))
        fresh.replace(self._file)

    def used(self, resource: str) -> set[str]:
        """The devices of a resource that some container has."""
        return {
            device
            for containers in self.pods.values()
            for rows in containers.values()
            if resource in rows
            for device in rows[resource].devices
        }

    def of(self, uid: str, container: str) -> dict[str, Allocation]:
        """What a container has, by resource."""
        return self.pods.get(uid, {}).get(container, {})
