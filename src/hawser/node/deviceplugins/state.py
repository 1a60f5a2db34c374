"""Which devices of plugins which containers have, kept on disk over restarts of the agent."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hawser.node import checkpoint


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
        if (kept := checkpoint.load(file, _read)) is not None:
            self.resources, self.pods = kept

    def save(self) -> None:
        """Writes all of it to disk, or nothing. Raises OSError."""
        pods = {
            uid: {name: {key: asdict(row) for key, row in rows.items()} for name, rows in containers.items()}
            for uid, containers in self.pods.items()
        }
        checkpoint.save(self._file, {"resources": sorted(self.resources), "pods": pods})

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


def _read(kept: Any) -> tuple[set[str], dict[str, Containers]]:
    pods = {
        uid: {name: {key: Allocation(**row) for key, row in rows.items()} for name, rows in containers.items()}
        for uid, containers in kept["pods"].items()
    }
    return set(kept["resources"]), pods
