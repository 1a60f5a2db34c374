"""Placement relative to other pods: topology spread constraints, inter-pod affinity and anti-affinity.

Source: Kubernetes documentation, "Pod Topology Spread Constraints" and "Inter-pod affinity and anti-affinity".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from hawser.api.node_affinity import node_matches
from hawser.api.taints import NO_EXECUTE, NO_SCHEDULE, untolerated
from hawser.api.types import Obj
from hawser.scheduler.cache import Cache, NodeInfo
from hawser.scheduler.filters import NONE, Reasons
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.terms import Hold, NamespaceLabels, Term, required, selector_of, weighted

SPREAD = ("node(s) didn't match pod topology spread constraints",)
SPREAD_LABEL = ("node(s) didn't match pod topology spread constraints (missing required label)",)
AFFINITY = ("node(s) didn't match pod affinity rules",)
ANTI_AFFINITY = ("node(s) didn't match pod anti-affinity rules",)
EXISTING = ("node(s) didn't satisfy existing pods anti-affinity rules",)

Check = Callable[[NodeInfo], Reasons]


def checks(pod: PodInfo, cache: Cache, nodes: Sequence[NodeInfo], namespace_labels: NamespaceLabels) -> list[Check]:
    """What a node must pass beyond its own properties; empty for most pods."""
    found: list[Check] = []
    hard = [c for c in pod.shape.spread if c.get("whenUnsatisfiable") != "ScheduleAnyway"]
    if hard:
        found.append(_spread_check(pod, cache, nodes, hard))
    terms = required(pod.shape.affinity, pod)
    if terms:
        found.append(_affinity_check(pod, cache, nodes, terms, namespace_labels))
    for term in required(pod.shape.anti_affinity, pod):
        taken = _domains(cache, nodes, term.topology_key, _matching(cache, term, namespace_labels))
        found.append(_forbid(term.topology_key, taken, ANTI_AFFINITY))
    for term, _, where in cache.terms.held(Hold.FORBIDS):
        if term.matches(pod, namespace_labels):
            found.append(_forbid(term.topology_key, _domains(cache, nodes, term.topology_key, where), EXISTING))
    return found


def _matching(cache: Cache, term: Term, namespace_labels: NamespaceLabels) -> Mapping[str, int]:
    return cache.counts(term, lambda other: term.matches(other, namespace_labels))


def _domains(cache: Cache, nodes: Sequence[NodeInfo], key: str, counted: Mapping[str, int]) -> dict[str, int]:
    """How many of the counted pods there are in each value of a topology key."""
    domains: dict[str, int] = {}
    if len(counted) < len(nodes):
        nodes = [cache.nodes[name] for name in counted if name in cache.nodes]
    for node in nodes:
        value = node.labels.get(key)
        count = counted.get(node.name, 0)
        if value is not None and count:
            domains[value] = domains.get(value, 0) + count
    return domains


def _forbid(key: str, taken: Mapping[str, int], reasons: Reasons) -> Check:
    def check(node: NodeInfo) -> Reasons:
        return reasons if node.labels.get(key) in taken else NONE

    return check


def _affinity_check(
    pod: PodInfo, cache: Cache, nodes: Sequence[NodeInfo], terms: list[Term], namespace_labels: NamespaceLabels
) -> Check:
    # Only pods that all terms speak of count.
    together = cache.counts(tuple(terms), lambda other: all(t.matches(other, namespace_labels) for t in terms))
    wanted = [(term.topology_key, _domains(cache, nodes, term.topology_key, together)) for term in terms]
    # The first pod of a group that wants to be together may go anywhere that has the labels.
    first = not any(domains for _, domains in wanted) and all(t.matches(pod, namespace_labels) for t in terms)

    def check(node: NodeInfo) -> Reasons:
        for key, domains in wanted:
            value = node.labels.get(key)
            if value is None or (not first and value not in domains):
                return AFFINITY
        return NONE

    return check


@dataclass(frozen=True, slots=True)
class _Constraint:
    """A spread constraint with the pods of each eligible domain."""

    key: str
    max_skew: int
    domains: dict[str, int]
    least: int
    itself: int


def _constraint(pod: PodInfo, cache: Cache, eligible: Sequence[NodeInfo], constraint: Obj) -> _Constraint:
    selector_obj = constraint.get("labelSelector")
    keys = [key for key in constraint.get("matchLabelKeys") or () if key in pod.labels]
    if selector_obj is not None and keys:
        same = [{"key": key, "operator": "In", "values": [pod.labels[key]]} for key in keys]
        selector_obj = {**selector_obj, "matchExpressions": [*(selector_obj.get("matchExpressions") or ()), *same]}
    selector = selector_of(selector_obj)
    namespace = pod.namespace
    counted = cache.counts(
        ("spread", namespace, orjson.dumps(selector_obj)),
        lambda other: other.namespace == namespace and not other.leaving and selector.matches(other.labels),
    )
    key = constraint["topologyKey"]
    domains: dict[str, int] = {}
    for node in eligible:
        value = node.labels[key]
        domains[value] = domains.get(value, 0) + counted.get(node.name, 0)
    least = min(domains.values(), default=0)
    if len(domains) < (constraint.get("minDomains") or 1):
        least = 0
    return _Constraint(key, constraint.get("maxSkew") or 1, domains, least, int(selector.matches(pod.labels)))


def _eligible(pod: PodInfo, nodes: Sequence[NodeInfo], keys: Sequence[str], constraint: Obj) -> list[NodeInfo]:
    """The nodes whose domains a constraint counts: those with all keys, by nodeAffinityPolicy and nodeTaintsPolicy."""
    shape = pod.shape
    found = [node for node in nodes if all(key in node.labels for key in keys)]
    if constraint.get("nodeAffinityPolicy") != "Ignore" and shape.selects:
        found = [node for node in found if node_matches(shape.spec, node.name, node.labels)]
    if constraint.get("nodeTaintsPolicy") == "Honor":
        effects = (NO_SCHEDULE, NO_EXECUTE)
        found = [node for node in found if untolerated(node.taints, shape.tolerations, effects) is None]
    return found


def _spread_check(pod: PodInfo, cache: Cache, nodes: Sequence[NodeInfo], constraints: list[Obj]) -> Check:
    keys = [c["topologyKey"] for c in constraints]
    prepared = [_constraint(pod, cache, _eligible(pod, nodes, keys, c), c) for c in constraints]

    def check(node: NodeInfo) -> Reasons:
        for c in prepared:
            value = node.labels.get(c.key)
            if value is None:
                return SPREAD_LABEL
            if c.domains.get(value, 0) + c.itself - c.least > c.max_skew:
                return SPREAD
        return NONE

    return check


def spread_costs(pod: PodInfo, cache: Cache, nodes: Sequence[NodeInfo]) -> list[int] | None:
    """For each node how crowded its domains are by the ScheduleAnyway constraints, the more the worse; None: no wish.

    Nodes without a constraint's label are worse than any other.
    """
    soft = [c for c in pod.shape.spread if c.get("whenUnsatisfiable") == "ScheduleAnyway"]
    if not soft:
        return None
    keys = [c["topologyKey"] for c in soft]
    prepared = [_constraint(pod, cache, _eligible(pod, nodes, keys, c), c) for c in soft]
    # The more domains a key has, the fewer pods each of them gets: the logarithm evens keys out.
    scales = [math.log(len(c.domains) + 2) for c in prepared]
    costs: list[float | None] = []
    for node in nodes:
        if any(key not in node.labels for key in keys):
            costs.append(None)
            continue
        costs.append(
            sum(
                c.domains.get(node.labels[c.key], 0) * scale + c.max_skew - 1
                for c, scale in zip(prepared, scales, strict=True)
            )
        )
    worst = max((cost for cost in costs if cost is not None), default=0.0)
    return [round(100 * (worst + 1 if cost is None else cost)) for cost in costs]


def attraction(
    pod: PodInfo, cache: Cache, nodes: Sequence[NodeInfo], namespace_labels: NamespaceLabels
) -> list[int] | None:
    """For each node the weights of preferred terms, the pod's own and those that placed pods have; None: no wish."""
    pulls: list[tuple[str, dict[str, int], int]] = []
    own = [
        *weighted(pod.shape.affinity, pod),
        *((term, -weight) for term, weight in weighted(pod.shape.anti_affinity, pod)),
    ]
    for term, weight in own:
        counted = _matching(cache, term, namespace_labels)
        pulls.append((term.topology_key, _domains(cache, nodes, term.topology_key, counted), weight))
    for term, weight, where in cache.terms.held(Hold.ATTRACTS):
        if term.matches(pod, namespace_labels):
            pulls.append((term.topology_key, _domains(cache, nodes, term.topology_key, where), weight))
    if not pulls:
        return None
    return [
        sum(domains.get(node.labels.get(key, ""), 0) * weight for key, domains, weight in pulls if key in node.labels)
        for node in nodes
    ]
