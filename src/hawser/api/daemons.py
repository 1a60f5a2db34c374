"""Which nodes a DaemonSet runs on, and what its pods are like there. Pure.

Source: DaemonSet documentation ("How Daemon Pods are scheduled", "Taints and tolerations"): a pod is made for a node by
its name in a node affinity and bound by the scheduler.
"""

from __future__ import annotations

from hawser.api.node_affinity import node_matches
from hawser.api.taints import untolerated
from hawser.api.types import Obj

_NODE = "node.kubernetes.io/"
_TOLERATED = (
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
)


def tolerations(spec: Obj) -> list[Obj]:
    """The tolerations of a template's pods: its own, and what daemons always tolerate."""
    own = list(spec.get("tolerations") or ())
    more = [("network-unavailable", "NoSchedule")] if spec.get("hostNetwork") else []
    for name, effect in (*_TOLERATED, *more):
        toleration = {"key": f"{_NODE}{name}", "operator": "Exists", "effect": effect}
        alike = [t for t in own if _likeness(t) == _likeness(toleration)]
        if alike:
            own[own.index(alike[0])] = toleration
        else:
            own.append(toleration)
    return own


def _likeness(toleration: Obj) -> tuple[object, ...]:
    return (
        toleration.get("key"),
        toleration.get("effect"),
        toleration.get("operator") or "Equal",
        toleration.get("value") or "",
    )


class Places:
    """Where the pods of a DaemonSet belong; it holds for one state of its template."""

    def __init__(self, ds: Obj) -> None:
        self._spec: Obj = ds["spec"]["template"]["spec"]
        self._tolerations = tolerations(self._spec)
        self._name = self._spec.get("nodeName")

    def on(self, node: Obj) -> tuple[bool, bool]:
        """Whether a pod should be there, and whether one that is there already may stay."""
        metadata = node["metadata"]
        name = metadata["name"]
        if self._name and self._name != name:
            return False, False
        if not node_matches(self._spec, name, metadata.get("labels") or {}):
            return False, False
        taints = node["spec"].get("taints") or ()
        if not taints or untolerated(taints, self._tolerations, ("NoSchedule", "NoExecute")) is None:
            return True, True
        return False, untolerated(taints, self._tolerations, ("NoExecute",)) is None


def relevant(node: Obj) -> tuple[object, ...]:
    """All of a node that decides where daemons run."""
    return node["metadata"].get("labels"), node["spec"].get("taints")


def spec_on(ds: Obj, node: str) -> Obj:
    """The spec of the set's pod for a node."""
    spec = ds["spec"]["template"]["spec"]
    return {**spec, "tolerations": tolerations(spec), "affinity": _affinity(spec.get("affinity") or {}, node)}


def _affinity(affinity: Obj, node: str) -> Obj:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {**affinity, "nodeAffinity": {**(affinity.get("nodeAffinity") or {}), **required}}


def node_of(pod: Obj) -> str:
    """The node that a pod is on or made for; "" when neither is known."""
    spec = pod["spec"]
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name" and field["operator"] == "In" and len(field["values"]) == 1:
                return str(field["values"][0])
    return ""
