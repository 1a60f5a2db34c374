"""A pod's ResourceClaims: which they are, and what keeps a pod from using them. Pure; the words are kube-scheduler's.

Source: "Dynamic Resource Allocation"; API reference, PodResourceClaim and ResourceClaimStatus.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.client.informer import key_of

MOST_CONSUMERS = 256
NOT_CREATED = "ResourceClaim not created yet"


class NotUsableError(Exception):
    """Why the pod's claims cannot be used now, whatever the nodes are."""


def names(pod: Obj) -> Iterator[tuple[str, bool]]:
    """The pod's claims by name, and whether each was made for the pod. Raises NotUsableError."""
    metadata = pod["metadata"]
    made = {one["name"]: one for one in (pod.get("status") or {}).get("resourceClaimStatuses") or ()}
    for entry in pod["spec"].get("resourceClaims") or ():
        if entry.get("resourceClaimName"):
            yield entry["resourceClaimName"], False
        elif entry["name"] not in made:
            raise NotUsableError(f'pod "{metadata["namespace"]}/{metadata["name"]}": {NOT_CREATED}')
        elif name := made[entry["name"]].get("resourceClaimName"):
            # Without a name, the pod does without a claim.
            yield name, True


def lacks_names(pod: Obj) -> bool:
    """Whether the pod is not told yet how all the claims are called that are made for it."""
    try:
        return any(False for _ in names(pod))
    except NotUsableError:
        return True


def claims_of(pod: Obj, known: Mapping[str, Obj]) -> list[Obj]:
    """The pod's claims. known: all, by namespace/name. Raises NotUsableError when one is missing or on its way out."""
    found = []
    metadata = pod["metadata"]
    for name, own in names(pod):
        claim = known.get(f"{metadata['namespace']}/{name}")
        if claim is None:
            raise NotUsableError(f'resourceclaim.resource.k8s.io "{name}" not found')
        if "deletionTimestamp" in claim["metadata"]:
            raise NotUsableError(f'resourceclaim "{name}" is being deleted')
        if own and not is_owned(claim, metadata["uid"]):
            pod_key = key_of(pod)
            raise NotUsableError(f"ResourceClaim {key_of(claim)} was not created for pod {pod_key} (pod is not owner)")
        found.append(claim)
    return found


def owner_of(pod: Obj) -> Obj:
    """The owner reference of claims that are made for a pod."""
    metadata = pod["metadata"]
    return {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"], "controller": True}


def is_owned(claim: Obj, uid: str) -> bool:
    """Whether the pod of this UID controls the claim."""
    owners = claim["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") and owner["uid"] == uid for owner in owners)


def allocation(claim: Obj) -> Obj | None:
    """What is allocated for the claim."""
    found: Obj | None = (claim.get("status") or {}).get("allocation")
    return found


def consumers(claim: Obj) -> Sequence[Obj]:
    """Whom the claim is reserved for."""
    return (claim.get("status") or {}).get("reservedFor") or ()


def is_reserved(claim: Obj, uid: str) -> bool:
    """Whether the claim is reserved for the pod."""
    return any(consumer["uid"] == uid for consumer in consumers(claim))


def check_usable(claim: Obj, uid: str, classes: Mapping[str, Obj]) -> None:
    """Raises NotUsableError if no node will do: too many use the claim, or it asks for what is not there."""
    if allocation(claim) is not None:
        if len(consumers(claim)) >= MOST_CONSUMERS and not is_reserved(claim, uid):
            raise NotUsableError("resourceclaim in use")
        return
    for name, wanted in _classes(claim):
        if wanted not in classes:
            raise NotUsableError(f"request {name}: device class {wanted} does not exist")


def _classes(claim: Obj) -> Iterator[tuple[str, str]]:
    """Requests and their choices, with the class of each."""
    for request in (claim["spec"].get("devices") or {}).get("requests") or ():
        if request.get("exactly") is not None:
            yield request["name"], request["exactly"]["deviceClassName"]
        for choice in request.get("firstAvailable") or ():
            yield f"{request['name']}/{choice['name']}", choice["deviceClassName"]


# Devices that take time to bind


def binds_slowly(claim: Obj) -> bool:
    """Whether a device of the claim is to report conditions before a pod is bound."""
    return any(result.get("bindingConditions") for result in _results(claim))


def slow_drivers(claim: Obj) -> Iterator[str]:
    """The drivers of the claim's devices that are to report conditions before a pod is bound."""
    return (result["driver"] for result in _results(claim) if result.get("bindingConditions"))


def binding_failure(claim: Obj) -> str:
    """Why a device of the claim will not be ready; empty if nothing says so."""
    for result, device in _reported(claim):
        for kind in result.get("bindingFailureConditions") or ():
            found = condition({"status": device}, kind)
            if found is not None and found.get("status") == "True":
                reason, message = found.get("reason") or "", (found.get("message") or "").replace('"', '\\"')
                return f'claim {claim["metadata"]["name"]} binding failed: reason={reason}, message="{message}"'
    return ""


def is_ready(claim: Obj) -> bool:
    """Whether all conditions of all its devices are met."""
    return all(
        (condition({"status": device}, kind) or {}).get("status") == "True"
        for result, device in _reported(claim)
        for kind in result["bindingConditions"]
    )


def is_late(claim: Obj, now: datetime, seconds: float) -> bool:
    """Whether the claim's devices were not ready in time."""
    since = (allocation(claim) or {}).get("allocationTimestamp")
    if not since or not binds_slowly(claim):
        return False
    return datetime.fromisoformat(since) + timedelta(seconds=seconds) < now


def _results(claim: Obj) -> Sequence[Obj]:
    return ((allocation(claim) or {}).get("devices") or {}).get("results") or ()


def _reported(claim: Obj) -> Iterator[tuple[Obj, Obj]]:
    """Results that have binding conditions, and what is reported of their devices; nothing of most at first."""
    known = {(d["driver"], d["pool"], d["device"]): d for d in (claim.get("status") or {}).get("devices") or ()}
    for result in _results(claim):
        if result.get("bindingConditions"):
            yield result, known.get((result["driver"], result["pool"], result["device"]), {})
