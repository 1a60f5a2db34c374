"""Nodes and what runs or is about to run on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hawser.api.pod_resources import Amounts, amounts
from hawser.api.types import Obj
from hawser.scheduler.shapes import PodInfo, Port, Shapes
from hawser.scheduler.terms import Terms

_COUNTS_KEPT = 256

Matcher = Callable[[PodInfo], bool]


@dataclass(slots=True)
class NodeInfo:
    """One node: what it offers and what is used. generation changes with every change.

    known: False while there are pods of a node whose object has not been seen (or is gone): it takes no pods.
    """

    name: str
    known: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Obj, ...] = ()
    unschedulable: bool = False
    allocatable: Amounts = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)
    pods: dict[str, PodInfo] = field(default_factory=dict)
    requested: Amounts = field(default_factory=dict)
    scored: list[int] = field(default_factory=lambda: [0, 0])
    ports: Counter[Port] = field(default_factory=Counter)
    owners: Counter[str] = field(default_factory=Counter)
    generation: int = 0

    def add(self, pod: PodInfo) -> None:
        """Counts a pod in."""
        self.pods[pod.key] = pod
        self._count(pod, 1)

    def remove(self, pod: PodInfo) -> None:
        """Counts a pod out."""
        del self.pods[pod.key]
        self._count(pod, -1)

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
        if pod.owner:
            self.owners[pod.owner] += sign
            if not self.owners[pod.owner]:
                del self.owners[pod.owner]


def relevant(node: Obj) -> tuple[object, ...]:
    """The parts of a Node object that placement depends on; heartbeats leave them alone."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    return (
        node["metadata"].get("labels"),
        spec.get("taints"),
        spec.get("unschedulable"),
        status.get("allocatable"),
        [i.get("names") for i in status.get("images") or ()],
    )


class Cache:
    """The state that placement decides on: nodes, their pods, and pods that were assigned a moment ago ("assumed").

    generation changes with every change, so that "nothing fits" needs no second proof while it stays the same.
    """

    def __init__(self, shapes: Shapes | None = None) -> None:
        self.shapes = shapes or Shapes()
        self.nodes: dict[str, NodeInfo] = {}
        self.generation = 0
        self.terms = Terms()
        self._where: dict[str, str] = {}
        self._assumed: set[str] = set()
        self._counts: dict[object, tuple[Matcher, Counter[str]]] = {}

    @property
    def ready(self) -> list[NodeInfo]:
        """The nodes that exist."""
        return [node for node in self.nodes.values() if node.known]

    def set_node(self, obj: Obj) -> None:
        """Takes a Node object in."""
        name = obj["metadata"]["name"]
        node = self.nodes.get(name) or self.nodes.setdefault(name, NodeInfo(name))
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
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
        self._touch(node)

    def remove_node(self, name: str) -> None:
        """Forgets a node; its pods stay counted until they are deleted too."""
        node = self.nodes.get(name)
        if node is None:
            return
        node.known = False
        self._touch(node)
        if not node.pods:
            del self.nodes[name]

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

    def forget(self, key: str) -> None:
        """The binding failed: the pod is not there, unless the API has said meanwhile that it is."""
        if key in self._assumed:
            self._assumed.discard(key)
            self._displace(key)

    def is_placed(self, key: str) -> bool:
        """Whether the pod is on a node or assumed to be."""
        return key in self._where

    def counts(self, key: object, matcher: Matcher) -> Mapping[str, int]:
        """How many pods on each node match; kept up to date from the first time a key is asked for.

        key: what the matcher depends on; equal keys must mean equal matchers.
        """
        known = self._counts.get(key)
        if known is None:
            counted: Counter[str] = Counter()
            for node in self.nodes.values():
                number = sum(map(matcher, node.pods.values()))
                if number:
                    counted[node.name] = number
            if len(self._counts) >= _COUNTS_KEPT:
                del self._counts[next(iter(self._counts))]
            known = self._counts[key] = (matcher, counted)
        return known[1]

    def _place(self, pod: PodInfo, node_name: str) -> None:
        before = self._where.get(pod.key)
        if before == node_name:
            known = self.nodes[node_name].pods[pod.key]
            if _same(known, pod):
                return
        if before is not None:
            self._displace(pod.key)
        node = self.nodes.get(node_name) or self.nodes.setdefault(node_name, NodeInfo(node_name))
        node.add(pod)
        self._where[pod.key] = node_name
        self._count(pod, node_name, 1)
        self._touch(node)

    def _displace(self, key: str) -> None:
        name = self._where.pop(key, None)
        if name is None:
            return
        node = self.nodes[name]
        pod = node.pods[key]
        node.remove(pod)
        self._count(pod, name, -1)
        self._touch(node)
        if not node.pods and not node.known:
            del self.nodes[name]

    def _count(self, pod: PodInfo, node_name: str, sign: int) -> None:
        self.terms.count(pod, node_name, sign)
        for matcher, counted in self._counts.values():
            if matcher(pod):
                counted[node_name] += sign

    def _touch(self, node: NodeInfo) -> None:
        self.generation += 1
        node.generation = self.generation


def _same(one: PodInfo, other: PodInfo) -> bool:
    return (
        one.shape is other.shape
        and one.uid == other.uid
        and one.labels == other.labels
        and one.leaving == other.leaving
    )
