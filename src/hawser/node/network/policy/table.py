"""The table of policies in nftables' language, and the commands from one state of it to the next. Pure text.

Packets that leave a pod are looked at where they are forwarded and where they reach the node itself; those that arrive
at a pod where they are forwarded: after Services and host ports have been translated, so that a pod is judged, not a
Service. What the node itself sends its pods (probes, exec) is never looked at.

Source: nft(8).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from hawser.node.network.policy.model import Span
from hawser.node.network.policy.rules import DIRECTIONS, Match, Table

_ADDRESS = {"4": "ipv4_addr", "6": "ipv6_addr"}
_FAMILY = {4: "ip", 6: "ip6"}
_NUMBER = {4: IPv4Address, 6: IPv6Address}


def empty_table(name: str) -> str:
    """Commands that replace the table, in the same transaction as what follows them, by one without pods."""
    return f"""\
{drop_table(name)}table inet {name} {{
  map ingress {{ type ifname : verdict; }}
  map egress {{ type ifname : verdict; }}
  set self {{ type ifname . ifname; }}
  chain leaving {{
    ct state established,related accept
    # A pod may always reach itself, by way of a Service too.
    iifname . oifname @self accept
    iifname vmap @egress
  }}
  chain leaving-forwarded {{
    type filter hook forward priority -10; policy accept;
    goto leaving
  }}
  chain leaving-to-node {{
    type filter hook input priority -10; policy accept;
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert }} accept
    ct state established,related accept
    iifname vmap @egress
  }}
  chain arriving {{
    type filter hook forward priority -9; policy accept;
    ct state established,related accept
    iifname . oifname @self accept
    oifname vmap @ingress
  }}
}}
"""


def drop_table(name: str) -> str:
    """Commands that remove the table whether it exists or not."""
    return f"add table inet {name}\ndelete table inet {name}\n"


def rule(match: Match, direction: str) -> str:
    """An accepting rule. direction: ingress or egress."""
    side = "saddr" if direction == "ingress" else "daddr"
    family = _FAMILY.get(match.version, "")
    words = []
    if match.peers:
        words.append(f"{family} {side} @{match.peers}")
    if match.blocks:
        words.append(f"{family} {side} {{ {', '.join(_span(s, match.version) for s in match.blocks)} }}")
    if match.protocols:
        words.append(f"meta l4proto {{ {', '.join(match.protocols)} }}")
    if match.ports:
        listed = (f"{p} . {first}" if first == last else f"{p} . {first}-{last}" for p, first, last in match.ports)
        words.append(f"meta l4proto . th dport {{ {', '.join(listed)} }}")
    if match.named:
        words.append(f"{family} daddr . meta l4proto . th dport @{match.named}")
    return " ".join((*words, "accept"))


def _span(span: Span, version: int) -> str:
    first, last = (str(_NUMBER[version](number)) for number in span)
    return first if first == last else f"{first}-{last}"


def commands(name: str, old: Table, new: Table) -> str:
    """Commands of one transaction that makes one of the other; empty when they are the same."""
    table = f"inet {name}"
    before, after = _chains(old), _chains(new)
    lines = list(_additions(table, old, new))
    lines += [f"add chain {table} {chain}" for chain in after if chain not in before]
    for chain, rules in after.items():
        if before.get(chain) != rules:
            if chain in before:
                lines.append(f"flush chain {table} {chain}")
            lines += [f"add rule {table} {chain} {one}" for one in rules]
    lines += _links(table, old, new)
    gone = [chain for chain in before if chain not in after]
    lines += [f"flush chain {table} {chain}" for chain in gone]
    # Pods' chains lead to policies' chains, so they go first.
    lines += [f"delete chain {table} {chain}" for chain in sorted(gone, key=lambda c: c in old.policies)]
    lines += _deletions(table, old, new)
    return "".join(line + "\n" for line in lines)


def _chains(table: Table) -> dict[str, tuple[str, ...]]:
    """Rules by chain; policies' before those of pods, which lead to them."""
    chains = {
        chain: tuple(dict.fromkeys(rule(match, chain.partition("/")[0]) for match in matches))
        for chain, matches in table.policies.items()
    }
    for chain, policies in table.pods.items():
        chains[chain] = (*(f"jump {policy}" for policy in policies), "drop")
    return chains


def _sets(table: Table) -> dict[str, tuple[str, frozenset[str]]]:
    """Type and elements by set."""
    sets = {name: (_ADDRESS[name[-1]], elements) for name, elements in table.sets.items()}
    for name, triples in table.named.items():
        kind = f"{_ADDRESS[name[-1]]} . inet_proto . inet_service"
        sets[name] = (kind, frozenset(f"{address} . {protocol} . {port}" for address, protocol, port in triples))
    return sets


def _additions(table: str, old: Table, new: Table) -> Iterator[str]:
    before = _sets(old)
    for name, (kind, elements) in _sets(new).items():
        if name not in before:
            yield f"add set {table} {name} {{ type {kind}; }}"
        yield from _elements("add", table, name, elements - before.get(name, ("", frozenset()))[1])


def _deletions(table: str, old: Table, new: Table) -> Iterator[str]:
    after = _sets(new)
    for name, (_, elements) in _sets(old).items():
        if name not in after:
            yield f"delete set {table} {name}"
        else:
            yield from _elements("delete", table, name, elements - after[name][1])


def _elements(verb: str, table: str, name: str, elements: Iterable[str]) -> Iterator[str]:
    listed = sorted(elements)
    if listed:
        yield f"{verb} element {table} {name} {{ {', '.join(listed)} }}"


def _links(table: str, old: Table, new: Table) -> Iterator[str]:
    for direction in DIRECTIONS:
        before, after = old.links(direction), new.links(direction)
        gone = [link for link, chain in before.items() if after.get(link) != chain]
        come = [f'"{link}" : goto {chain}' for link, chain in after.items() if before.get(link) != chain]
        yield from _elements("delete", table, direction, (f'"{link}"' for link in gone))
        yield from _elements("add", table, direction, come)
    had, has = {*old.ingress, *old.egress}, {*new.ingress, *new.egress}
    yield from _elements("delete", table, "self", (f'"{link}" . "{link}"' for link in had - has))
    yield from _elements("add", table, "self", (f'"{link}" . "{link}"' for link in has - had))
