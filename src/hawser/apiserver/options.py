"""The server's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from hawser.apiserver.audit.setup import AuditOptions
from hawser.apiserver.strategies.pools import Network

ISSUER = "https://kubernetes.default.svc.cluster.local"
"""Of service account tokens, as most clusters have it."""
TOLERATION_SECONDS = (300, 300)
"""How long pods tolerate a node that is not ready, and one that is unreachable, unless they say otherwise."""
_SERVICE_NETWORK = IPv4Network("10.96.0.0/16")
_NO_AUDIT = AuditOptions()


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Whose X-Remote-* headers count. certificate: the CA's file. names: allowed CNs, any when empty."""

    certificate: Path
    names: tuple[str, ...] = ()
    users: tuple[str, ...] = ("X-Remote-User",)
    uids: tuple[str, ...] = ("X-Remote-Uid",)
    groups: tuple[str, ...] = ("X-Remote-Group",)
    extras: tuple[str, ...] = ("X-Remote-Extra-",)


@dataclass(frozen=True, slots=True)
class Config:
    """data: the folder of the store. kubelet_*: how the server shows itself to node agents, and whom it believes.

    plugins_*: admission plugins beyond and without those that are on by default; plugin_settings: their configuration.
    toleration_seconds: of pods, for nodes that are not ready and for unreachable ones.
    account_*: of service account tokens: what signs them (a key in the folder of the store when None), what else is
    believed, who is said to have issued them (the first one) and whose are believed, and where the keys are found.
    encryption_reload: its file is read again whenever it changes.
    seats: requests that are served at once, shared out by priority and fairness. shutdown_delay: seconds from not being
    ready to not taking connections.
    front_proxy: whose word on users is taken. proxy_client: certificate and key shown to aggregated API servers.
    anonymous: requests without credentials are system:anonymous's, which RBAC decides; else they are refused.
    advertised: the address at which pods reach this server; empty when that is the one it listens on.
    cluster_dns: the address of the Service kube-dns; without it there is none. flags: all of the command's, as text.
    """

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
    account_signing_key: Path | None = None
    account_keys: tuple[Path, ...] = ()
    account_issuers: tuple[str, ...] = (ISSUER,)
    account_keys_uri: str = ""
    api_audiences: tuple[str, ...] = ()
    advertised: str = ""
    cluster_dns: str = ""
    front_proxy: ProxySettings | None = None
    proxy_client: tuple[Path, Path] | None = None
    bootstrap_tokens: bool = False
    anonymous: bool = True
    service_networks: tuple[Network, ...] = (_SERVICE_NETWORK,)
    node_ports: range = range(30000, 32768)
    seats: int = 150
    audit: AuditOptions = _NO_AUDIT
    encryption: Path | None = None
    encryption_reload: bool = False
    shutdown_delay: float = 0.0
    plugins_on: frozenset[str] = frozenset()
    plugins_off: frozenset[str] = frozenset()
    plugin_settings: Path | None = None
    toleration_seconds: tuple[int, int] = TOLERATION_SECONDS
    flags: tuple[tuple[str, str], ...] = ()

    @property
    def address(self) -> str:
        """The address that is listened on, as clients on this machine reach it."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)

    @property
    def further_host(self) -> str:
        """The advertised address, when it has to be listened on besides; else empty."""
        return "" if self.advertised in ("", self.host) or self.host in ("0.0.0.0", "::") else self.advertised
