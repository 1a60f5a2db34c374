"""Pods: what the pod's registry sets, graceful deletion, binding.

Source: pod lifecycle, "Pod termination"; Pod QoS classes; admission controllers reference (ServiceAccount).
"""

from __future__ import annotations

from collections.abc import Iterable

from hawser.api import label_keys
from hawser.api.errors import APIError, Cause, FieldError, bad_request, conflict, invalid
from hawser.api.kinds import POD
from hawser.api.qos import qos_class
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.api.warnings.pod import pod as pod_warnings
from hawser.api.warnings.pod import pod_name
from hawser.apiserver.strategies.base import Strategy
from hawser.apiserver.strategies.pod_parts import POD_PARTS

_GATED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
    "lastProbeTime": None,
    "lastTransitionTime": None,
}


class PodStrategy(Strategy):
    """See the module."""

    returns_deleted = True
    parts = POD_PARTS

    def prepare_create(self, obj: Obj) -> None:
        """Phase, QoS class and selectors by the pod's own labels; gated pods say so at once."""
        spec = obj.setdefault("spec", {})
        if spec.get("affinity") or spec.get("topologySpreadConstraints"):
            label_keys.merge(obj)
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
        if spec.get("schedulingGates"):
            obj["status"]["conditions"] = [dict(_GATED)]

    def warnings(self, obj: Obj, old: Obj | None) -> Iterable[str]:
        """Of new pods only: changes come often, and not from people."""
        if old is None:
            yield from pod_name(obj["metadata"]["name"], "the Pod's hostname")
            yield from pod_warnings(obj)

    def prepare_status(self, obj: Obj, old: Obj) -> None:
        """Kubernetes computes the QoS class once; owner references are not the node agent's."""
        was = old.get("status", {})
        if "qosClass" in was:
            obj["status"].setdefault("qosClass", was["qosClass"])
        references = old["metadata"].get("ownerReferences")
        if references:
            obj["metadata"]["ownerReferences"] = references
        else:
            obj["metadata"].pop("ownerReferences", None)

    def grace_seconds(self, obj: Obj, asked: int | None) -> int:
        """What was asked or what the pod says; nothing waits for a pod that no node runs."""
        spec = obj.get("spec", {})
        seconds = asked if asked is not None else spec.get("terminationGracePeriodSeconds", 30)
        if seconds < 0:
            seconds = 1
        if not spec.get("nodeName") or has_ended(obj):
            return 0
        return int(seconds)


def bind(pod: Obj, binding: Obj, now: str) -> Obj:
    """The pod assigned to the binding's node (POST pods/NAME/binding): a copy. APIError 400, 409, 422."""
    metadata = {**pod["metadata"]}
    name = metadata["name"]
    target = binding.get("target") or {}
    if target.get("kind", "Node") not in ("", "Node"):
        error = FieldError(Cause.NOT_SUPPORTED, "target.kind", 'supported values: "Node", "<empty>"', target["kind"])
        raise invalid("", "Binding", name, [error])
    node = target.get("name")
    if not node:
        raise invalid("", "Binding", name, [FieldError(Cause.REQUIRED, "target.name")])
    given = binding.get("metadata") or {}
    if given.get("name") != name:
        raise bad_request("name in URL does not match name in Binding object")
    if given.get("uid") and given["uid"] != metadata["uid"]:
        raise _refused(
            name, f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: {metadata['uid']}"
        )
    spec = pod["spec"]
    if metadata.get("deletionTimestamp"):
        raise _refused(name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise _refused(name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise _refused(name, f"pod {name} has non-empty .spec.schedulingGates")
    annotations = given.get("annotations")
    if annotations:
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
    labels = given.get("labels")
    if labels:
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    status = {**(pod.get("status") or {})}
    # What was promised has come true, or another place was found.
    status.pop("nominatedNodeName", None)
    conditions = [c for c in status.get("conditions") or [] if c["type"] != "PodScheduled"]
    status["conditions"] = [
        *conditions,
        {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now},
    ]
    return {**pod, "metadata": metadata, "spec": {**spec, "nodeName": node}, "status": status}


def _refused(name: str, detail: str) -> APIError:
    return conflict("", f"{POD.plural}/binding", name, detail)
