"""Whether a pod that is bound to the node has a place on it: kubelet's checks, with its reasons and words.

Most pods come from a scheduler that has asked the same questions; the others are bound by name, or by a scheduler that
knew an older state of the node.
Source: kubelet's admission reasons (OutOfcpu, OutOfpods, NodeAffinity, NodePorts, TaintToleration ...).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from hawser.api.node_affinity import node_matches
from hawser.api.pod_resources import Amounts, amounts, pod_requests
from hawser.api.taints import untolerated
from hawser.api.types import Obj
from hawser.node.pod import preemption, view
from hawser.node.pod.observed import Waiting
from hawser.node.pod.preemption import Standing

_ALWAYS_KNOWN = frozenset({"cpu", "memory", "ephemeral-storage"})

Port = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Share:
    """What one pod takes of the node: amounts, and host ports as (address, protocol, number)."""

    requests: Amounts
    standing: Standing
    ports: frozenset[Port] = frozenset()

    @classmethod
    def of(cls, pod: Obj) -> Share:
        """A pod's share."""
        return cls(pod_requests(pod["spec"]), Standing.of(pod), frozenset(_ports(pod)))


class Book:
    """The pods that the node has taken, and what is left for others."""

    def __init__(self) -> None:
        self._shares: dict[str, Share] = {}
        self._waiting: dict[str, Callable[[], None]] = {}

    def enter(self, pod: Obj) -> None:
        """Counts a pod without asking whether it fits (it runs already), or counts it anew."""
        self._shares[view.uid(pod)] = Share.of(pod)

    def release(self, uid: str) -> None:
        """Whatever the pod took is free again."""
        if self._shares.pop(uid, None) is None:
            return
        self._waiting.pop(uid, None)
        waiting, self._waiting = self._waiting, {}
        for call in waiting.values():
            call()

    def when_released(self, uid: str, call: Callable[[], None]) -> None:
        """Calls once, for a pod that waits, when another gives something back."""
        self._waiting[uid] = call

    def lack(self, pod: Obj, node: Obj) -> str:
        """What the node lacks for what a pod asks for; "" when there is room."""
        return next((text for _, text in self._room(pod, node)), "")

    def used(self, but: str) -> Amounts:
        """What all pods but one take."""
        total: Amounts = {}
        for uid, share in self._shares.items():
            if uid != but:
                for name, value in share.requests.items():
                    total[name] = total.get(name, 0) + value
        return total

    def victims(self, pod: Obj, node: Obj) -> list[str]:
        """The uids of pods that have to go for a critical pod to fit; empty when it would not fit anyway."""
        lack = {name: wanted - (capacity - used) for name, wanted, used, capacity in self._short(pod, node)}
        others = {
            uid: (share.standing, {**share.requests, "pods": 1})
            for uid, share in self._shares.items()
            if uid != view.uid(pod)
        }
        return preemption.victims(lack, others, int(pod["spec"].get("priority") or 0)) if lack else []

    def refusal(self, pod: Obj, node: Obj) -> Waiting | None:
        """Why the node does not take the pod, with kubelet's reason and message; None when it does."""
        found = next(self._refusals(pod, node), None)
        return None if found is None else Waiting(*found)

    def _refusals(self, pod: Obj, node: Obj) -> Iterator[tuple[str, str]]:
        system = (pod["spec"].get("os") or {}).get("name")
        if system not in (None, "linux"):
            yield "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
        yield from self._room(pod, node)
        yield from _placement(pod, node, self._taken_ports(view.uid(pod)))

    def _taken_ports(self, but: str) -> Iterable[Port]:
        return [port for uid, share in self._shares.items() if uid != but for port in share.ports]

    def _room(self, pod: Obj, node: Obj) -> Iterator[tuple[str, str]]:
        for name, wanted, used, capacity in self._short(pod, node):
            text = f"Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}"
            yield f"OutOf{name}", text

    def _short(self, pod: Obj, node: Obj) -> Iterator[tuple[str, int, int, int]]:
        """What there is too little of for the pod: name, and what is requested, used by others, and there at all."""
        allocatable = amounts((node.get("status") or {}).get("allocatable"))
        uid = view.uid(pod)
        others = len(self._shares.keys() - {uid})
        if others + 1 > allocatable.get("pods", 0):
            yield "pods", 1, others, allocatable.get("pods", 0)
        wanted = pod_requests(pod["spec"])
        used = self.used(uid) if any(wanted.values()) else {}
        for name, value in wanted.items():
            # What the node has never heard of is another's to count.
            if not value or (name not in allocatable and name not in _ALWAYS_KNOWN):
                continue
            if value > allocatable.get(name, 0) - used.get(name, 0):
                yield name, value, used.get(name, 0), allocatable.get(name, 0)


def _placement(pod: Obj, node: Obj, taken: Iterable[Port]) -> Iterator[tuple[str, str]]:
    spec, metadata = pod["spec"], node["metadata"]
    if not node_matches(spec, metadata["name"], metadata.get("labels") or {}):
        yield "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    if any(_clash(port, other) for port in _ports(pod) for other in taken):
        yield "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    taints = (node.get("spec") or {}).get("taints") or ()
    if untolerated(taints, spec.get("tolerations") or (), ("NoExecute",)):
        yield "TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"


def _clash(one: Port, other: Port) -> bool:
    return one[1:] == other[1:] and (one[0] == other[0] or "0.0.0.0" in (one[0], other[0]))


def _ports(pod: Obj) -> Iterator[Port]:
    for _, container in view.every_container(pod):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", port["hostPort"]
