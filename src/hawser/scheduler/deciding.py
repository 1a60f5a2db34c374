"""Decisions for one pod, or for a group that is placed as a whole or not at all; what they count as placed.

Pure: the live scheduler and the simulation of a dump decide with the same code.
Groups are those of the coscheduling plugin: PodGroup of scheduling.x-k8s.io/v1alpha1 with ``minMember``, and its label
on pods. A group is planned in one go and nothing is kept for a part of it, so two groups never wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from hawser.scheduler.cache import Cache
from hawser.scheduler.filters import Refusal
from hawser.scheduler.hints import VOLUMES
from hawser.scheduler.placement import Decision, NodeCheck, Placement
from hawser.scheduler.promises import Promises
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.volumes import Binding

NO_DEVICES = Refusal("DynamicResources", ("dynamic resource allocation is not supported by this scheduler",), True)
NO_GROUP = Refusal("Coscheduling", ("PodGroup not found",), True)
NOTHING = Binding()


@dataclass(frozen=True, slots=True)
class Placed:
    """A pod that is counted as placed, and what its volumes take."""

    pod: PodInfo
    node: str
    binding: Binding


class Decider:
    """Decides by profile. placements: by name of the profile. promises: of volumes; None until a pod has claims."""

    def __init__(self, cache: Cache, placements: Mapping[str, Placement]) -> None:
        self.promises: Promises | None = None
        self._cache = cache
        self._placements = placements

    def placement(self, pod: PodInfo) -> Placement:
        """Who decides for the pod."""
        return self._placements[pod.shape.scheduler]

    def decide(self, pod: PodInfo, promised: str = "") -> Decision:
        """Where the pod goes. promised: the node that it takes if it can; the room that is kept there is given up."""
        placement = self.placement(pod)
        if promised:
            self._cache.nominate(pod, "")
        if pod.shape.devices and "DynamicResources" in placement.profile.filters:
            return self.blocked(NO_DEVICES)
        check = self.check(pod)
        if isinstance(check, Refusal):
            return self.blocked(check)
        return placement.decide(pod, check, promised)

    def check(self, pod: PodInfo) -> NodeCheck | Refusal | None:
        """What nodes must pass for the pod's volumes."""
        if not pod.claims or not VOLUMES & self.placement(pod).profile.filters:
            return None
        assert self.promises is not None
        return self.promises.check(pod)

    def blocked(self, refusal: Refusal) -> Decision:
        """No node can have the pod, whatever it is like."""
        nodes = self._cache.ready
        message = f"0/{nodes} nodes are available: {', '.join(refusal.reasons)}."
        return Decision(None, message, {refusal: nodes}, blocked=True)

    def place(self, pod: PodInfo, node: str) -> Placed:
        """Counts the pod as placed."""
        checked = pod.claims and VOLUMES & self.placement(pod).profile.filters
        binding = self.promises.make(pod, node) if checked and self.promises is not None else NOTHING
        self._cache.assume(pod, node)
        return Placed(pod, node, binding)

    def unplace(self, placed: Placed) -> None:
        """The pod does not get its place after all."""
        self._cache.forget(placed.pod.key)
        if self.promises is not None:
            self.promises.end(placed.binding)

    def together(
        self, pods: Sequence[PodInfo], least: int, promised: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[list[Placed], list[tuple[PodInfo, Decision]]]:
        """Places pods of a group; none of them if fewer than ``least`` would have a node, those that have one included.

        promised: nodes by key, of pods that take them if they can; the room that is kept for them is given up.

        Returns those that are placed, and why others are not.
        """
        gang = pods[0].gang
        count = len(pods) + self._cache.gangs.get(gang, 0)
        if count < least:
            return [], [(pod, self.blocked(_too_few(pod, count, least))) for pod in pods]
        placed: list[Placed] = []
        refused: list[tuple[PodInfo, Decision]] = []
        for pod in pods:
            decision = self.decide(pod, promised.get(pod.key, ""))
            if decision.node is not None:
                placed.append(self.place(pod, decision.node))
            else:
                refused.append((pod, decision))
        if self._cache.gangs.get(gang, 0) >= least:
            return placed, refused
        for each in reversed(placed):
            self.unplace(each)
        culprit = refused[0][0].name
        message = f"PodGroup {gang} gets rejected due to Pod {culprit} is unschedulable even after PostFilter"
        others = self.blocked(Refusal("Coscheduling", (message,)))
        return [], [*refused, *((each.pod, others) for each in placed)]


def _too_few(pod: PodInfo, count: int, least: int) -> Refusal:
    message = (
        f"pre-filter pod {pod.name} cannot find enough sibling pods, "
        f"current pods number: {count}, minMember of group: {least}"
    )
    return Refusal("Coscheduling", (message,), True)
