"""What was prepared for whom, kept on disk: an agent that was killed goes on from there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hawser.node import checkpoint

Key = tuple[str, str]
"""Namespace and name of a claim."""


@dataclass(slots=True)
class Device:
    """A device that a driver has prepared. requests: of the claim that it is for, none are all; cdi: its CDI names."""

    pool: str
    device: str
    requests: list[str]
    cdi: list[str]


@dataclass(slots=True)
class Prepared:
    """A claim that is prepared, or on its way. pods: uids of those that use it; devices: by driver.

    called: whether this agent has had it prepared. For a container that starts again, what an earlier agent had will
    do; for a new sandbox drivers are asked again: after a boot their CDI specs may be gone.
    """

    namespace: str
    name: str
    uid: str
    drivers: list[str]
    pods: list[str] = field(default_factory=list)
    devices: dict[str, list[Device]] = field(default_factory=dict)
    prepared: bool = False
    called: bool = False

    def found(self, request: str) -> Iterator[tuple[str, Device]]:
        """The devices for a request with their drivers; "" is every one."""
        # Which of several subrequests was met is the scheduler's to know.
        base = request.partition("/")[0]
        for driver, listed in self.devices.items():
            for device in listed:
                if not base or not device.requests or base in device.requests:
                    yield driver, device

    def of(self, request: str) -> list[str]:
        """The CDI names of the devices for a request; "" is every one."""
        return [name for _, device in self.found(request) for name in device.cdi]


class State:
    """All claims in use on the node. file: where they are kept."""

    def __init__(self, file: Path) -> None:
        self._file = file
        kept = checkpoint.load(file, lambda rows: [_read(row) for row in rows])
        self.claims: dict[Key, Prepared] = {(claim.namespace, claim.name): claim for claim in kept or ()}

    def save(self) -> None:
        """Writes all of it to disk, or nothing. Raises OSError."""
        checkpoint.save(self._file, [asdict(claim) for claim in self.claims.values()])

    def of(self, uid: str) -> list[Prepared]:
        """What a pod uses."""
        return [claim for claim in self.claims.values() if uid in claim.pods]


def _read(row: Any) -> Prepared:
    devices = {driver: [Device(**device) for device in rows] for driver, rows in row["devices"].items()}
    return Prepared(**{**row, "devices": devices, "called": False})
