"""The nftables table of the pod network: masquerading, host ports, and what pods may not reach. Pure text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hawser.node.network.conntrack import Flow
from hawser.node.network.links import Network
from hawser.node.network.netlink import Address
from hawser.node.network.records import HostPort, Record

_ANY = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class TableSpec:
    """Names and ranges that the table is made of.

    prefix: of the host ends of pods' links. pods: of all nodes. nodes: prefix of the links to further nodes.
    """

    table: str
    prefix: str
    pods: tuple[Network, ...]
    gateway: Address
    nodes: str

    @property
    def version(self) -> int:
        """The IP version of the table."""
        return self.gateway.version

    @property
    def family(self) -> str:
        """nftables' word for it."""
        return "ip" if self.version == 4 else "ip6"

    @property
    def name(self) -> str:
        """The table with its family."""
        return f"{self.family} {self.table}"


def pod_table(spec: TableSpec, records: Iterable[Record]) -> str:
    """Commands that replace the table, in one transaction, by one with the host ports of records."""
    listed = list(records)
    elements = "".join(host_port_commands(spec, record) for record in listed)
    ip, kind = spec.family, "ipv4_addr" if spec.version == 4 else "ipv6_addr"
    pods = f"{{ {', '.join(map(str, spec.pods))} }}"
    return f"""\
add table {spec.name}
delete table {spec.name}
table {spec.name} {{
  map hostports {{ type inet_proto . inet_service : {kind} . inet_service; }}
  map hostports-at {{ type {kind} . inet_proto . inet_service : {kind} . inet_service; }}
  set hairpin {{ type {kind} . {kind}; }}
  chain ports {{
    dnat {ip} to {ip} daddr . meta l4proto . th dport map @hostports-at
    dnat {ip} to meta l4proto . th dport map @hostports
  }}
  chain prerouting {{
    type nat hook prerouting priority -99; policy accept;
    meta l4proto {{ tcp, udp, sctp }} fib daddr type local goto ports
  }}
  chain output {{
    type nat hook output priority -99; policy accept;
    meta l4proto {{ tcp, udp, sctp }} fib daddr type local goto ports
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    {ip} saddr {pods} {ip} daddr != {pods} oifname != "{spec.prefix}*" masquerade fully-random
    # A pod that reaches itself by a translated address would drop a packet that seems to come from itself.
    {ip} saddr . {ip} daddr @hairpin snat to {spec.gateway}
{_LOOPBACK_OUT.format(spec=spec) if spec.version == 4 else ""}  }}
  chain input {{
    type filter hook input priority -1; policy accept;
{_LOOPBACK_IN.format(spec=spec) if spec.version == 4 else ""}\
    # What listens on the gateway's address (the API) is there for pods and the node, not for the node's neighbours.
    {ip} daddr {spec.gateway} iifname != {{ "lo", "{spec.prefix}*", "{spec.nodes}*" }} ct direction original drop
  }}
}}
{elements}"""


# Only IPv4 has route_localnet: ::1 never leads to a pod.
_LOOPBACK_OUT = """\
    # The node reached a pod by a port of 127.0.0.1: the pod must answer to an address that is not its own.
    oifname "{spec.prefix}*" ip saddr 127.0.0.0/8 snat to {spec.gateway}
"""
_LOOPBACK_IN = """\
    # Answers to the rule above arrive for 127.0.0.1 (route_localnet); what a pod begins itself must not.
    iifname "{spec.prefix}*" ip daddr 127.0.0.0/8 ct direction original drop
"""


def host_port_commands(spec: TableSpec, record: Record) -> str:
    """Commands that add the host ports of a pod; empty when it has none, or no address of the family."""
    address = record.of(spec.version)
    if not record.ports or address is None:
        return ""
    lines = [
        f"add element {spec.name} {_key(port)} : {address} . {port.container_port} }}"
        for port in record.ports
        if _is_for(spec, port)
    ]
    lines.append(f"add element {spec.name} hairpin {{ {address} . {address} }}")
    return "\n".join(lines) + "\n"


def datagram_flows(spec: TableSpec, record: Record) -> dict[Flow, frozenset[str]]:
    """Where datagrams to a pod's host ports go; what went elsewhere before is to be forgotten."""
    address = record.of(spec.version)
    if address is None:
        return {}
    listed = (port for port in record.ports if port.protocol == "udp" and _is_for(spec, port))
    return {
        ("" if port.host_ip in _ANY else port.host_ip, port.host_port): frozenset({str(address)}) for port in listed
    }


def _key(port: HostPort) -> str:
    if port.host_ip in _ANY:
        return f"hostports {{ {port.protocol} . {port.host_port}"
    return f"hostports-at {{ {port.host_ip} . {port.protocol} . {port.host_port}"


def _is_for(spec: TableSpec, port: HostPort) -> bool:
    return port.host_ip in _ANY or (":" in port.host_ip) == (spec.version == 6)


def drop_table(table: str) -> str:
    """Commands that remove a table, named with its family, whether it exists or not."""
    return f"add table {table}\ndelete table {table}\n"
