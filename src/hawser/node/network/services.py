"""What nftables must hold for one Service: pure functions from a Service and its EndpointSlices to rules.

The table (``service_table``) looks a packet's destination up in one of two verdict maps, which lead to the chain of the
Service's port; the chain translates to one of its endpoints. So the cost of a packet does not grow with the number of
Services, and a change touches one chain. Only a connection's first packet comes here: established connections keep
their endpoint.

Sources: Kubernetes documentation, "Virtual IPs and Service Proxies"; KEP-1669 (terminating endpoints), API reference of
Service and EndpointSlice; nft(8).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from hawser.api.types import Obj

SERVICE_NAME = "kubernetes.io/service-name"
_AFFINITY_SECONDS = 10800


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """Where a connection may go."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Fragment:
    """A Service's part of the table.

    sets: seconds by name, the clients that stick to an endpoint. chains: rules by chain name. services: chain by
    ``address . protocol . port``. nodeports: chain by ``protocol . port``. hairpin: addresses of its endpoints.
    """

    sets: dict[str, int] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)
    nodeports: dict[str, str] = field(default_factory=dict)
    hairpin: frozenset[str] = frozenset()


EMPTY = Fragment()


def endpoints(service: Obj, port: Obj, slices: Iterable[Obj], node: str) -> list[Endpoint]:
    """The endpoints of one Service port that connections go to, sorted.

    All ready ones; when there are none, those that are terminating but still serve (KEP-1669). With
    internalTrafficPolicy Local, only those on the node.
    """
    local = service["spec"].get("internalTrafficPolicy") == "Local"
    ready: set[Endpoint] = set()
    leaving: set[Endpoint] = set()
    for one in slices:
        if one.get("addressType") != "IPv4":
            continue
        number = _target_port(port, one)
        if number is None:
            continue
        for endpoint in one.get("endpoints") or ():
            if local and endpoint.get("nodeName") != node:
                continue
            conditions = endpoint.get("conditions") or {}
            addresses = {Endpoint(address, number) for address in endpoint.get("addresses") or ()}
            if conditions.get("ready") is not False:
                ready |= addresses
            elif conditions.get("terminating") and conditions.get("serving") is not False:
                leaving |= addresses
    return sorted(ready or leaving)


def _target_port(port: Obj, one: Obj) -> int | None:
    for candidate in one.get("ports") or ():
        same_name = (candidate.get("name") or "") == (port.get("name") or "")
        if same_name and (candidate.get("protocol") or "TCP") == (port.get("protocol") or "TCP"):
            number: int | None = candidate.get("port")
            return number
    return None


def fragment(service: Obj, slices: Iterable[Obj], node: str = "") -> Fragment:
    """A Service's part of the table; empty for headless and external ones and for those without endpoints."""
    spec = service["spec"]
    addresses = list(_virtual_addresses(service))
    if not addresses:
        return EMPTY
    made = Fragment()
    listed = list(slices)
    hairpin: set[str] = set()
    for port in spec.get("ports") or ():
        targets = endpoints(service, port, listed, node)
        if not targets:
            continue  # Without an entry, what goes to the address is refused by the table's last rule.
        metadata = service["metadata"]
        protocol = (port.get("protocol") or "TCP").lower()
        chain = f"svc-{metadata['namespace']}/{metadata['name']}/{protocol}/{port['port']}"
        if spec.get("sessionAffinity") == "ClientIP":
            _sticky_chains(made, chain, protocol, targets, _affinity_seconds(spec))
        else:
            made.chains[chain] = (f"meta l4proto {protocol} dnat ip to {_choice(targets)}",)
        for address in addresses:
            made.services[f"{address} . {protocol} . {port['port']}"] = chain
        if port.get("nodePort"):
            made.nodeports[f"{protocol} . {port['nodePort']}"] = chain
        hairpin.update(target.address for target in targets)
    return Fragment(made.sets, made.chains, made.services, made.nodeports, frozenset(hairpin))


def _virtual_addresses(service: Obj) -> Iterator[str]:
    spec = service["spec"]
    cluster_ip = spec.get("clusterIP")
    if spec.get("type") == "ExternalName" or cluster_ip in (None, "", "None"):
        return
    candidates = [*(spec.get("clusterIPs") or [cluster_ip]), *(spec.get("externalIPs") or ())]
    balancer = (service.get("status") or {}).get("loadBalancer") or {}
    candidates += [i["ip"] for i in balancer.get("ingress") or () if i.get("ip") and i.get("ipMode", "VIP") == "VIP"]
    for address in candidates:
        if ":" not in address:
            yield address


def _affinity_seconds(spec: Obj) -> int:
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(config.get("timeoutSeconds") or _AFFINITY_SECONDS)


def _choice(targets: list[Endpoint]) -> str:
    if len(targets) == 1:
        return f"{targets[0].address}:{targets[0].port}"
    listed = ", ".join(f"{i} : {t.address} . {t.port}" for i, t in enumerate(targets))
    return f"numgen random mod {len(targets)} map {{ {listed} }}"


def _sticky_chains(made: Fragment, chain: str, protocol: str, targets: list[Endpoint], seconds: int) -> None:
    """A chain an endpoint, with a set of the clients that it had within the last seconds."""
    known: list[str] = []
    steps: list[str] = []
    for number, target in enumerate(targets):
        name = f"{chain}/{target.address}/{target.port}"
        # Sets and chains have separate names, but a set's time-out cannot be changed: it is part of the name.
        clients = f"{name}/{seconds}"
        made.sets[clients] = seconds
        made.chains[name] = (
            f"update @{clients} {{ ip saddr }}",
            f"meta l4proto {protocol} dnat ip to {target.address}:{target.port}",
        )
        known.append(f"ip saddr @{clients} goto {name}")
        steps.append(f"{number} : goto {name}")
    made.chains[chain] = (*known, f"numgen random mod {len(targets)} vmap {{ {', '.join(steps)} }}")


def service_table(table: str, services: IPv4Network, gateway: IPv4Address) -> str:
    """Commands that replace the table, in the same transaction as what follows them, by one without Services."""
    return f"""\
add table ip {table}
delete table ip {table}
table ip {table} {{
  map services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map nodeports {{ type inet_proto . inet_service : verdict; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  chain dispatch {{
    ip daddr . meta l4proto . th dport vmap @services
    fib daddr type local meta l4proto . th dport vmap @nodeports
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    meta l4proto {{ tcp, udp, sctp }} goto dispatch
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    meta l4proto {{ tcp, udp, sctp }} goto dispatch
  }}
  chain postrouting {{
    type nat hook postrouting priority 99; policy accept;
    # A pod that reaches itself by its Service would drop a packet that seems to come from itself.
    ip saddr . ip daddr @hairpin snat to {gateway}
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
  # What still goes to a Service's address has no endpoints, or no such port.
  chain refuse-forwarded {{
    type filter hook forward priority 0; policy accept;
    ip daddr {services} goto refuse
  }}
  chain refuse-own {{
    type filter hook output priority 0; policy accept;
    ip daddr {services} goto refuse
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One Service's part before and after."""

    old: Fragment
    new: Fragment


def commands(table: str, changes: Iterable[Change], hairpin_new: Iterable[str], hairpin_gone: Iterable[str]) -> str:
    """Commands of one transaction that makes the changes; empty when there are none.

    The order lets everything exist while something refers to it: sets, chains, rules, map elements, then the reverse.
    hairpin_new, hairpin_gone: addresses that no Service had before, or has any longer.
    """
    listed = list(changes)
    lines: list[str] = []
    for change in listed:
        old, new = change.old, change.new
        for name, seconds in new.sets.items():
            if name not in old.sets:
                kind = f"type ipv4_addr; flags dynamic,timeout; timeout {seconds}s;"
                lines.append(f"add set ip {table} {name} {{ {kind} }}")
        lines += [f"add chain ip {table} {name}" for name in new.chains if name not in old.chains]
    for change in listed:
        old, new = change.old, change.new
        for name, rules in new.chains.items():
            if old.chains.get(name) == rules:
                continue
            if name in old.chains:
                lines.append(f"flush chain ip {table} {name}")
            lines += [f"add rule ip {table} {name} {rule}" for rule in rules]
    # All deletions go before all additions: an address may move from one Service to another.
    for change in listed:
        for map_name, before, after in _maps(change):
            lines += [
                f"delete element ip {table} {map_name} {{ {key} }}"
                for key, chain in before.items()
                if after.get(key) != chain
            ]
    for change in listed:
        for map_name, before, after in _maps(change):
            lines += [
                f"add element ip {table} {map_name} {{ {key} : goto {chain} }}"
                for key, chain in after.items()
                if before.get(key) != chain
            ]
    lines += [f"add element ip {table} hairpin {{ {a} . {a} }}" for a in hairpin_new]
    lines += [f"delete element ip {table} hairpin {{ {a} . {a} }}" for a in hairpin_gone]
    for change in listed:
        gone = [name for name in change.old.chains if name not in change.new.chains]
        lines += [f"flush chain ip {table} {name}" for name in gone]
        lines += [f"delete chain ip {table} {name}" for name in reversed(gone)]
        lines += [f"delete set ip {table} {name}" for name in change.old.sets if name not in change.new.sets]
    return "".join(line + "\n" for line in lines)


def _maps(change: Change) -> tuple[tuple[str, dict[str, str], dict[str, str]], ...]:
    return (
        ("services", change.old.services, change.new.services),
        ("nodeports", change.old.nodeports, change.new.nodeports),
    )
