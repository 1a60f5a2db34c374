"""What a pod wishes of its place relative to other pods: spread constraints, inter-pod affinity and anti-affinity.

Source: Kubernetes documentation, "Pod Topology Spread Constraints" and "Inter-pod affinity and anti-affinity".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hawser.api.node_affinity import node_matches
from hawser.api.selectors import LabelSelector
from hawser.api.taints import NO_EXECUTE, NO_SCHEDULE, untolerated
from hawser.api.types import Obj
from hawser.scheduler.cache import NodeInfo
from hawser.scheduler.filters import Refusal
from hawser.scheduler.profile import Profile
from hawser.scheduler.shapes import Group, PodInfo, Shape
from hawser.scheduler.terms import NamespaceLabels, Term, narrowed, required, weighted

UNEVEN = Refusal("PodTopologySpread", ("node(s) didn't match pod topology spread constraints",))
UNLABELLED = Refusal(
    "PodTopologySpread", ("node(s) didn't match pod topology spread constraints (missing required label)",), True
)
ALONE = Refusal("InterPodAffinity", ("node(s) didn't match pod affinity rules",), True)
CROWDED = Refusal("InterPodAffinity", ("node(s) didn't match pod anti-affinity rules",))
FORBIDDEN = Refusal("InterPodAffinity", ("node(s) didn't satisfy existing pods anti-affinity rules",))


class Part(StrEnum):
    """What a wish is about."""

    SPREAD = "spread"
    SOFT = "soft spread"
    TOGETHER = "required affinity"
    APART = "required anti-affinity"
    PULL = "preferred terms"
    FORBIDS = "others' anti-affinity"


@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """One wish: pods are counted by the value of a node label.

    counts: what a pod of a group counts, 0 if the wish does not speak of it. itself: what the new pod will count.
    eligible: whether a node's pods count at all (spread constraints only).
    """

    part: Part
    key: str
    counts: Callable[[Group], int]
    eligible: Callable[[NodeInfo], bool] | None = None
    itself: int = 0
    max_skew: int = 1
    min_domains: int = 1


def wishes_of(
    pod: PodInfo, profile: Profile, namespace_labels: NamespaceLabels, siblings: LabelSelector | None
) -> list[Wish]:
    """The pod's own wishes. siblings: what selects the pods of its Service or controller, for default constraints."""
    found: list[Wish] = []
    if "PodTopologySpread" in profile.filters or profile.weights.get("PodTopologySpread"):
        found += _spread(pod, profile, siblings)
    group, shape = pod.group, pod.shape
    if not shape.affinity and not shape.anti_affinity:
        return found

    def speaks(term: Term, other: Group) -> bool:
        return term.matches(other.namespace, other.labels, namespace_labels)

    def weight_of(term: Term, weight: int) -> Callable[[Group], int]:
        return lambda other: weight if speaks(term, other) else 0

    if "InterPodAffinity" in profile.filters:
        together = required(shape.affinity, group.namespace, group.labels)

        # Only pods that all terms speak of count.
        def all_speak(other: Group) -> int:
            return int(all(speaks(term, other) for term in together))

        found += [Wish(Part.TOGETHER, t.topology_key, all_speak, itself=all_speak(group)) for t in together]
        apart = required(shape.anti_affinity, group.namespace, group.labels)
        found += [Wish(Part.APART, t.topology_key, weight_of(t, 1)) for t in apart]
    if profile.weights.get("InterPodAffinity"):
        near = weighted(shape.affinity, group.namespace, group.labels)
        far = weighted(shape.anti_affinity, group.namespace, group.labels)
        found += [Wish(Part.PULL, t.topology_key, weight_of(t, w)) for t, w in near]
        found += [Wish(Part.PULL, t.topology_key, weight_of(t, -w)) for t, w in far]
    return found


def held_wish(part: Part, key: str) -> Wish:
    """The wish that stands for what placed pods hold against (or for) the pod; it is counted where they are met."""
    return Wish(part, key, lambda other: 0)


def _spread(pod: PodInfo, profile: Profile, siblings: LabelSelector | None) -> list[Wish]:
    constraints: Sequence[Obj] = pod.shape.spread
    selectors = [narrowed(c, pod.labels) for c in constraints]
    strict = True
    if not constraints and siblings is not None:
        constraints = profile.spread
        selectors = [siblings] * len(constraints)
        # Nodes without a zone still spread by their names.
        strict = not profile.by_the_system
    found = []
    for soft in (False, True):
        chosen = [
            (c, s)
            for c, s in zip(constraints, selectors, strict=True)
            if (c.get("whenUnsatisfiable") == "ScheduleAnyway") is soft
        ]
        keys = [c["topologyKey"] for c, _ in chosen] if strict or not soft else []
        found += [_constraint(pod, c, selector, keys, soft) for c, selector in chosen]
    return found


def _constraint(pod: PodInfo, constraint: Obj, selector: LabelSelector, keys: list[str], soft: bool) -> Wish:
    namespace = pod.namespace

    def counts(other: Group) -> int:
        return int(other.namespace == namespace and not other.leaving and selector.matches(other.labels))

    return Wish(
        Part.SOFT if soft else Part.SPREAD,
        constraint["topologyKey"],
        counts,
        _eligibility(pod.shape, constraint, keys),
        int(selector.matches(pod.labels)),
        constraint.get("maxSkew") or 1,
        constraint.get("minDomains") or 1,
    )


def _eligibility(shape: Shape, constraint: Obj, keys: list[str]) -> Callable[[NodeInfo], bool]:
    """The nodes whose domains a constraint counts: those with all keys, by nodeAffinityPolicy and nodeTaintsPolicy."""
    selects = constraint.get("nodeAffinityPolicy") != "Ignore" and shape.selects
    tolerates = constraint.get("nodeTaintsPolicy") == "Honor"

    def eligible(node: NodeInfo) -> bool:
        if any(key not in node.labels for key in keys):
            return False
        if selects and not node_matches(shape.spec, node.name, node.labels):
            return False
        return not tolerates or untolerated(node.taints, shape.tolerations, (NO_SCHEDULE, NO_EXECUTE)) is None

    return eligible
