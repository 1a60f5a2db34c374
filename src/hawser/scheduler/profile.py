"""What one scheduler profile does: which plugins work, with which weights and arguments.

Source: Kubernetes reference, "Scheduler Configuration" (plugins, defaults) and "Resource Bin Packing" (strategies).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hawser.api.types import Obj

DEFAULT_SCHEDULER = "default-scheduler"
_ENOUGH = 100

WEIGHTS: Mapping[str, int] = {
    "TaintToleration": 3,
    "NodeAffinity": 2,
    "PodTopologySpread": 2,
    "InterPodAffinity": 2,
    "NodeResourcesFit": 1,
    "NodeResourcesBalancedAllocation": 1,
    "ImageLocality": 1,
    "DynamicResources": 2,
}
FILTERING = (
    "NodeUnschedulable",
    "NodeName",
    "TaintToleration",
    "NodeAffinity",
    "NodePorts",
    "NodeResourcesFit",
    "VolumeRestrictions",
    "NodeVolumeLimits",
    "VolumeBinding",
    "VolumeZone",
    "PodTopologySpread",
    "InterPodAffinity",
    "DynamicResources",
    "NodeDeclaredFeatures",
)
SYSTEM_SPREAD: tuple[Obj, ...] = (
    {"maxSkew": 3, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"},
    {"maxSkew": 5, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"},
)
"""The constraints of pods that have none, unless the profile says others."""

Resources = tuple[tuple[str, int], ...]
CPU_AND_MEMORY: Resources = (("cpu", 1), ("memory", 1))


class Packing(StrEnum):
    """How the resources of a node that are in use count for it."""

    LEAST = "LeastAllocated"
    MOST = "MostAllocated"
    RATIO = "RequestedToCapacityRatio"


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile; the defaults are kube-scheduler's.

    filters, weights: the plugins that work there. ratio: points (utilization in percent, score 0 to 100) for RATIO.
    ignored: resources, or groups of them with a "/" at the end, whose lack is no reason to refuse a node.
    percentage: of nodes to look at, None to choose by the size of the cluster. bind_seconds, device_seconds: how long
    volumes, and devices, may take to be bound.
    """

    name: str = DEFAULT_SCHEDULER
    filters: frozenset[str] = frozenset(FILTERING)
    weights: Mapping[str, int] = field(default_factory=lambda: WEIGHTS)
    preempts: bool = True
    packing: Packing = Packing.LEAST
    resources: Resources = CPU_AND_MEMORY
    ratio: tuple[tuple[int, int], ...] = ()
    balanced: Resources = CPU_AND_MEMORY
    ignored: tuple[str, ...] = ()
    spread: tuple[Obj, ...] = SYSTEM_SPREAD
    hard_affinity_weight: int = 1
    ignore_preferred_of_others: bool = False
    added_affinity: Obj | None = None
    percentage: int | None = None
    min_candidates_percent: int = 10
    min_candidates: int = 100
    bind_seconds: float = 600.0
    device_seconds: float = 600.0

    @property
    def by_the_system(self) -> bool:
        """Whether the default spread constraints are the built-in ones, which do not insist on zones."""
        return self.spread is SYSTEM_SPREAD

    def wanted(self, nodes: int) -> int:
        """How many feasible nodes are enough to choose from for the first pod of its kind; for each more, as many more.

        kube-scheduler looks at a tenth of 5,000 nodes for each pod; here what has been seen is remembered.
        """
        if nodes < _ENOUGH or self.percentage == 100:
            return nodes
        return max(_ENOUGH, nodes * self.percentage // 100) if self.percentage else _ENOUGH
