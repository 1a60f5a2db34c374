"""Which changes may help a pod that was refused: pure, by the plugins that refused it.

A pod is tried again when, and only when, something that could help happened. Source: KEP-4247 (queueing hints).
"""

from __future__ import annotations

from collections.abc import Callable

from hawser.scheduler.cache import NodeInfo
from hawser.scheduler.filters import refusal
from hawser.scheduler.shapes import Group, PodInfo
from hawser.scheduler.terms import NamespaceLabels, narrowed, required

Concerns = Callable[[PodInfo, frozenset[str]], bool]

VOLUMES = frozenset(("VolumeBinding", "VolumeZone", "VolumeRestrictions", "NodeVolumeLimits"))


def node_came(node: NodeInfo) -> Concerns:
    """A node is new, or has changed in what placement depends on."""

    def concerns(pod: PodInfo, plugins: frozenset[str]) -> bool:
        shape = pod.shape
        if refusal(shape, node) is None or (shape.extended and "DynamicResources" in plugins):
            return True
        # Even a node that does not take the pod may be a domain with fewer pods than others, or close one.
        keys = [c["topologyKey"] for c in shape.spread]
        return "PodTopologySpread" in plugins and any(key in node.labels for key in keys)

    return concerns


def node_went(pod: PodInfo, plugins: frozenset[str]) -> bool:
    """A node is gone: a domain that nobody could fill may be gone with it."""
    return "PodTopologySpread" in plugins


def room_made(node: NodeInfo | None, group: Group, namespace_labels: NamespaceLabels) -> Concerns:
    """A pod of a group has left a node, or takes less of it now."""
    beside = pod_changed(group, group, namespace_labels)

    def concerns(pod: PodInfo, plugins: frozenset[str]) -> bool:
        # Whoever refused the pod: the node may have come after that, too full to be worth a try.
        if node is not None and node.known and refusal(pod.shape, node) is None:
            return True
        return bool(plugins & VOLUMES) or beside(pod, plugins)

    return concerns


def pod_changed(before: Group | None, after: Group | None, namespace_labels: NamespaceLabels) -> Concerns:
    """A placed pod came, went, is being deleted or has other labels: by what others see of it before and after."""
    groups = [group for group in (before, after) if group is not None]
    forbids = [hold.term for group in groups for hold in group.holds if hold.forbids]

    def concerns(pod: PodInfo, plugins: frozenset[str]) -> bool:
        shape = pod.shape
        if "PodTopologySpread" in plugins:
            for constraint in shape.spread:
                selector = narrowed(constraint, pod.labels)
                if any(g.namespace == pod.namespace and selector.matches(g.labels) for g in groups):
                    return True
        if "InterPodAffinity" not in plugins:
            return False
        if any(term.matches(pod.namespace, pod.labels, namespace_labels) for term in forbids):
            return True
        terms = [t for a in (shape.affinity, shape.anti_affinity) for t in required(a, pod.namespace, pod.labels)]
        return any(t.matches(g.namespace, g.labels, namespace_labels) for t in terms for g in groups)

    return concerns


def refused_by(*plugins: str) -> Concerns:
    """Something that these plugins look at has changed."""
    names = frozenset(plugins)
    return lambda pod, refused: bool(refused & names)
