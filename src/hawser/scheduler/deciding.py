"""Decisions for one pod, or for a group that is placed as a whole or not at all; what they count as placed.

Pure: the live scheduler and the simulation of a dump decide with the same code.
Groups are those of the coscheduling plugin: PodGroup of scheduling.x-k8s.io/v1alpha1 with ``minMember``, and its label
on pods. A group is planned in one go and nothing is kept for a part of it, so two groups never wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from hawser.scheduler.cache import Cache, NodeInfo
from hawser.scheduler.filters import Refusal
from hawser.scheduler.hints import VOLUMES
from hawser.scheduler.placement import Decision, Placement
from hawser.scheduler.promises import Promises, VolumeCheck
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.volumes import Binding

if TYPE_CHECKING:
    # Whoever has no pods that claim devices does not load what allocates them.
    from hawser.scheduler.devices.plan import DeviceCheck, Devices, Reservation

NO_GROUP = Refusal("Coscheduling", ("PodGroup not found",), True)
NOTHING = Binding()


@dataclass(frozen=True, slots=True)
class Placed:
    """A pod that is counted as placed, and what its volumes take; devices: what it gets of them, if it claims any."""

    pod: PodInfo
    node: str
    binding: Binding
    devices: Reservation | None = None

    @property
    def prepares(self) -> bool:
        """Whether something is to be done before the pod is bound."""
        return self.devices is not None or bool(self.binding.static or self.binding.dynamic)


@dataclass(frozen=True, slots=True)
class Checks:
    """What a node, by its name, must pass besides what is the same for all pods that are alike."""

    volumes: VolumeCheck | None = None
    devices: DeviceCheck | None = None

    def __call__(self, name: str) -> Refusal | None:
        refused = self.volumes(name) if self.volumes is not None else None
        return self.devices(name) if refused is None and self.devices is not None else refused

    @property
    def held(self) -> frozenset[str]:
        """The pod's claims that another uses and nobody else may."""
        return self.volumes.held if self.volumes is not None else frozenset()

    def crowded(self, node: NodeInfo) -> Refusal | None:
        """Whether a node, if it were like this, would not pass because of its pods."""
        return self.volumes.crowded(node) if self.volumes is not None else None

    def lasting(self, name: str) -> Refusal | None:
        """Why the node does not pass, whoever leaves it."""
        refused = self.volumes.lasting(name) if self.volumes is not None else None
        return self.devices(name) if refused is None and self.devices is not None else refused

    @property
    def worth(self) -> Callable[[str], int] | None:
        """How good a node that passed is for the pod's devices; None if all are alike."""
        return self.devices.worth if self.devices is not None and self.devices.ranked else None


class Decider:
    """Decides by profile. placements: by name of the profile.

    promises: of volumes; None until a pod has claims. devices: the same for claims of devices. backed: by extended
    resource, the class whose devices it is.
    """

    def __init__(self, cache: Cache, placements: Mapping[str, Placement]) -> None:
        self.promises: Promises | None = None
        self.devices: Devices | None = None
        self.backed: Mapping[str, str] = {}
        self._cache = cache
        self._placements = placements

    def placement(self, pod: PodInfo) -> Placement:
        """Who decides for the pod."""
        return self._placements[pod.shape.scheduler]

    def refusal(self, pod: PodInfo, node: NodeInfo) -> Refusal | None:
        """Why the node does not take the pod, by what can be told of the two alone; None if it does."""
        return self.placement(pod).refusal(pod, node)

    def decide(self, pod: PodInfo, promised: str = "") -> Decision:
        """Where the pod goes. promised: the node that it takes if it can; the room that is kept there is given up."""
        placement = self.placement(pod)
        if promised:
            self._cache.nominate(pod, "")
        check = self.check(pod)
        if isinstance(check, Refusal):
            return self.blocked(check)
        return placement.decide(pod, check, promised, check.worth if check is not None else None)

    def check(self, pod: PodInfo) -> Checks | Refusal | None:
        """What nodes must pass for the pod's volumes and devices."""
        volumes: VolumeCheck | None = None
        if pod.claims and VOLUMES & self.placement(pod).profile.filters:
            assert self.promises is not None
            found = self.promises.check(pod)
            if isinstance(found, Refusal):
                return found
            volumes = found
        if not self.wants_devices(pod):
            return Checks(volumes) if volumes is not None else None
        assert self.devices is not None
        devices = self.devices.check(pod, self.placement(pod).profile.device_seconds)
        return devices if isinstance(devices, Refusal) else Checks(volumes, devices)

    def wants_devices(self, pod: PodInfo) -> bool:
        """Whether devices are to be allocated for the pod here."""
        shape = pod.shape
        if not shape.devices and not (shape.extended and any(map(self.backed.__contains__, shape.extended))):
            return False
        return "DynamicResources" in self.placement(pod).profile.filters

    def lacks_claims(self, pod: PodInfo) -> bool:
        """Whether claims that are to be made for the pod are not there yet; nobody is told about that."""
        return self.devices is not None and self.wants_devices(pod) and self.devices.lacks_claims(pod)

    def back(self, backed: Mapping[str, str]) -> None:
        """Other extended resources are devices now."""
        self.backed = backed
        for placement in self._placements.values():
            placement.backed = backed.keys() if "DynamicResources" in placement.profile.filters else frozenset()
            placement.forget()
        if self.devices is not None:
            self.devices.stock.backed = backed

    def blocked(self, refusal: Refusal) -> Decision:
        """No node can have the pod, whatever it is like."""
        nodes = self._cache.ready
        message = f"0/{nodes} nodes are available: {', '.join(refusal.reasons)}."
        return Decision(None, message, {refusal: nodes}, blocked=True)

    def explain(self, pod: PodInfo, decision: Decision, preemption: str, freed: str = "") -> str:
        """kube-scheduler's sentence on a pod that has no node and gets none by preemption either.

        freed: what was done to a claim of the pod, so that it may find a node the next time.
        """
        if "DynamicResources" not in self.placement(pod).profile.filters:
            return f"{decision.message} preemption: {preemption}"
        if decision.blocked and "DynamicResources" not in decision.plugins:
            # The original asks for what it noted of claims, and it came not to note any: the search ends there.
            return f"{decision.message} not found"
        claims = "no new claims to deallocate"
        if self.wants_devices(pod) and not decision.blocked:
            claims = freed or "still not schedulable"
        return f"{decision.message} {claims}, preemption: {preemption}"

    def place(self, pod: PodInfo, node: str) -> Placed:
        """Counts the pod as placed."""
        checked = pod.claims and VOLUMES & self.placement(pod).profile.filters
        binding = self.promises.make(pod, node) if checked and self.promises is not None else NOTHING
        devices = self.devices.make(pod, node) if self.devices is not None and self.wants_devices(pod) else None
        self._cache.assume(pod, node)
        return Placed(pod, node, binding, devices)

    def unplace(self, placed: Placed) -> None:
        """The pod does not get its place after all."""
        self._cache.forget(placed.pod)
        if self.promises is not None:
            self.promises.end(placed.binding)
        if self.devices is not None and placed.devices is not None:
            self.devices.end(placed.devices)

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
