"""The cluster's DNS server in the node agent: puts the parts together."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from hawser.node.dns.metrics import Metrics
from hawser.node.dns.resolver import Resolver
from hawser.node.dns.server import PORT, Server
from hawser.node.dns.upstream import Server as NameServer
from hawser.node.dns.upstream import Upstream
from hawser.node.dns.zone import Source, Zone
from hawser.node.pod.dns import parse_resolv_conf


class NodeServers:
    """The name servers of the node's resolv.conf, read again whenever it changes.

    never: addresses that lead back here; asking them would go round in circles.
    """

    def __init__(self, path: Path, never: Iterable[str]) -> None:
        self._path = path
        self._never = frozenset(never)
        self._seen: tuple[int, int] | None = None
        self._servers: list[NameServer] = []

    def __call__(self) -> list[NameServer]:
        """Those to be asked now."""
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen != self._seen:
                listed = parse_resolv_conf(self._path.read_text())["servers"]
                self._servers = [(server, PORT) for server in listed if server not in self._never]
                self._seen = seen
        except OSError:
            self._servers, self._seen = [], None
        return self._servers


def build(
    domain: str,
    services: Source,
    slices: Source,
    own: Iterable[IPv4Network | IPv6Network],
    addresses: tuple[str, ...],
    listen: str,
    resolv_conf: Path,
) -> Server:
    """The server; ``Server.run(listen)`` serves.

    domain: of the cluster. own: ranges of pods and Services. addresses: of the DNS Service. resolv_conf: the node's.
    """
    metrics = Metrics()
    zone = Zone(domain, services, slices, own, addresses[0])
    upstream = Upstream(NodeServers(resolv_conf, (*addresses, listen)))
    return Server(Resolver(zone, upstream, metrics), metrics, domain)
