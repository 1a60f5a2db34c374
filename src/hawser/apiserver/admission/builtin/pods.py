"""Small plugins of pods and nodes: tolerations, priority, runtime classes, topology labels.

Source: Kubernetes documentation, "Admission Control in Kubernetes"; "Pod Priority and Preemption"; "Runtime Class" and
"Pod Overhead"; KEP-4742 (topology labels of pods).
"""

from __future__ import annotations

from hawser.api.kind import Kind
from hawser.api.kinds import NODE, POD, PRIORITY_CLASS, RUNTIME_CLASS
from hawser.api.quantity import compare
from hawser.api.taints import NO_EXECUTE, NO_SCHEDULE, NOT_READY, UNREACHABLE
from hawser.api.tolerations import merged
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation, Plugin, Request
from hawser.apiserver.admission.refusals import refused
from hawser.apiserver.committed import Committed
from hawser.apiserver.options import TOLERATION_SECONDS

_PREEMPT = "PreemptLowerPriority"
_TOPOLOGY = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


class DefaultTolerationSeconds(Plugin):
    """Pods leave a node that is not ready or unreachable after some minutes unless they say otherwise."""

    name = "DefaultTolerationSeconds"

    def __init__(self) -> None:
        self.configure(*TOLERATION_SECONDS)

    def configure(self, not_ready: int, unreachable: int) -> None:
        """After how many seconds."""
        self._seconds = {NOT_READY: not_ready, UNREACHABLE: unreachable}

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Pods."""
        return kind is POD and not subresource and operation in (Operation.CREATE, Operation.UPDATE)

    def mutate(self, request: Request) -> None:
        """Add what the pod does not tolerate in any way."""
        spec = request.new.get("spec")
        if spec is None:
            return
        tolerations = spec.get("tolerations") or []
        missing = [
            {"key": taint, "operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": seconds}
            for taint, seconds in self._seconds.items()
            if not any(t.get("key", "") in (taint, "") and t.get("effect", "") in (NO_EXECUTE, "") for t in tolerations)
        ]
        if missing:
            spec["tolerations"] = [*tolerations, *missing]


class TaintNodesByCondition(Plugin):
    """A new node takes no pods before it is ready."""

    name = "TaintNodesByCondition"

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """New nodes."""
        return kind is NODE and not subresource and operation is Operation.CREATE

    def mutate(self, request: Request) -> None:
        """Add the taint that the node lifecycle controller takes off."""
        spec = request.new.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(t.get("key") == NOT_READY and t.get("effect") == NO_SCHEDULE for t in taints):
            spec["taints"] = [*taints, {"key": NOT_READY, "effect": NO_SCHEDULE}]


class Priority(Plugin):
    """PriorityClasses are resolved; there is at most one default."""

    name = "Priority"

    def __init__(self, committed: Committed) -> None:
        self._committed = committed

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Pods and PriorityClasses."""
        return kind in (POD, PRIORITY_CLASS) and not subresource and operation in (Operation.CREATE, Operation.UPDATE)

    def mutate(self, request: Request) -> None:
        """Set priority and preemptionPolicy; an update keeps them."""
        if request.kind is not POD:
            return
        spec = request.new.setdefault("spec", {})
        if request.operation is Operation.CREATE:
            self._resolve(request, spec)
        elif request.old is not None:
            for name in ("priority", "preemptionPolicy"):
                if spec.get(name) is None and request.old["spec"].get(name) is not None:
                    spec[name] = request.old["spec"][name]

    def _resolve(self, request: Request, spec: Obj) -> None:
        name = spec.get("priorityClassName") or ""
        found = self._committed.get(PRIORITY_CLASS, "", name) if name else self._default()
        if found is None and name:
            raise refused(request, f"no PriorityClass with name {name} was found")
        if found is not None and not name:
            spec["priorityClassName"] = found["metadata"]["name"]
        priority = found.get("value", 0) if found else 0
        policy = (found.get("preemptionPolicy") if found else None) or _PREEMPT
        given = spec.get("priority")
        if given is not None and given != priority:
            raise refused(
                request,
                f"the integer value of priority ({given}) must not be provided in pod spec; priority admission "
                f"controller computed {priority} from the given PriorityClass name",
            )
        given = spec.get("preemptionPolicy")
        if given is not None and given != policy:
            raise refused(
                request,
                f"the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission "
                f"controller computed {policy} from the given PriorityClass name",
            )
        spec["priority"], spec["preemptionPolicy"] = priority, policy

    def _default(self) -> Obj | None:
        """The class of pods that name none; the least of several, which only a race can make."""
        defaults = [c for c in self._committed.every(PRIORITY_CLASS) if c.get("globalDefault")]
        return min(defaults, key=lambda c: c.get("value", 0), default=None)

    def validate(self, request: Request) -> None:
        """Refuse a second default."""
        if request.kind is not PRIORITY_CLASS or not request.new.get("globalDefault"):
            return
        found = self._default()
        if found is not None and found["metadata"]["name"] != request.new["metadata"].get("name"):
            name = found["metadata"]["name"]
            raise refused(request, f"PriorityClass {name} is already marked as default. Only one default can exist")


class RuntimeClass(Plugin):
    """Overhead and scheduling of a pod's RuntimeClass become the pod's."""

    name = "RuntimeClass"

    def __init__(self, committed: Committed) -> None:
        self._committed = committed

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """New pods."""
        return kind is POD and not subresource and operation is Operation.CREATE

    def mutate(self, request: Request) -> None:
        """Take over what the class says; APIError 403 when the pod says something else."""
        found = self._class(request)
        if found is None:
            return
        spec = request.new["spec"]
        overhead = (found.get("overhead") or {}).get("podFixed")
        if overhead:
            if spec.get("overhead") and not _same(spec["overhead"], overhead):
                raise refused(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
            spec["overhead"] = dict(overhead)
        scheduling = found.get("scheduling") or {}
        if scheduling.get("nodeSelector"):
            selector = dict(spec.get("nodeSelector") or {})
            for key, value in scheduling["nodeSelector"].items():
                if selector.setdefault(key, value) != value:
                    raise refused(
                        request,
                        f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                        f"pod.spec.nodeSelector[{key}] = {selector[key]}",
                    )
            spec["nodeSelector"] = selector
        if scheduling.get("tolerations"):
            wanted = [dict(toleration) for toleration in scheduling["tolerations"]]
            spec["tolerations"] = merged(spec.get("tolerations") or [], wanted)

    def validate(self, request: Request) -> None:
        """Nobody sets an overhead but the class."""
        given = (request.new.get("spec") or {}).get("overhead")
        found = self._class(request)
        overhead = ((found or {}).get("overhead") or {}).get("podFixed")
        if overhead and not (given and _same(given, overhead)):
            raise refused(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        if given and not overhead:
            raise refused(request, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")

    def _class(self, request: Request) -> Obj | None:
        name = (request.new.get("spec") or {}).get("runtimeClassName")
        if not name:
            return None
        found = self._committed.get(RUNTIME_CLASS, "", name)
        if found is None:
            raise refused(request, f'pod rejected: RuntimeClass "{name}" not found')
        return found


def _same(left: Obj, right: Obj) -> bool:
    return left.keys() == right.keys() and all(compare(left[name], right[name]) == 0 for name in left)


class PodTopologyLabels(Plugin):
    """Zone and region of the node are labels of its pods, for the downward API."""

    name = "PodTopologyLabels"

    def __init__(self, committed: Committed) -> None:
        self._committed = committed

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """Bindings of pods, and pods that are created on a node."""
        return kind is POD and subresource in ("", "binding") and operation is Operation.CREATE

    def mutate(self, request: Request) -> None:
        """Copy the labels, over those that are there."""
        if request.subresource:
            target = request.new.get("target") or {}
            node = target.get("name") if target.get("kind") == "Node" else None
        else:
            node = (request.new.get("spec") or {}).get("nodeName")
        if not node:
            return
        labels = self._committed.labels(NODE, node)
        copied = {key: labels[key] for key in _TOPOLOGY if key in labels}
        if copied:
            metadata = request.new.setdefault("metadata", {})
            metadata["labels"] = {**(metadata.get("labels") or {}), **copied}
