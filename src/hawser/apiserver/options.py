"""The server's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from hawser.apiserver.strategies.services import Network

_SERVICE_NETWORK = IPv4Network("10.96.0.0/16")


@dataclass(frozen=True, slots=True)
class Config:
    """data: the folder of the store. kubelet_*: how the server shows itself to node agents, and whom it believes."""

    data: Path
    host: str
    port: int
    tls_cert: Path
    tls_key: Path
    client_ca: Path | None = None
    token_file: Path | None = None
    kubelet_cert: Path | None = None
    kubelet_key: Path | None = None
    kubelet_ca: Path | None = None
    service_network: Network = _SERVICE_NETWORK
    node_ports: range = range(30000, 32768)

    @property
    def address(self) -> str:
        """The address that is listened on, as clients on this machine reach it."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
