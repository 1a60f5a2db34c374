"""The nftables table of the pod network: masquerading, host ports, and what pods may not reach. Pure text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from hawser.node.network.records import HostPort, Record


@dataclass(frozen=True, slots=True)
class TableSpec:
    """Names and ranges that the table is made of.

    prefix: of the host ends of pods' links. pods: of all nodes. nodes: prefix of the links to further nodes.
    """

    table: str
    prefix: str
    pods: IPv4Network
    gateway: IPv4Address
    nodes: str


def pod_table(spec: TableSpec, records: Iterable[Record]) -> str:
    """Commands that replace the table, in one transaction, by one with the host ports of records."""
    listed = list(records)
    elements = "".join(host_port_commands(spec, record) for record in listed)
    return f"""\
add table ip {spec.table}
delete table ip {spec.table}
table ip {spec.table} {{
  map hostports {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map hostports-at {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  chain ports {{
    dnat ip to ip daddr . meta l4proto . th dport map @hostports-at
    dnat ip to meta l4proto . th dport map @hostports
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
    ip saddr {spec.pods} ip daddr != {spec.pods} oifname != "{spec.prefix}*" masquerade fully-random
    # A pod that reaches itself by a translated address would drop a packet that seems to come from itself.
    ip saddr . ip daddr @hairpin snat to {spec.gateway}
    # The node reached a pod by a port of 127.0.0.1: the pod must answer to an address that is not its own.
    oifname "{spec.prefix}*" ip saddr 127.0.0.0/8 snat to {spec.gateway}
  }}
  chain input {{
    type filter hook input priority -1; policy accept;
    # Answers to the rule above arrive for 127.0.0.1 (route_localnet); what a pod begins itself must not.
    iifname "{spec.prefix}*" ip daddr 127.0.0.0/8 ct direction original drop
    # What listens on the gateway's address (the API) is there for pods and the node, not for the node's neighbours.
    ip daddr {spec.gateway} iifname != {{ "lo", "{spec.prefix}*", "{spec.nodes}*" }} ct direction original drop
  }}
}}
{elements}"""


def host_port_commands(spec: TableSpec, record: Record, verb: str = "add") -> str:
    """Commands that add or delete the host ports of a pod; empty when it has none."""
    if not record.ports:
        return ""
    lines = [
        f"{verb} element ip {spec.table} {_key(port)} : {record.address} . {port.container_port} }}"
        for port in record.ports
        if _family4(port)
    ]
    lines.append(f"{verb} element ip {spec.table} hairpin {{ {record.address} . {record.address} }}")
    return "\n".join(lines) + "\n"


def _key(port: HostPort) -> str:
    if port.host_ip in ("", "0.0.0.0", "::"):
        return f"hostports {{ {port.protocol} . {port.host_port}"
    return f"hostports-at {{ {port.host_ip} . {port.protocol} . {port.host_port}"


def _family4(port: HostPort) -> bool:
    return ":" not in port.host_ip or port.host_ip == "::"


def drop_table(table: str) -> str:
    """Commands that remove a table, named with its family, whether it exists or not."""
    return f"add table {table}\ndelete table {table}\n"
