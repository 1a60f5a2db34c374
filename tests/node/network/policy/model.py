"""What NetworkPolicies mean, said as plainly as the API reference does: the model that tables are compared with."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from hawser.api.selectors import LabelSelector
from hawser.node.network.policy.model import Pod
from hawser.node.network.policy.rules import Match, Table

Obj = dict[str, Any]
Packet = tuple[Pod, Pod, str, int]
"""From, to, protocol, port. A pod may also be somebody outside: without a namespace."""


def allowed(policies: list[Obj], namespaces: dict[str, dict[str, str]], packet: Packet) -> bool:
    source, target, protocol, port = packet
    if source.link and source.link == target.link:
        return True
    return all(
        _direction(policies, namespaces, subject, other, direction, target, protocol, port)
        for subject, other, direction in ((source, target, "Egress"), (target, source, "Ingress"))
        if subject.link
    )


def _direction(
    policies: list[Obj],
    namespaces: dict[str, dict[str, str]],
    subject: Pod,
    other: Pod,
    direction: str,
    target: Pod,
    protocol: str,
    port: int,
) -> bool:
    about = [
        p
        for p in policies
        if p["metadata"]["namespace"] == subject.namespace
        and direction in p["spec"]["policyTypes"]
        and LabelSelector.from_object(p["spec"]["podSelector"]).matches(subject.labels)
    ]
    side = "from" if direction == "Ingress" else "to"
    rules = [(p, r) for p in about for r in p["spec"].get(direction.lower()) or []]

    def fits(policy: Obj, rule: Obj) -> bool:
        by_name = direction == "Ingress" or _is_peer(rule, policy, namespaces, other)
        return _peers(rule.get(side), policy["metadata"]["namespace"], namespaces, other) and _ports(
            rule.get("ports"), target, protocol, port, by_name
        )

    return not about or any(fits(policy, rule) for policy, rule in rules)


def _is_peer(rule: Obj, policy: Obj, namespaces: dict[str, dict[str, str]], other: Pod) -> bool:
    """Whether a rule's pod selectors choose the destination: only then have its ports names."""
    if not rule.get("to"):
        return True
    peers = [peer for peer in rule["to"] if "ipBlock" not in peer]
    return bool(peers) and _peers(peers, policy["metadata"]["namespace"], namespaces, other)


def _peers(peers: Any, namespace: str, namespaces: dict[str, dict[str, str]], other: Pod) -> bool:
    return not peers or any(_peer(peer, namespace, namespaces, other) for peer in peers)


def _peer(peer: Obj, namespace: str, namespaces: dict[str, dict[str, str]], other: Pod) -> bool:
    if block := peer.get("ipBlock"):
        address = ip_address(other.addresses[0])
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(e) for e in block.get("except") or ()
        )
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        selector = LabelSelector.from_object(peer["namespaceSelector"])
        if not selector.matches(namespaces.get(other.namespace)):
            return False
    elif other.namespace != namespace:
        return False
    return LabelSelector.from_object(peer.get("podSelector") or {}).matches(other.labels)


def _ports(ports: Any, target: Pod, protocol: str, port: int, by_name: bool) -> bool:
    def one(wanted: Obj) -> bool:
        if (wanted.get("protocol") or "TCP").lower() != protocol:
            return False
        number = wanted.get("port")
        if number is None:
            return True
        if isinstance(number, str):
            return by_name and (number, protocol, port) in target.ports
        return number <= port <= wanted.get("endPort", number)

    return not ports or any(one(wanted) for wanted in ports)


def passes(table: Table, packet: Packet) -> bool:
    """What the kernel does with a packet by a table."""
    source, target, protocol, port = packet
    if source.link and source.link == target.link:
        return True
    judged = ((table.egress, source.link, target), (table.ingress, target.link, source))
    return all(
        link not in links
        or any(
            _matches(table, match, other.addresses[0], target.addresses[0], protocol, port)
            for policy in table.pods[links[link]]
            for match in table.policies[policy]
        )
        for links, link, other in judged
    )


def _matches(table: Table, match: Match, other: str, destination: str, protocol: str, port: int) -> bool:
    number = ip_address(other)
    return (
        match.version in (0, number.version)
        and (not match.peers or other in table.sets[match.peers])
        and (not match.blocks or any(first <= int(number) <= last for first, last in match.blocks))
        and (not match.protocols or protocol in match.protocols)
        and (not match.ports or any(p == protocol and first <= port <= last for p, first, last in match.ports))
        and (not match.named or (destination, protocol, port) in table.named[match.named])
    )
