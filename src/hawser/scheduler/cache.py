"""Nodes and what runs or is about to run on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from hawser.api.pod_resources import Amounts, amounts
from hawser.api.types import Obj
from hawser.scheduler.shapes import Group, PodInfo, Port, Shapes

HOSTNAME = "kubernetes.io/hostname"
_LOG_KEPT = 4096


@dataclass(slots=True)
class NodeInfo:
    """One node: what it offers and what is used.

    known: False while there are pods of a node whose object has not been seen (or is gone): it takes no pods.
    features: those that the node declares. nominated: pods that are promised room here, once others have left.
    """

    name: str
    known: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Obj, ...] = ()
    unschedulable: bool = False
    allocatable: Amounts = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)
    features: frozenset[str] = frozenset()
    pods: dict[str, PodInfo] = field(default_factory=dict)
    requested: Amounts = field(default_factory=dict)
    scored: list[int] = field(default_factory=lambda: [0, 0])
    ports: Counter[Port] = field(default_factory=Counter)
    groups: Counter[Group] = field(default_factory=Counter)
    nominated: dict[str, PodInfo] = field(default_factory=dict)

    def add(self, pod: PodInfo) -> None:
        """Counts a pod in."""
        self.pods[pod.key] = pod
        self._count(pod, 1)

    def remove(self, pod: PodInfo) -> None:
        """Counts a pod out."""
        del self.pods[pod.key]
        self._count(pod, -1)

    def copy(self) -> NodeInfo:
        """The same node for trying things out."""
        return replace(
            self,
            pods=dict(self.pods),
            requested=dict(self.requested),
            scored=list(self.scored),
            ports=Counter(self.ports),
            groups=Counter(self.groups),
            nominated=dict(self.nominated),
        )

    def _count(self, pod: PodInfo, sign: int) -> None:
        shape = pod.shape
        for name, value in shape.requests.items():
            self.requested[name] = self.requested.get(name, 0) + sign * value
        self.scored[0] += sign * shape.scored[0]
        self.scored[1] += sign * shape.scored[1]
        for port in shape.ports:
            self.ports[port] += sign
            if not self.ports[port]:
                del self.ports[port]
        self.groups[pod.group] += sign
        if not self.groups[pod.group]:
            del self.groups[pod.group]


def relevant(node: Obj) -> tuple[object, ...]:
    """The parts of a Node object that placement depends on; heartbeats leave them alone."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    return (
        node["metadata"].get("labels"),
        spec.get("taints"),
        spec.get("unschedulable"),
        status.get("allocatable"),
        status.get("declaredFeatures"),
        [i.get("names") for i in status.get("images") or ()],
    )


class Cache:
    """The state that placement decides on: nodes, their pods, and pods that were assigned a moment ago ("assumed").

    ready: nodes that exist. images: on how many nodes each is. holding: pods whose terms speak of newcomers.
    claims, gangs: how many pods use each claim, are of each PodGroup (namespace/name).
    generation counts changes. epoch changes when what was derived from nodes one by one no longer holds.
    """

    def __init__(self, shapes: Shapes | None = None) -> None:
        self.shapes = shapes or Shapes()
        self.nodes: dict[str, NodeInfo] = {}
        self.generation = 0
        self.epoch = 0
        self.images: Counter[str] = Counter()
        self.ready = 0
        self.holding = 0
        self.claims: Counter[str] = Counter()
        self.gangs: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._shared_hosts = 0
        self._log: list[str] = []
        self._where: dict[str, str] = {}
        self._assumed: set[str] = set()
        self._nominated: dict[str, str] = {}

    @property
    def hosts_are_nodes(self) -> bool:
        """Whether no two nodes have the same kubernetes.io/hostname, as it should be."""
        return self._shared_hosts == 0

    def changed_since(self, generation: int) -> set[str] | None:
        """The names of nodes that changed (or went) after that generation; None: too long ago to tell."""
        count = self.generation - generation
        if count > len(self._log):
            return None
        return set(self._log[len(self._log) - count :]) if count else set()

    def set_node(self, obj: Obj) -> None:
        """Takes a Node object in."""
        name = obj["metadata"]["name"]
        node = self.nodes.get(name) or self.nodes.setdefault(name, NodeInfo(name))
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        self._describe(node, -1)
        node.known = True
        node.labels = obj["metadata"].get("labels") or {}
        node.taints = tuple(spec.get("taints") or ())
        node.unschedulable = bool(spec.get("unschedulable"))
        node.allocatable = amounts(status.get("allocatable"))
        node.images = {
            name: image.get("sizeBytes") or 0
            for image in status.get("images") or ()
            for name in image.get("names") or ()
        }
        node.features = frozenset(status.get("declaredFeatures") or ())
        self._describe(node, 1)
        self._touch(name)

    def remove_node(self, name: str) -> None:
        """Forgets a node; its pods stay counted until they are deleted too."""
        node = self.nodes.get(name)
        if node is None:
            return
        self._describe(node, -1)
        node.known = False
        self._touch(name)
        self._tidy(node)

    def set_pod(self, pod: PodInfo, node_name: str) -> None:
        """A pod is bound to the node, says the API; ends its assumption."""
        self._assumed.discard(pod.key)
        self._place(pod, node_name)

    def remove_pod(self, key: str) -> None:
        """A pod is deleted or has ended."""
        self._assumed.discard(key)
        self._displace(key)

    def assume(self, pod: PodInfo, node_name: str) -> None:
        """Counts a pod on the node while its binding is being written."""
        self._assumed.add(pod.key)
        self._place(pod, node_name)

    def forget(self, pod: PodInfo) -> None:
        """The binding failed: the pod is not there, unless the API has said meanwhile that it is.

        Another pod of that name, which may have come since, is left alone.
        """
        key = pod.key
        if key in self._assumed and self.nodes[self._where[key]].pods[key].uid == pod.uid:
            self._assumed.discard(key)
            self._displace(key)

    def is_placed(self, key: str) -> bool:
        """Whether the pod is on a node or assumed to be."""
        return key in self._where

    def is_assumed(self, key: str) -> bool:
        """Whether the API has not said yet that the pod is on its node."""
        return key in self._assumed

    def node_of(self, key: str) -> NodeInfo | None:
        """The node that a pod is on or assumed to be on."""
        name = self._where.get(key)
        return self.nodes[name] if name is not None else None

    def nominate(self, pod: PodInfo, node_name: str) -> None:
        """Keeps room on a node for a pod that waits for others to leave; "" keeps none any more."""
        before = self._nominated.get(pod.key, "")
        if before:
            del self._nominated[pod.key]
            node = self.nodes.get(before)
            if node is not None:
                node.nominated.pop(pod.key, None)
                self._touch(before)
                self._tidy(node)
        if node_name:
            self._nominated[pod.key] = node_name
            node = self.nodes.get(node_name) or self.nodes.setdefault(node_name, NodeInfo(node_name))
            node.nominated[pod.key] = pod
            self._touch(node_name)

    def nomination(self, key: str) -> str:
        """Where room is kept for the pod, or ""."""
        return self._nominated.get(key, "")

    def sizes(self) -> tuple[int, int, int]:
        """How many nodes, placed pods, and among those assumed ones there are."""
        return len(self.nodes), len(self._where), len(self._assumed)

    def placed(self) -> Iterator[tuple[str, PodInfo]]:
        """Every pod that has a node, with the node's name."""
        for node in self.nodes.values():
            for pod in node.pods.values():
                yield node.name, pod

    def _place(self, pod: PodInfo, node_name: str) -> None:
        before = self._where.get(pod.key)
        if before == node_name:
            known = self.nodes[node_name].pods[pod.key]
            if known.shape is pod.shape and known.uid == pod.uid and known.group is pod.group:
                return
        if before is not None:
            self._displace(pod.key)
        if self._nominated:
            self.nominate(pod, "")
        node = self.nodes.get(node_name) or self.nodes.setdefault(node_name, NodeInfo(node_name))
        node.add(pod)
        self._count(pod, 1)
        self._where[pod.key] = node_name
        self._touch(node_name)

    def _displace(self, key: str) -> None:
        name = self._where.pop(key, None)
        if name is None:
            return
        node = self.nodes[name]
        pod = node.pods[key]
        self._count(pod, -1)
        node.remove(pod)
        self._touch(name)
        self._tidy(node)

    def _count(self, pod: PodInfo, sign: int) -> None:
        """Counts in (1) or out (-1) what of a placed pod matters beyond its node."""
        self.holding += sign * bool(pod.group.holds)
        if pod.gang:
            self.gangs[pod.gang] += sign
            if not self.gangs[pod.gang]:
                del self.gangs[pod.gang]
        for name, _ in pod.claims:
            claim = f"{pod.namespace}/{name}"
            self.claims[claim] += sign
            if not self.claims[claim]:
                del self.claims[claim]

    def _tidy(self, node: NodeInfo) -> None:
        if not node.known and not node.pods and not node.nominated:
            self.nodes.pop(node.name, None)

    def _describe(self, node: NodeInfo, sign: int) -> None:
        """Counts what a node's object says, in (1) or out (-1)."""
        if not node.known:
            return
        self.ready += sign
        for image in node.images:
            self.images[image] += sign
            if not self.images[image]:
                del self.images[image]
        host = node.labels.get(HOSTNAME)
        if host is None:
            return
        shared = self._shared_hosts
        if self._hosts[host] > 1:
            self._shared_hosts -= 1
        self._hosts[host] += sign
        if self._hosts[host] > 1:
            self._shared_hosts += 1
        elif not self._hosts[host]:
            del self._hosts[host]
        if bool(shared) != bool(self._shared_hosts):
            self.epoch += 1

    def _touch(self, name: str) -> None:
        self.generation += 1
        self._log.append(name)
        if len(self._log) > 2 * max(_LOG_KEPT, 2 * len(self.nodes)):
            del self._log[: len(self._log) // 2]
