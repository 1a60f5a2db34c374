"""The decision: which node a pod goes to, or why there is none."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from hawser.api.node_affinity import preference
from hawser.scheduler import scores, topology
from hawser.scheduler.cache import Cache, NodeInfo
from hawser.scheduler.filters import Reasons, refusal, unavailable
from hawser.scheduler.shapes import PodInfo, Shape
from hawser.scheduler.terms import NamespaceLabels

_SHAPES_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Decision:
    """node: where the pod goes, or None; then message is kube-scheduler's sentence."""

    node: str | None
    message: str = ""


@dataclass(frozen=True, slots=True)
class _Rating:
    """What one node is to one shape, as long as the node stays as it was at ``generation``."""

    generation: int
    reasons: Reasons
    score: int = 0
    disliked: int = 0
    preferred: int = 0


class Placement:
    """Decides on a cache. Ratings of nodes are remembered by shape, so pods of one template cost little.

    rng: breaks ties between equally good nodes. namespace_labels: for namespace selectors of affinity terms.
    """

    def __init__(
        self,
        cache: Cache,
        rng: random.Random | None = None,
        namespace_labels: NamespaceLabels = lambda name: {"kubernetes.io/metadata.name": name},
    ) -> None:
        self._cache = cache
        self._rng = rng or random.Random()
        self._namespace_labels = namespace_labels
        self._ratings: OrderedDict[Shape, dict[str, _Rating]] = OrderedDict()

    def decide(self, pod: PodInfo) -> Decision:
        """The best node of those that can take the pod. Changes nothing; the caller assumes the pod there."""
        nodes = self._cache.ready
        checks = topology.checks(pod, self._cache, nodes, self._namespace_labels)
        ratings = self._rated(pod.shape)
        feasible: list[tuple[NodeInfo, _Rating]] = []
        refusals: dict[str, int] = {}
        for node in nodes:
            rating = ratings.get(node.name)
            if rating is None or rating.generation != node.generation:
                rating = ratings[node.name] = _rate(pod.shape, node)
            reasons = rating.reasons
            if not reasons:
                for check in checks:
                    reasons = check(node)
                    if reasons:
                        break
                else:
                    feasible.append((node, rating))
                    continue
            for reason in reasons:
                refusals[reason] = refusals.get(reason, 0) + 1
        if not feasible:
            return Decision(None, unavailable(len(nodes), refusals))
        if len(feasible) == 1:
            return Decision(feasible[0][0].name)
        totals = self._totals(pod, [n for n, _ in feasible], [r for _, r in feasible])
        best = max(totals)
        tied = [node.name for (node, _), total in zip(feasible, totals, strict=True) if total == best]
        return Decision(tied[0] if len(tied) == 1 else self._rng.choice(tied))

    def _rated(self, shape: Shape) -> dict[str, _Rating]:
        ratings = self._ratings.get(shape)
        if ratings is None:
            ratings = self._ratings[shape] = {}
            if len(self._ratings) > _SHAPES_REMEMBERED:
                self._ratings.popitem(last=False)
        else:
            self._ratings.move_to_end(shape)
        return ratings

    def _totals(self, pod: PodInfo, nodes: Sequence[NodeInfo], ratings: Sequence[_Rating]) -> list[int]:
        totals = [rating.score for rating in ratings]

        def add(values: Sequence[int], weight: int) -> None:
            for index, value in enumerate(values):
                totals[index] += value * weight

        disliked = [rating.disliked for rating in ratings]
        if any(disliked):
            add(scores.inverted(disliked), scores.WEIGHT_TAINTS)
        preferred = [rating.preferred for rating in ratings]
        if any(preferred):
            add(scores.normalized(preferred), scores.WEIGHT_NODE_AFFINITY)
        crowded = topology.spread_costs(pod, self._cache, nodes)
        if crowded is None and pod.owner and not pod.shape.spread:
            crowded = [node.owners.get(pod.owner, 0) for node in nodes]
        if crowded is not None:
            add(scores.inverted(crowded), scores.WEIGHT_SPREAD)
        attraction = topology.attraction(pod, self._cache, nodes, self._namespace_labels)
        if attraction is not None:
            add(scores.stretched(attraction), scores.WEIGHT_POD_AFFINITY)
        return totals


def _rate(shape: Shape, node: NodeInfo) -> _Rating:
    reasons = refusal(shape, node)
    if reasons:
        return _Rating(node.generation, reasons)
    score = (
        scores.WEIGHT_RESOURCES * scores.least_allocated(shape, node)
        + scores.WEIGHT_BALANCE * scores.balanced(shape, node)
        + scores.WEIGHT_IMAGES * scores.images_present(shape, node)
    )
    preferred = preference(shape.spec, node.name, node.labels) if shape.selects else 0
    return _Rating(node.generation, (), score, scores.disliked(shape, node), preferred)
