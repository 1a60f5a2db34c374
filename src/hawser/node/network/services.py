"""What nftables must hold for one Service: pure functions from a Service and its EndpointSlices to rules.

The table (``servicetable``) looks a packet's destination up in one of two verdict maps, which lead to the chain of the
Service's port; the chain translates to one of its endpoints. So the cost of a packet does not grow with the number of
Services, and a change touches one chain. Only a connection's first packet comes here: established connections keep
their endpoint.

Sources: Kubernetes documentation, "Virtual IPs and Service Proxies", "Service", "Source IP"; API reference of Service;
nft(8).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import collapse_addresses, ip_address, ip_network

from hawser.api.types import Obj
from hawser.node.network.conntrack import Flow
from hawser.node.network.endpoints import NOWHERE, Chosen, Endpoint, Place, choose, is_external, proxied

_AFFINITY_SECONDS = 10800
_DROP = "drop"
_REFUSE = "goto refuse"


class Family(StrEnum):
    """An address family, in EndpointSlices' words."""

    V4 = "IPv4"
    V6 = "IPv6"

    @property
    def table(self) -> str:
        """nftables' word for tables and addresses of the family."""
        return "ip" if self is Family.V4 else "ip6"

    @property
    def type(self) -> str:
        """nftables' type of an address."""
        return "ipv4_addr" if self is Family.V4 else "ipv6_addr"

    @property
    def version(self) -> int:
        return 4 if self is Family.V4 else 6

    def has(self, address: str) -> bool:
        """Whether an address is of the family."""
        return (":" in address) == (self is Family.V6)


@dataclass(frozen=True, slots=True)
class Fragment:
    """A Service's part of a family's table.

    sets: seconds by name, the clients that stick to an endpoint. chains: rules by chain name. services: verdict by
    ``address . protocol . port``; nodeports: verdict by ``protocol . port``. refused, refused_ports: the same for what
    has no endpoints and is not in the Service range. hairpin: addresses of its endpoints. flows: the addresses of
    endpoints that datagrams to an address may go to, for those that have any.
    """

    sets: dict[str, int] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)
    nodeports: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    refused_ports: dict[str, str] = field(default_factory=dict)
    hairpin: frozenset[str] = frozenset()
    flows: dict[Flow, frozenset[str]] = field(default_factory=dict)


EMPTY = Fragment()


def fragment(
    service: Obj, slices: Iterable[Obj], place: Place = NOWHERE, pods: str = "", family: Family = Family.V4
) -> Fragment:
    """A Service's part of the table; empty for those that are not proxied.

    pods: how links of pods are named in nftables (``hwxv*``): what they send never counts as from outside.
    """
    if not proxied(service):
        return EMPTY
    made, listed = Fragment(), list(slices)
    hairpin: set[str] = set()
    for port in service["spec"].get("ports") or ():
        chosen = choose(service, port, listed, place, family)
        _Port(made, service, port, chosen, pods, family).write()
        hairpin.update(target.address for target in (*chosen.cluster, *chosen.local))
    return Fragment(
        made.sets,
        made.chains,
        made.services,
        made.nodeports,
        made.refused,
        made.refused_ports,
        frozenset(hairpin),
        made.flows,
    )


class _Port:
    """Writes one port of a Service into a fragment."""

    def __init__(self, made: Fragment, service: Obj, port: Obj, chosen: Chosen, pods: str, family: Family) -> None:
        metadata, self._spec = service["metadata"], service["spec"]
        self._status = service.get("status") or {}
        self._made, self._port, self._chosen, self._pods, self._family = made, port, chosen, pods, family
        self._protocol = (port.get("protocol") or "TCP").lower()
        self._chain = f"svc-{metadata['namespace']}/{metadata['name']}/{self._protocol}/{port['port']}"
        self._external = is_external(service)

    def write(self) -> None:
        spec, made = self._spec, self._made
        cluster_ips = self._of_family(spec.get("clusterIPs") or [spec["clusterIP"]])
        outside = self._of_family(spec.get("externalIPs") or ())
        balancers = self._balancer_addresses()
        if self._protocol == "udp":
            self._flows([*cluster_ips, *outside, *balancers])
        if not self._chosen.exist:
            # What goes to the Service range without an entry is refused by the table's last rule.
            made.refused.update({self._key(address): _REFUSE for address in (*outside, *balancers)})
            if node_port := self._port.get("nodePort"):
                made.refused_ports[f"{self._protocol} . {node_port}"] = _REFUSE
            return
        internal = self._internal()
        made.services.update({self._key(address): internal for address in cluster_ips})
        if not self._external:
            return
        external = self._externally()
        made.services.update({self._key(address): external for address in outside})
        if balancers:
            guarded = self._guarded(external)
            made.services.update({self._key(address): guarded for address in balancers})
        if node_port := self._port.get("nodePort"):
            made.nodeports[f"{self._protocol} . {node_port}"] = external

    def _internal(self) -> str:
        """The verdict on what goes to the cluster address. Without endpoints where it may go, it is dropped."""
        if self._spec.get("internalTrafficPolicy") == "Local":
            return self._spread("/local", self._chosen.local)
        return self._spread("", self._chosen.cluster)

    def _externally(self) -> str:
        """The verdict on what goes to addresses for those outside."""
        cluster = self._spread("", self._chosen.cluster)
        if self._spec.get("externalTrafficPolicy") != "Local":
            return cluster
        # What comes from the cluster itself is treated as if it had asked for the cluster address.
        rules = [f'iifname "{self._pods}" {cluster}'] if self._pods else []
        name = f"{self._chain}/external"
        self._made.chains[name] = (
            *rules,
            f"fib saddr type local {cluster}",
            self._spread("/local", self._chosen.local),
        )
        return f"goto {name}"

    def _guarded(self, external: str) -> str:
        """The verdict on what goes to a load balancer's address: only from where it may come."""
        listed = [text.strip() for text in self._spec.get("loadBalancerSourceRanges") or ()]
        if not listed:
            return external
        ranges = [ip_network(text, strict=False) for text in listed]
        kept = list(collapse_addresses([r for r in ranges if r.version == self._family.version]))  # type: ignore[type-var]
        if any(r.prefixlen == 0 for r in kept):
            return external
        name = f"{self._chain}/firewall"
        ip = self._family.table
        first = f"{ip} saddr != {{ {', '.join(map(str, kept))} }} {_DROP}" if kept else _DROP
        self._made.chains[name] = (first, external) if kept else (first,)
        return f"goto {name}"

    def _spread(self, suffix: str, targets: Sequence[Endpoint]) -> str:
        """The verdict that leads to one of the targets; its chain is made when it is not there yet."""
        if not targets:
            return _DROP
        chain = self._chain + suffix
        if chain not in self._made.chains:
            if self._spec.get("sessionAffinity") == "ClientIP":
                self._sticky(chain, targets)
            else:
                self._made.chains[chain] = (self._translate(_choice(targets)),)
        return f"goto {chain}"

    def _sticky(self, chain: str, targets: Sequence[Endpoint]) -> None:
        """A chain an endpoint, with a set of the clients that it had within the last seconds."""
        config = (self._spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        seconds = int(config.get("timeoutSeconds") or _AFFINITY_SECONDS)
        known: list[str] = []
        steps: list[str] = []
        ip = self._family.table
        for number, target in enumerate(targets):
            name = f"{self._chain}/to/{target.address.replace(':', '-')}/{target.port}"
            # Sets and chains have separate names, but a set's time-out cannot be changed: it is part of the name.
            clients = f"{name}/{seconds}"
            self._made.sets[clients] = seconds
            self._made.chains[name] = (
                f"update @{clients} {{ {ip} saddr }}",
                self._translate(_choice([target])),
            )
            known.append(f"{ip} saddr @{clients} goto {name}")
            steps.append(f"{number} : goto {name}")
        self._made.chains[chain] = (*known, f"numgen random mod {len(targets)} vmap {{ {', '.join(steps)} }}")

    def _translate(self, where: str) -> str:
        return f"meta l4proto {self._protocol} dnat {self._family.table} to {where}"

    def _key(self, address: str) -> str:
        return f"{address} . {self._protocol} . {self._port['port']}"

    def _of_family(self, addresses: Iterable[str]) -> list[str]:
        # One form for an address: whoever writes it differently means the same key.
        return [str(ip_address(a)) for a in addresses if self._family.has(a)]

    def _balancer_addresses(self) -> list[str]:
        if self._spec.get("type") != "LoadBalancer":
            return []
        ingress = (self._status.get("loadBalancer") or {}).get("ingress") or ()
        return self._of_family(i["ip"] for i in ingress if i.get("ip") and i.get("ipMode", "VIP") == "VIP")

    def _flows(self, addresses: Iterable[str]) -> None:
        serving = self._chosen.serving
        if not serving:
            return
        self._made.flows.update({(address, self._port["port"]): serving for address in addresses})
        if node_port := self._port.get("nodePort"):
            self._made.flows["", node_port] = serving


def _choice(targets: Sequence[Endpoint]) -> str:
    if len(targets) == 1:
        address, port = targets[0].address, targets[0].port
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    listed = ", ".join(f"{i} : {t.address} . {t.port}" for i, t in enumerate(targets))
    return f"numgen random mod {len(targets)} map {{ {listed} }}"
