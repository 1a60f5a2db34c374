"""Whether one node can take a pod: pure functions of the two, each giving its refusal (None: it can).

The reasons are kube-scheduler's, word for word: people and tools search for them.
Source: Kubernetes reference, "Scheduler Configuration" (the plugins), and "Assigning Pods to Nodes".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from hawser.api import taints
from hawser.api.node_affinity import node_matches
from hawser.api.taints import NO_EXECUTE, NO_SCHEDULE, untolerated
from hawser.scheduler.cache import NodeInfo
from hawser.scheduler.shapes import Shape


class Refusal(NamedTuple):
    """Why a node does not take a pod. plugin: kube-scheduler's name of who says so.

    final: no pod's leaving would change it (UnschedulableAndUnresolvable).
    """

    plugin: str
    reasons: tuple[str, ...]
    final: bool = False


Filter = Callable[[Shape, NodeInfo], Refusal | None]

CORDONED = Refusal("NodeUnschedulable", ("node(s) were unschedulable",), True)
TAINTED = Refusal("TaintToleration", ("node(s) had untolerated taint(s)",), True)
NOT_SELECTED = Refusal("NodeAffinity", ("node(s) didn't match Pod's node affinity/selector",), True)
NOT_NAMED = Refusal("NodeAffinity", ("node(s) didn't satisfy plugin(s) [NodeAffinity]",), True)
NOT_ADDED = Refusal("NodeAffinity", ("node(s) didn't match scheduler-enforced node affinity",), True)
PORTS_TAKEN = Refusal("NodePorts", ("node(s) didn't have free ports for the requested pod ports",))

_CORDON = {"key": taints.UNSCHEDULABLE, "effect": NO_SCHEDULE}


def named(shape: Shape, node: NodeInfo) -> Refusal | None:
    """Required node affinity that names nodes leaves all others out before anything else is looked at."""
    return NOT_NAMED if shape.named is not None and node.name not in shape.named else None


def schedulable(shape: Shape, node: NodeInfo) -> Refusal | None:
    """The node is not cordoned, or the pod tolerates that."""
    if node.unschedulable and not any(taints.tolerates(t, _CORDON) for t in shape.tolerations):
        return CORDONED
    return None


def tolerated(shape: Shape, node: NodeInfo) -> Refusal | None:
    """Every taint that keeps pods off is tolerated."""
    if node.taints and untolerated(node.taints, shape.tolerations, (NO_SCHEDULE, NO_EXECUTE)) is not None:
        return TAINTED
    return None


def selected(shape: Shape, node: NodeInfo) -> Refusal | None:
    """nodeSelector and required node affinity select the node."""
    if not shape.selects or node_matches(shape.spec, node.name, node.labels):
        return None
    return NOT_SELECTED


def ports_free(shape: Shape, node: NodeInfo) -> Refusal | None:
    """No pod of the node uses a host port that the pod wants; 0.0.0.0 overlaps every address."""
    if not shape.ports or not node.ports:
        return None
    for address, protocol, number in shape.ports:
        for used_address, used_protocol, used_number in node.ports:
            if (
                number == used_number
                and protocol == used_protocol
                and (address == used_address or "0.0.0.0" in (address, used_address))
            ):
                return PORTS_TAKEN
    return None


@lru_cache(maxsize=256)
def _short(reasons: tuple[str, ...], final: bool) -> Refusal:
    return Refusal("NodeResourcesFit", reasons, final)


def fits(shape: Shape, node: NodeInfo) -> Refusal | None:
    """The node has room for one more pod and for everything that it requests."""
    allocatable, requested = node.allocatable, node.requested
    reasons: list[str] | None = None
    final = False
    if len(node.pods) + 1 > allocatable.get("pods", 0):
        reasons = ["Too many pods"]
    for resource, wanted in shape.requests.items():
        if wanted > allocatable.get(resource, 0) - requested.get(resource, 0):
            reasons = [*(reasons or ()), f"Insufficient {resource}"]
            # Pods may leave, but the node does not grow.
            final = final or wanted > allocatable.get(resource, 0)
    return None if reasons is None else _short(tuple(reasons), final)


def fits_but(ignored: Sequence[str]) -> Filter:
    """``fits``, whatever a node lacks of some resources. ignored: names, or groups that end in "/"."""

    def check(shape: Shape, node: NodeInfo) -> Refusal | None:
        missing = fits(shape, node)
        if missing is None:
            return None
        reasons = tuple(
            reason
            for reason in missing.reasons
            if not any(
                name == reason.removeprefix("Insufficient ") or (name.endswith("/") and f" {name}" in reason)
                for name in ignored
            )
        )
        return _short(reasons, missing.final) if reasons else None

    return check


def fits_with(backed: Collection[str], base: Filter) -> Filter:
    """The same, whatever a node has none of that devices are to give. backed: such resources."""

    def check(shape: Shape, node: NodeInfo) -> Refusal | None:
        missing = base(shape, node)
        if missing is None:
            return None
        given = {f"Insufficient {name}" for name in backed if not node.allocatable.get(name)}
        reasons = tuple(reason for reason in missing.reasons if reason not in given)
        if len(reasons) == len(missing.reasons):
            return missing
        names = [reason.removeprefix("Insufficient ") for reason in reasons]
        final = any(shape.requests.get(name, 0) > node.allocatable.get(name, 0) for name in names)
        return _short(reasons, final) if reasons else None

    return check


def declared(shape: Shape, node: NodeInfo) -> Refusal | None:
    """The node declares all features that the pod depends on (KEP-5328)."""
    if not shape.features or node.features.issuperset(shape.features):
        return None
    return _lacking(tuple(name for name in shape.features if name not in node.features))


@lru_cache(maxsize=256)
def _lacking(features: tuple[str, ...]) -> Refusal:
    why = f"node declared features check failed - unsatisfied requirements: {', '.join(features)}"
    return Refusal("NodeDeclaredFeatures", (why,), True)


FILTERS: tuple[tuple[str, Filter], ...] = (
    ("NodeAffinity", named),
    ("NodeUnschedulable", schedulable),
    ("TaintToleration", tolerated),
    ("NodeAffinity", selected),
    ("NodePorts", ports_free),
    ("NodeResourcesFit", fits),
    ("NodeDeclaredFeatures", declared),
)
"""With their plugins, in kube-scheduler's order: only the first that refuses a node is named."""

DEFAULT = tuple(check for _, check in FILTERS)


def chosen(
    names: Collection[str], ignored: Sequence[str], backed: Collection[str], depends: bool
) -> tuple[Filter, ...]:
    """The filters of these plugins. ignored: see ``fits_but``; backed: see ``fits_with``.

    depends: whether there are features that nodes have to declare.
    """
    fit = fits_but(ignored) if ignored else fits
    fit = fits_with(backed, fit) if backed else fit
    used = [check for name, check in FILTERS if name in names and (depends or check is not declared)]
    return tuple(fit if check is fits else check for check in used)


def refusal(shape: Shape, node: NodeInfo, filters: tuple[Filter, ...] = DEFAULT) -> Refusal | None:
    """Why the node cannot take the pod; None if it can."""
    for check in filters:
        found = check(shape, node)
        if found is not None:
            return found
    return None


def unavailable(nodes: int, refusals: Mapping[Refusal, int]) -> str:
    """kube-scheduler's sentence: ``0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.``"""
    if not nodes:
        return "no nodes available to schedule pods"
    counted: dict[str, int] = {}
    for found, count in refusals.items():
        for reason in found.reasons:
            counted[reason] = counted.get(reason, 0) + count
    listed = sorted(f"{count} {reason}" for reason, count in counted.items())
    return f"0/{nodes} nodes are available: {', '.join(listed)}."
