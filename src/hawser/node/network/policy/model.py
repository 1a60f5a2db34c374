"""NetworkPolicies and pods as the decision needs them.

Source: API reference, NetworkPolicy v1; Kubernetes documentation, "Network Policies".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from hawser.api.selectors import LabelSelector
from hawser.api.status import has_ended
from hawser.api.types import Obj

Span = tuple[int, int]
"""First and last address, as numbers."""
NamedPort = tuple[str, str, int]
"""A container port's name, its protocol in lower case, its number."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod on the pod network. link: the host end of its link, "" when it is on another node."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    addresses: tuple[str, ...]
    ports: tuple[NamedPort, ...] = ()
    link: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a rule. first, last: inclusive, 0 for every port of the protocol; name: of a container port."""

    protocol: str
    first: int = 0
    last: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class PodPeer:
    """Pods by labels. namespaces: None is the policy's own. text: of both, the same for the same pods."""

    namespaces: LabelSelector | None
    pods: LabelSelector
    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What is allowed. peers, blocks: None for everybody; ports: None for all. blocks: spans by IP version."""

    peers: tuple[PodPeer, ...] | None
    blocks: Mapping[int, tuple[Span, ...]]
    ports: tuple[Port, ...] | None


@dataclass(frozen=True, slots=True)
class Policy:
    """A NetworkPolicy. ingress, egress: None when it is not about that direction."""

    namespace: str
    name: str
    pods: LabelSelector
    ingress: tuple[Rule, ...] | None
    egress: tuple[Rule, ...] | None

    def rules(self, direction: str) -> tuple[Rule, ...] | None:
        """Those of ``ingress`` or ``egress``."""
        return self.ingress if direction == "ingress" else self.egress


def policy(obj: Obj) -> Policy:
    """A NetworkPolicy as the API serves it. Raises APIError or ValueError for one that it would not take."""
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    namespace = metadata["namespace"]
    ingress = tuple(_rule(r, "from") for r in spec.get("ingress") or ()) if "Ingress" in types else None
    egress = tuple(_rule(r, "to") for r in spec.get("egress") or ()) if "Egress" in types else None
    return Policy(
        namespace, metadata["name"], LabelSelector.from_object(spec.get("podSelector") or {}), ingress, egress
    )


def _rule(obj: Obj, side: str) -> Rule:
    ports = tuple(_port(port) for port in obj.get("ports") or ()) or None
    listed = obj.get(side) or ()
    if not listed:
        return Rule(None, {}, ports)
    blocks: dict[int, list[Span]] = {4: [], 6: []}
    peers: list[PodPeer] = []
    for peer in listed:
        if block := peer.get("ipBlock"):
            network = ip_network(block["cidr"], strict=False)
            blocks[network.version] += _without(network, block.get("except") or ())
        else:
            peers.append(_pod_peer(peer))
    return Rule(tuple(peers), {version: merged(spans) for version, spans in blocks.items()}, ports)


def _pod_peer(peer: Obj) -> PodPeer:
    pods = LabelSelector.from_object(peer.get("podSelector") or {})
    given = peer.get("namespaceSelector")
    namespaces = None if given is None else LabelSelector.from_object(given)
    return PodPeer(namespaces, pods, f"{'own' if namespaces is None else f'in {namespaces}'}|{pods}")


def _port(obj: Obj) -> Port:
    protocol = str(obj.get("protocol") or "TCP").lower()
    port = obj.get("port")
    if port is None:
        return Port(protocol)
    if isinstance(port, str) and not port.isdigit():
        return Port(protocol, name=port)
    return Port(protocol, int(port), int(obj.get("endPort") or port))


def _without(network: IPv4Network | IPv6Network, left_out: Iterable[str]) -> list[Span]:
    """A network's addresses but for some ranges."""
    spans, first = [], int(network.network_address)
    last = int(network.broadcast_address)
    gaps = sorted((int(n.network_address), int(n.broadcast_address)) for n in map(_network, left_out))
    for start, end in gaps:
        if start > first:
            spans.append((first, min(start - 1, last)))
        first = max(first, end + 1)
    if first <= last:
        spans.append((first, last))
    return [span for span in spans if span[0] <= span[1]]


def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text, strict=False)


def merged(spans: list[Span]) -> tuple[Span, ...]:
    """The same numbers in as few spans as there can be, sorted."""
    result: list[Span] = []
    for first, last in sorted(spans):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return tuple(result)


def pod_ports(obj: Obj) -> tuple[NamedPort, ...]:
    """The named ports of a pod's containers; sidecars' too."""
    spec = obj.get("spec") or {}
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return tuple(
        (port["name"], str(port.get("protocol") or "TCP").lower(), int(port["containerPort"]))
        for container in (*(spec.get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if port.get("name")
    )


def remote_pod(obj: Obj) -> Pod | None:
    """A pod of another node; None while it has no address, or none of the pod network's any more."""
    spec, status, metadata = obj.get("spec") or {}, obj.get("status") or {}, obj["metadata"]
    if spec.get("hostNetwork") or has_ended(obj):
        return None
    addresses = tuple(ip["ip"] for ip in status.get("podIPs") or () if ip.get("ip"))
    if not addresses:
        return None
    return Pod(metadata["namespace"], metadata["name"], metadata.get("labels") or {}, addresses, pod_ports(obj))


def reduced(obj: Obj) -> Obj:
    """What of a pod of another node is worth keeping in memory."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    kept = ("namespace", "name", "uid", "resourceVersion", "labels")
    ports = [{"name": name, "protocol": protocol, "containerPort": number} for name, protocol, number in pod_ports(obj)]
    return {
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"hostNetwork": spec.get("hostNetwork"), "containers": [{"ports": ports}] if ports else []},
        "status": {"phase": status.get("phase"), "podIPs": status.get("podIPs")},
    }
