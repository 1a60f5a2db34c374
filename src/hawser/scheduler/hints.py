"""Which changes may help a pod that was refused: pure, by the plugins that refused it.

A pod is tried again when, and only when, something that could help happened: a node may take it now, or may be made to
by preemption. Source: KEP-4247 (queueing hints).
"""

from __future__ import annotations

from collections.abc import Callable

from hawser.scheduler.cache import NodeInfo
from hawser.scheduler.filters import Refusal
from hawser.scheduler.shapes import Group, PodInfo
from hawser.scheduler.terms import NamespaceLabels, narrowed, required

Concerns = Callable[[PodInfo, frozenset[str]], bool]
"""Whether a change may help a pod that was refused by some plugins."""

VOLUMES = frozenset(("VolumeBinding", "VolumeZone", "VolumeRestrictions", "NodeVolumeLimits"))


class Hints:
    """Whom changes of nodes and pods concern.

    refusal: why a node by itself does not take a pod, in the pod's profile; None if it does.
    """

    def __init__(
        self, refusal: Callable[[PodInfo, NodeInfo], Refusal | None], namespace_labels: NamespaceLabels
    ) -> None:
        self._refusal = refusal
        self._namespace_labels = namespace_labels

    def node_changed(self, node: NodeInfo, *, relabelled: bool = False) -> Concerns:
        """A node is new, or has changed in what placement depends on. relabelled: its labels are others."""
        placed = bool(node.pods)

        def concerns(pod: PodInfo, plugins: frozenset[str]) -> bool:
            if self._may_take(node, pod) or (pod.shape.extended and "DynamicResources" in plugins):
                return True
            if relabelled and _elsewhere(placed, plugins):
                return True
            # Even a node that does not take the pod may be a domain with fewer pods than others, or close one.
            keys = [c["topologyKey"] for c in pod.shape.spread]
            return "PodTopologySpread" in plugins and any(key in node.labels for key in keys)

        return concerns

    def room_made(self, node: NodeInfo | None, left: PodInfo) -> Concerns:
        """A pod has left a node, or takes less of it now."""
        beside = self.pod_changed(left.group, left.group)

        def concerns(pod: PodInfo, plugins: frozenset[str]) -> bool:
            # Whoever refused the pod: the node may have come after that, too full to be worth a try.
            if node is not None and (_is_overdue(node, pod) or (node.known and self._may_take(node, pod, left))):
                return True
            return bool(plugins & VOLUMES) or beside(pod, plugins)

        return concerns

    def pod_changed(self, before: Group | None, after: Group | None) -> Concerns:
        """A placed pod came, went, is being deleted or has other labels: by what others see of it before and after."""
        groups = [group for group in (before, after) if group is not None]
        forbids = [hold.term for group in groups for hold in group.holds if hold.forbids]
        labels = self._namespace_labels

        def concerns(pod: PodInfo, plugins: frozenset[str]) -> bool:
            shape = pod.shape
            if "PodTopologySpread" in plugins:
                for constraint in shape.spread:
                    selector = narrowed(constraint, pod.labels)
                    if any(g.namespace == pod.namespace and selector.matches(g.labels) for g in groups):
                        return True
            if "InterPodAffinity" not in plugins:
                return False
            if any(term.matches(pod.namespace, pod.labels, labels) for term in forbids):
                return True
            terms = [t for a in (shape.affinity, shape.anti_affinity) for t in required(a, pod.namespace, pod.labels)]
            return any(t.matches(g.namespace, g.labels, labels) for t in terms for g in groups)

        return concerns

    def _may_take(self, node: NodeInfo, pod: PodInfo, left: PodInfo | None = None) -> bool:
        """Whether the node takes the pod by itself, or would if others made place for it. left: who has left it."""
        found = self._refusal(pod, node)
        if found is None:
            return True
        if found.final or not pod.shape.preempts or (left is not None and left.priority < pod.priority):
            # A less important pod could have been made to leave before.
            return False
        return any(other.priority < pod.priority for other in node.pods.values())


def node_went(placed: bool) -> Concerns:
    """A node is gone: a domain that nobody could fill may be gone with it, and pods that others kept away from.

    placed: whether there were pods on it.
    """
    return lambda pod, plugins: _elsewhere(placed, plugins)


def refused_by(*plugins: str) -> Concerns:
    """Something that these plugins look at has changed."""
    names = frozenset(plugins)
    return lambda pod, refused: bool(refused & names)


def _elsewhere(placed: bool, plugins: frozenset[str]) -> bool:
    """Whether the place of a node, and of its pods if there are any, may have kept others from other nodes."""
    return "PodTopologySpread" in plugins or (placed and "InterPodAffinity" in plugins)


def _is_overdue(node: NodeInfo, pod: PodInfo) -> bool:
    """Whether a pod was promised a node that nobody leaves for it any more: others may have its place by now."""
    lesser = (other for other in node.pods.values() if other.priority < pod.priority)
    return pod.key in node.nominated and not any(other.group.leaving for other in lesser)
