"""Where an engine's pod network lives: names, ranges, folders. Everything else follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

from hawser.node.network.links import Network
from hawser.node.network.netlink import Address
from hawser.node.network.podtable import TableSpec
from hawser.node.network.services import Family
from hawser.node.network.servicetable import ServiceTable
from hawser.node.network.uplink import Uplink


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Where an engine's pod network lives.

    instance: the engine's id; link and table names derive from it.
    pod_cidr, service_cidr: the IPv4 ranges; pod_cidr6, service_cidr6: the IPv6 ranges of a dual-stack engine.
    balancers: further ranges in which every address is a Service's (of type LoadBalancer).
    pools: further ranges of pods, which ask for them by name (``ipam``).
    state_dir: for records, best on a tmpfs such as /run/hawser/<instance>/network.
    socket: the unix socket that the CNI plugin calls.
    cni_bin_dir, cni_conf_dir: the folders that containerd's configuration names.
    mtu: of pods' links, in bytes; 0 takes that of the link with the default route.
    namespaces: the folder below which only this engine's runtime mounts network namespaces; None when it shares one.
    cluster_cidrs: the pods of all nodes, whose addresses are not translated; empty when there are no other nodes.
    node: the node's name; ledger: where nodes that share addresses write down whose they are (``ledger``).
    uplink: how a further node is reached from the machine (``uplink``); None for the machine itself.
    """

    instance: str
    pod_cidr: IPv4Network
    service_cidr: IPv4Network
    state_dir: Path
    socket: Path
    cni_bin_dir: Path
    cni_conf_dir: Path
    mtu: int = 0
    namespaces: Path | None = None
    pod_cidr6: IPv6Network | None = None
    service_cidr6: IPv6Network | None = None
    balancers: tuple[Network, ...] = ()
    pools: Mapping[str, Network] = field(default_factory=dict)
    cluster_cidrs: tuple[Network, ...] = ()
    node: str = ""
    ledger: Path | None = None
    uplink: Uplink | None = None

    @property
    def tag(self) -> str:
        """Five characters that tell engines of a machine apart in names that the kernel keeps short."""
        return sha256(self.instance.encode()).hexdigest()[:5]

    @property
    def network(self) -> str:
        """The network's name in CNI."""
        return f"hawser-{self.tag}"

    @property
    def link_prefix(self) -> str:
        """Begins the names of the host ends of pods' links."""
        return f"hw{self.tag}v"

    @property
    def node_link_prefix(self) -> str:
        """Begins the names of the links to further nodes of the engine on this machine."""
        return f"hw{self.tag}n"

    @property
    def gateway_link(self) -> str:
        """The link that holds the gateway address."""
        return f"hw{self.tag}g"

    @property
    def table(self) -> str:
        """nftables table of the pod network."""
        return f"hawser-{self.tag}-pods"

    @property
    def services_table(self) -> str:
        """nftables table of Services."""
        return f"hawser-{self.tag}-services"

    @property
    def policies_table(self) -> str:
        """nftables table of NetworkPolicies."""
        return f"hawser-{self.tag}-policies"

    @property
    def gateway(self) -> IPv4Address:
        """The node's address towards pods."""
        return self.pod_cidr[1]

    @property
    def gateways(self) -> dict[int, Address]:
        """The node's addresses towards pods, by IP version."""
        return {4: self.gateway} if self.pod_cidr6 is None else {4: self.gateway, 6: self.pod_cidr6[1]}

    @property
    def service_tables(self) -> tuple[ServiceTable, ...]:
        """The tables of Services, one an address family."""
        pods = f"{self.link_prefix}*"
        services = {4: self.service_cidr, 6: self.service_cidr6}
        return tuple(
            ServiceTable(
                self.services_table,
                family,
                tuple(n for n in (services[family.version], *self.balancers) if n and n.version == family.version),
                self.gateways[family.version],
                pods,
            )
            for family in Family
            if family.version in self.gateways
        )

    @property
    def routed(self) -> tuple[Network, ...]:
        """Ranges whose packets never leave the machine."""
        return (*self.pod_cidrs, *self.pools.values(), *self.services)

    @property
    def services(self) -> tuple[Network, ...]:
        """Ranges that are only Services'."""
        listed = (self.service_cidr, self.service_cidr6, *self.balancers)
        return tuple(network for network in listed if network is not None)

    @property
    def swallowed(self) -> tuple[Network, ...]:
        """Ranges of which the node keeps what leads to nobody. A pod of a further node's range may be elsewhere."""
        return self.services if self.uplink is not None else self.routed

    @property
    def table_specs(self) -> tuple[TableSpec, ...]:
        """The tables of the pod network, one an address family."""
        own = (*(self.cluster_cidrs or self.pod_cidrs), *self.pools.values())
        return tuple(
            TableSpec(
                self.table,
                self.link_prefix,
                tuple(network for network in own if network.version == version),
                gateway,
                self.node_link_prefix,
            )
            for version, gateway in self.gateways.items()
        )

    @property
    def pod_cidrs(self) -> tuple[Network, ...]:
        """The ranges of pods that ask for nothing else, one a family."""
        return (self.pod_cidr,) if self.pod_cidr6 is None else (self.pod_cidr, self.pod_cidr6)
