"""Whether one node can take a pod: pure functions of the two, each giving its reasons against it (empty: none).

The reasons are kube-scheduler's, word for word: people and tools search for them.
Source: Kubernetes reference, "Scheduler Configuration" (the plugins), and "Assigning Pods to Nodes".
"""

from __future__ import annotations

from collections.abc import Callable

from hawser.api import taints
from hawser.api.node_affinity import node_matches
from hawser.api.taints import NO_EXECUTE, NO_SCHEDULE, untolerated
from hawser.scheduler.cache import NodeInfo
from hawser.scheduler.shapes import Shape

Reasons = tuple[str, ...]
NONE: Reasons = ()

_CORDON = {"key": taints.UNSCHEDULABLE, "effect": NO_SCHEDULE}


def schedulable(shape: Shape, node: NodeInfo) -> Reasons:
    """The node is not cordoned, or the pod tolerates that."""
    if node.unschedulable and not any(taints.tolerates(t, _CORDON) for t in shape.tolerations):
        return ("node(s) were unschedulable",)
    return NONE


def tolerated(shape: Shape, node: NodeInfo) -> Reasons:
    """Every taint that keeps pods off is tolerated."""
    if node.taints and untolerated(node.taints, shape.tolerations, (NO_SCHEDULE, NO_EXECUTE)) is not None:
        return ("node(s) had untolerated taint(s)",)
    return NONE


def selected(shape: Shape, node: NodeInfo) -> Reasons:
    """nodeSelector and required node affinity select the node."""
    if not shape.selects or node_matches(shape.spec, node.name, node.labels):
        return NONE
    return ("node(s) didn't match Pod's node affinity/selector",)


def ports_free(shape: Shape, node: NodeInfo) -> Reasons:
    """No pod of the node uses a host port that the pod wants; 0.0.0.0 overlaps every address."""
    for address, protocol, number in shape.ports:
        for used_address, used_protocol, used_number in node.ports:
            if (
                number == used_number
                and protocol == used_protocol
                and (address == used_address or "0.0.0.0" in (address, used_address))
            ):
                return ("node(s) didn't have free ports for the requested pod ports",)
    return NONE


def fits(shape: Shape, node: NodeInfo) -> Reasons:
    """The node has room for one more pod and for everything that it requests."""
    reasons = []
    if len(node.pods) + 1 > node.allocatable.get("pods", 0):
        reasons.append("Too many pods")
    for resource, wanted in shape.requests.items():
        if wanted > node.allocatable.get(resource, 0) - node.requested.get(resource, 0):
            reasons.append(f"Insufficient {resource}")
    return tuple(reasons)


FILTERS: tuple[Callable[[Shape, NodeInfo], Reasons], ...] = (schedulable, tolerated, selected, ports_free, fits)
"""In kube-scheduler's order: only the first filter that refuses a node is named."""


def refusal(shape: Shape, node: NodeInfo) -> Reasons:
    """Why the node cannot take the pod; empty if it can."""
    for check in FILTERS:
        reasons = check(shape, node)
        if reasons:
            return reasons
    return NONE


def unavailable(nodes: int, refusals: dict[str, int]) -> str:
    """kube-scheduler's sentence: ``0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.``"""
    if not nodes:
        return "no nodes available to schedule pods"
    listed = sorted(f"{count} {reason}" for reason, count in refusals.items())
    return f"0/{nodes} nodes are available: {', '.join(listed)}."
