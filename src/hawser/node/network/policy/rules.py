"""Policies, pods and namespaces to what the kernel is to hold. Pure.

A pod's link leads to a chain that it shares with all pods under the same policies; that chain asks each policy's own
chain in turn and drops what none of them accepts. So a packet costs what its own pod's policies cost, and a pod that
comes or goes changes elements of sets only. Established connections are not asked about again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from hawser.node.network.policy.model import NamedPort, Pod, PodPeer, Policy, Port, Rule, Span, merged

Labels = Mapping[str, str]
_LONGEST = 120
DIRECTIONS = ("ingress", "egress")


@dataclass(frozen=True, slots=True)
class Match:
    """One accepting rule; all that is given must hold.

    version: of IP, 0 for both. peers: a set of addresses; blocks: spans of addresses. protocols: every port of these;
    ports: (protocol, first, last). named: a set of address, protocol and port, of the packet's destination.
    """

    version: int = 0
    peers: str = ""
    blocks: tuple[Span, ...] = ()
    protocols: tuple[str, ...] = ()
    ports: tuple[tuple[str, int, int], ...] = ()
    named: str = ""


@dataclass(slots=True)
class Table:
    """What the kernel is to hold.

    sets: addresses by name; named: (address, protocol, port) by name. Names end in the IP version.
    policies: rules by chain; pods: the policies' chains by the chain of pods. ingress, egress: pods' chain by link.
    """

    sets: dict[str, frozenset[str]] = field(default_factory=dict)
    named: dict[str, frozenset[tuple[str, str, int]]] = field(default_factory=dict)
    policies: dict[str, tuple[Match, ...]] = field(default_factory=dict)
    pods: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ingress: dict[str, str] = field(default_factory=dict)
    egress: dict[str, str] = field(default_factory=dict)

    def links(self, direction: str) -> dict[str, str]:
        """Those of ``ingress`` or ``egress``."""
        return self.ingress if direction == "ingress" else self.egress


def plan(policies: Iterable[Policy], pods: Iterable[Pod], namespaces: Mapping[str, Labels]) -> Table:
    """The table for the pods that have links.

    pods: all that policies may speak of. namespaces: labels by name; a namespace that is not there has none.
    """
    return _Planner(list(pods), namespaces).plan(list(policies))


def version_of(address: str) -> int:
    """4 or 6."""
    return 6 if ":" in address else 4


def identifier(*words: str) -> str:
    """A name for the kernel, which keeps them short: the words, or their beginning and a hash of all."""
    text = "/".join(words)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 17]}.{_hash(text)}"


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


class _Planner:
    def __init__(self, pods: list[Pod], namespaces: Mapping[str, Labels]) -> None:
        self._pods = pods
        self._namespaces = namespaces
        self._by_namespace: dict[str, list[Pod]] = {}
        for pod in pods:
            self._by_namespace.setdefault(pod.namespace, []).append(pod)
        self._versions = sorted({4, *(version_of(a) for pod in pods for a in pod.addresses)})
        self._table = Table()
        self._chosen: dict[tuple[str, str], tuple[str, list[Pod]]] = {}

    def plan(self, policies: list[Policy]) -> Table:
        table = self._table
        for direction in DIRECTIONS:
            over: dict[str, list[str]] = {}
            for policy in sorted(policies, key=lambda p: (p.namespace, p.name)):
                rules = policy.rules(direction)
                if rules is None:
                    continue
                covered = [p for p in self._by_namespace.get(policy.namespace, ()) if policy.pods.matches(p.labels)]
                local = [pod for pod in covered if pod.link]
                if not local:
                    continue
                chain = identifier(direction, policy.namespace, policy.name)
                matches = tuple(self._matches(policy, rules, direction, chain, covered))
                if matches:
                    table.policies[chain] = matches
                for pod in local:
                    over.setdefault(pod.link, []).extend([chain] if matches else [])
            for link, chains in over.items():
                shared = f"{direction}-pods/{_hash(' '.join(chains))}"
                table.pods[shared] = tuple(chains)
                table.links(direction)[link] = shared
        return table

    def _matches(
        self, policy: Policy, rules: tuple[Rule, ...], direction: str, chain: str, covered: list[Pod]
    ) -> Iterator[Match]:
        for number, rule in enumerate(rules):
            plain, named = _parted(rule.ports)
            for peer in self._peers(policy, rule):
                yield from (_joined(peer, port) for port in plain)
            if not named:
                continue
            if direction == "ingress":
                # The destination is a pod under the policy: its own port of that name.
                ports = list(self._named(f"{chain}/{number}", covered, named))
                for peer in self._peers(policy, rule):
                    yield from (_joined(peer, port) for port in ports if peer.version in (0, port.version))
            else:
                # The destination is the peer: only pods have ports with names.
                to = self._pods if rule.peers is None else [p for s in rule.peers for p in self._choice(policy, s)[1]]
                yield from self._named(f"{chain}/{number}", to, named)

    def _peers(self, policy: Policy, rule: Rule) -> Iterator[Match]:
        """Matches of the rule's other side, without ports."""
        if rule.peers is None:
            yield Match()
            return
        for peer in rule.peers:
            name = self._choice(policy, peer)[0]
            for version in self._versions:
                yield Match(version, f"{name}/{version}")
        for version, spans in rule.blocks.items():
            if spans:
                yield Match(version, blocks=spans)

    def _choice(self, policy: Policy, peer: PodPeer) -> tuple[str, list[Pod]]:
        """The set of a peer's pods, and the pods."""
        where = policy.namespace if peer.namespaces is None else ""
        found = self._chosen.get((where, peer.text))
        if found is None:
            pods = [pod for pod in self._candidates(where, peer) if peer.pods.matches(pod.labels)]
            name = f"pods/{_hash(f'{where}|{peer.text}')}"
            for version in self._versions:
                listed = frozenset(a for pod in pods for a in pod.addresses if version_of(a) == version)
                self._table.sets[f"{name}/{version}"] = listed
            found = self._chosen[where, peer.text] = (name, pods)
        return found

    def _candidates(self, where: str, peer: PodPeer) -> list[Pod]:
        if peer.namespaces is None:
            return self._by_namespace.get(where, [])
        chosen = (n for n in self._by_namespace if peer.namespaces.matches(self._namespaces.get(n)))
        return [pod for namespace in chosen for pod in self._by_namespace[namespace]]

    def _named(self, name: str, pods: Iterable[Pod], wanted: frozenset[tuple[str, str]]) -> Iterator[Match]:
        """Matches of destinations that are these pods' ports of these names and protocols."""
        found: dict[int, set[tuple[str, str, int]]] = {}
        for pod in pods:
            for port in _called(pod.ports, wanted):
                for address in pod.addresses:
                    found.setdefault(version_of(address), set()).add((address, port[1], port[2]))
        for version, elements in sorted(found.items()):
            self._table.named[f"named/{name}/{version}"] = frozenset(elements)
            yield Match(version, named=f"named/{name}/{version}")


def _called(ports: tuple[NamedPort, ...], wanted: frozenset[tuple[str, str]]) -> Iterator[NamedPort]:
    return (port for port in ports if port[:2] in wanted)


def _parted(ports: tuple[Port, ...] | None) -> tuple[list[Match], frozenset[tuple[str, str]]]:
    """Matches of the ports that have numbers or none at all, and (name, protocol) of the others."""
    if ports is None:
        return [Match()], frozenset()
    named = frozenset((port.name, port.protocol) for port in ports if port.name)
    whole = sorted({port.protocol for port in ports if not port.name and not port.first})
    numbers: dict[str, list[Span]] = {}
    for port in ports:
        if port.first and port.protocol not in whole:
            numbers.setdefault(port.protocol, []).append((port.first, port.last))
    matches = [Match(protocols=tuple(whole))] if whole else []
    if numbers:
        listed = tuple((p, *span) for p, spans in sorted(numbers.items()) for span in merged(spans))
        matches.append(Match(ports=listed))
    return matches, named


def _joined(peer: Match, port: Match) -> Match:
    return Match(
        peer.version or port.version,
        peer.peers,
        peer.blocks,
        port.protocols,
        port.ports,
        port.named,
    )
