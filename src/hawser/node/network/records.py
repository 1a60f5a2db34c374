"""What the agent remembers of each pod on its network: one small file a sandbox.

A restart of the agent finds its pods' addresses again here. Files are replaced atomically but not synced: after a crash
of the machine there is no sandbox left that could hold an address, and ``NetworkAgent.gc`` drops their records.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path

from hawser.node.network.netlink import Address


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the node that leads to a pod. protocol: tcp, udp or sctp; host_ip: empty for every address."""

    protocol: str
    host_port: int
    container_port: int
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A sandbox on the network. addresses: at most one of each family, the pod's primary one first."""

    container_id: str
    addresses: tuple[Address, ...]
    netns: str
    interface: str
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    ports: tuple[HostPort, ...] = ()

    @property
    def address(self) -> Address:
        """The primary one."""
        return self.addresses[0]

    def of(self, version: int) -> Address | None:
        """The address of an IP version."""
        return next((address for address in self.addresses if address.version == version), None)

    def encode(self) -> str:
        """The record as JSON."""
        return json.dumps({**asdict(self), "addresses": [str(address) for address in self.addresses]})

    @classmethod
    def decode(cls, text: str) -> Record:
        """The record that encode wrote; raises ValueError, KeyError or TypeError for anything else."""
        data = json.loads(text)
        data["addresses"] = tuple(ip_address(text) for text in data["addresses"])
        if not data["addresses"]:
            raise ValueError("no address")
        data["ports"] = tuple(HostPort(**port) for port in data["ports"])
        return cls(**data)


class Records:
    """The records of an engine in a folder; file names are sandbox ids."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def save(self, record: Record) -> None:
        """Write a record, atomically."""
        path = self._folder / record.container_id
        fresh = path.with_suffix(".new")
        fresh.write_text(record.encode())
        fresh.replace(path)

    def forget(self, container_id: str) -> None:
        """Delete a record; one that is not there is no error."""
        (self._folder / container_id).unlink(missing_ok=True)

    def load(self) -> Iterator[Record]:
        """All records; files that are none (cut short by a crash of the machine) are deleted."""
        for path in sorted(self._folder.iterdir()):
            try:
                record = Record.decode(path.read_text())
            except (ValueError, KeyError, TypeError):
                record = None
            if record is None or record.container_id != path.name:
                path.unlink(missing_ok=True)
            else:
                yield record
