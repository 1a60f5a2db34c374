"""The nftables table of Services of one address family, and the commands that bring it from one state to another.

Pure text. Sources: nft(8); Kubernetes documentation, "Virtual IPs and Service Proxies".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hawser.node.network.services import Family, Fragment

MAPS = {"services": "services", "nodeports": "nodeports", "refused": "refused", "refused-ports": "refused_ports"}
"""Maps of the table and the fields of a Fragment that they are made of."""


@dataclass(frozen=True, slots=True)
class ServiceTable:
    """Names and ranges of the table of one family.

    virtual: ranges in which every address is a Service's; gateway: the node's address towards pods; pods: how the host
    ends of pods' links are named, with a trailing ``*``.
    """

    table: str
    family: Family
    virtual: tuple[IPv4Network | IPv6Network, ...]
    gateway: IPv4Address | IPv6Address
    pods: str

    @property
    def name(self) -> str:
        """The table as nftables names it, family included."""
        return f"{self.family.table} {self.table}"

    def text(self) -> str:
        """Commands that replace the table, in the same transaction as what follows, by one without Services."""
        ip, kind = self.family.table, self.family.type
        virtual = ", ".join(map(str, self.virtual))
        return f"""\
add table {self.name}
delete table {self.name}
table {self.name} {{
  map services {{ type {kind} . inet_proto . inet_service : verdict; }}
  map nodeports {{ type inet_proto . inet_service : verdict; }}
  map refused {{ type {kind} . inet_proto . inet_service : verdict; }}
  map refused-ports {{ type inet_proto . inet_service : verdict; }}
  set hairpin {{ type {kind} . {kind}; }}
  chain dispatch {{
    {ip} daddr . meta l4proto . th dport vmap @services
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
    {ip} saddr . {ip} daddr @hairpin snat to {self.gateway}
    # An endpoint elsewhere must answer by way of this node; what pods send keeps its source.
    ct status dnat iifname != "{self.pods}" oifname != {{ "lo", "{self.pods}" }} masquerade
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
  # What still goes to a Service's address has no endpoints, or no such port.
  chain refuse-forwarded {{
    type filter hook forward priority 0; policy accept;
    # Out of its window, an answer is not translated back: whoever gets it resets the connection (Kubernetes 74839).
    iifname "{self.pods}" meta l4proto tcp ct state invalid drop
    {ip} daddr {{ {virtual} }} goto refuse
    ct state new {ip} daddr . meta l4proto . th dport vmap @refused
  }}
  chain refuse-own {{
    type filter hook output priority 0; policy accept;
    {ip} daddr {{ {virtual} }} goto refuse
    ct state new {ip} daddr . meta l4proto . th dport vmap @refused
  }}
  chain refuse-arrived {{
    type filter hook input priority 0; policy accept;
    ct state new {ip} daddr . meta l4proto . th dport vmap @refused
    ct state new meta l4proto . th dport vmap @refused-ports
  }}
}}
"""

    def commands(self, changes: Iterable[Change], hairpin_new: Iterable[str], hairpin_gone: Iterable[str]) -> str:
        """Commands of one transaction that makes the changes; empty when there are none.

        The order lets everything exist while something refers to it: sets, chains, rules, map elements, then the
        reverse. hairpin_new, hairpin_gone: addresses that no Service had before, or has any longer.
        """
        listed, table = list(changes), self.name
        lines = [*self._created(listed), *_filled(listed, table)]
        # All deletions go before all additions: an address may move from one Service to another.
        for change in listed:
            for name, before, after in _maps(change):
                gone = [key for key, verdict in before.items() if after.get(key) != verdict]
                lines += [f"delete element {table} {name} {{ {key} }}" for key in gone]
        for change in listed:
            for name, before, after in _maps(change):
                new = [(key, verdict) for key, verdict in after.items() if before.get(key) != verdict]
                lines += [f"add element {table} {name} {{ {key} : {verdict} }}" for key, verdict in new]
        lines += [f"add element {table} hairpin {{ {a} . {a} }}" for a in hairpin_new]
        lines += [f"delete element {table} hairpin {{ {a} . {a} }}" for a in hairpin_gone]
        unused = [name for change in listed for name in change.old.chains if name not in change.new.chains]
        # Chains lead to each other: all are empty before the first one goes.
        lines += [f"flush chain {table} {name}" for name in unused]
        lines += [f"delete chain {table} {name}" for name in unused]
        for change in listed:
            lines += [f"delete set {table} {name}" for name in change.old.sets if name not in change.new.sets]
        return "".join(line + "\n" for line in lines)

    def _created(self, changes: Iterable[Change]) -> list[str]:
        lines: list[str] = []
        for change in changes:
            for name, seconds in change.new.sets.items():
                if name not in change.old.sets:
                    kind = f"type {self.family.type}; flags dynamic,timeout; timeout {seconds}s;"
                    lines.append(f"add set {self.name} {name} {{ {kind} }}")
            lines += [f"add chain {self.name} {name}" for name in change.new.chains if name not in change.old.chains]
        return lines


@dataclass(frozen=True, slots=True)
class Change:
    """One Service's part before and after."""

    old: Fragment
    new: Fragment


def _filled(changes: Iterable[Change], table: str) -> list[str]:
    lines: list[str] = []
    for change in changes:
        for name, rules in change.new.chains.items():
            if change.old.chains.get(name) == rules:
                continue
            if name in change.old.chains:
                lines.append(f"flush chain {table} {name}")
            lines += [f"add rule {table} {name} {rule}" for rule in rules]
    return lines


def _maps(change: Change) -> Iterable[tuple[str, dict[str, str], dict[str, str]]]:
    return ((name, getattr(change.old, field), getattr(change.new, field)) for name, field in MAPS.items())
