"""What controllers ask about pods, and how they make them from a template."""

from __future__ import annotations

import copy
from datetime import datetime

from hawser.api.errors import APIError
from hawser.api.kinds import POD, Kind
from hawser.api.status import ENDED, condition, observed
from hawser.api.types import Obj
from hawser.client.client import STRATEGIC, Client
from hawser.client.clock import parse_timestamp, timestamp
from hawser.client.informer import Informer


def by_node(informer: Informer) -> Informer:
    """An informer of pods with the index ``node``: those bound to a node by its name."""
    informer.add_index("node", lambda pod: [pod["spec"]["nodeName"]] if pod["spec"].get("nodeName") else [])
    return informer


async def set_conditions(client: Client, pod: Obj, *conditions: Obj, phase: str = "") -> bool:
    """Writes conditions, and a phase when given, into a pod's status; False when that pod is not there any more."""
    metadata = pod["metadata"]
    status = {**({"phase": phase} if phase else {}), "conditions": list(conditions)}
    body = {"metadata": {"uid": metadata["uid"]}, "status": status}
    try:
        await client.patch(POD, metadata["name"], metadata["namespace"], body, STRATEGIC, "status")
    except APIError as err:
        # The pod is gone, or another one has its name by now.
        if err.code not in (404, 409):
            raise
        return False
    return True


async def evict(client: Client, pod: Obj, reason: str, message: str, now: datetime) -> bool:
    """Deletes a pod that has to leave for the reason that its condition DisruptionTarget gives; whether it was there.

    Raises APIError.
    """
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": timestamp(now),
        **observed(pod),
    }
    if not await set_conditions(client, pod, condition):
        return False
    metadata = pod["metadata"]
    try:
        await client.delete(POD, metadata["name"], metadata["namespace"], uid=metadata["uid"])
    except APIError as err:
        if err.code not in (404, 409):
            raise
        return False
    return True


def is_terminating(pod: Obj) -> bool:
    return pod["metadata"].get("deletionTimestamp") is not None


def is_active(pod: Obj) -> bool:
    """Neither ended nor being deleted: counts as a replica."""
    # Asked of every pod of every owner, over and over: calls would cost more than the look.
    return (pod.get("status") or {}).get("phase") not in ENDED and pod["metadata"].get("deletionTimestamp") is None


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


async def may_adopt(client: Client, kind: Kind, owner: Obj) -> bool:
    """Whether the owner, asked from the server, is still the same and not being deleted.

    A cache may not know yet: adopting for an owner that is deleted with propagation Orphan would hand what it has just
    left behind to the garbage collector.
    """
    metadata = owner["metadata"]
    try:
        live = await client.get(kind, metadata["name"], metadata["namespace"])
    except APIError as e:
        if e.code != 404:
            raise
        return False
    return live["metadata"]["uid"] == metadata["uid"] and not is_terminating(live)


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
