"""What controllers ask about pods, and how they make them from a template."""

from __future__ import annotations

import copy
from datetime import datetime

from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp


def condition(obj: Obj, kind: str) -> Obj | None:
    """The status condition of a type, or None."""
    for one in obj.get("status", {}).get("conditions") or ():
        if one.get("type") == kind:
            found: Obj = one
            return found
    return None


def is_ready(pod: Obj) -> bool:
    """Whether the Ready condition is True."""
    found = condition(pod, "Ready")
    return found is not None and found.get("status") == "True"


def is_terminating(pod: Obj) -> bool:
    return pod["metadata"].get("deletionTimestamp") is not None


def is_active(pod: Obj) -> bool:
    """Neither ended nor being deleted: counts as a replica."""
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed") and not is_terminating(pod)


def available_in(pod: Obj, min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until the pod is available (0: it is), or None when it is not Ready.

    Source: API reference, ``minReadySeconds``.
    """
    found = condition(pod, "Ready")
    if found is None or found.get("status") != "True":
        return None
    if not min_ready_seconds:
        return 0.0
    since = found.get("lastTransitionTime")
    if not since:
        return float(min_ready_seconds)
    return max(0.0, min_ready_seconds - (now - parse_timestamp(since)).total_seconds())


def owner_reference(owner: Obj) -> Obj:
    """A controlling owner reference."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def owner_uids(obj: Obj) -> list[str]:
    """An informer's index function: the uid of the controlling owner."""
    return [r["uid"] for r in obj["metadata"].get("ownerReferences") or () if r.get("controller")]


def from_template(owner: Obj, template: Obj) -> Obj:
    """A pod of a workload: the template's labels, annotations, finalizers and spec, owned by the workload."""
    name = owner["metadata"]["name"]
    metadata: Obj = {
        # Room for the random suffix the server appends.
        "generateName": f"{name[:57]}-",
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [owner_reference(owner)],
    }
    for field in ("labels", "annotations", "finalizers"):
        value = template.get("metadata", {}).get(field)
        if value:
            metadata[field] = copy.copy(value)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
