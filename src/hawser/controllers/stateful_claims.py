"""The volume claims of a StatefulSet's pods: their names, and who owns them when. Pure.

Source: StatefulSet documentation, "PersistentVolumeClaim retention" (KEP-1847): a claim that is to go with its set is
owned by the set, one that is to go with a pod that is scaled away by that pod.
"""

from __future__ import annotations

from collections.abc import Iterator

from hawser.api.types import Obj
from hawser.controllers import pods

Reference = Obj


def templates(sts: Obj) -> list[Obj]:
    """The set's claim templates."""
    return sts["spec"].get("volumeClaimTemplates") or []


def name(sts: Obj, template: Obj, ordinal: int) -> str:
    """The name of a pod's claim."""
    return f"{template['metadata']['name']}-{sts['metadata']['name']}-{ordinal}"


def of_pod(sts: Obj, ordinal: int) -> Iterator[Obj]:
    """The claims of a pod, as they are created."""
    selected = (sts["spec"]["selector"].get("matchLabels")) or {}
    for template in templates(sts):
        metadata = template["metadata"]
        made: Obj = {
            "name": name(sts, template, ordinal),
            "namespace": sts["metadata"]["namespace"],
            "labels": {**(metadata.get("labels") or {}), **selected},
        }
        for field in ("annotations", "finalizers"):
            if metadata.get(field):
                made[field] = metadata[field]
        yield {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": made, "spec": template["spec"]}


def volumes(sts: Obj, ordinal: int, spec: Obj) -> list[Obj]:
    """The volumes of a pod: its claims, and those of its template that have other names."""
    claimed = [
        {"name": t["metadata"]["name"], "persistentVolumeClaim": {"claimName": name(sts, t, ordinal)}}
        for t in templates(sts)
    ]
    names = {volume["name"] for volume in claimed}
    return [*claimed, *(v for v in spec.get("volumes") or () if v["name"] not in names)]


def has_volumes(sts: Obj, ordinal: int, spec: Obj) -> bool:
    """Whether a pod has the claims of its ordinal."""
    known = {v["name"]: (v.get("persistentVolumeClaim") or {}).get("claimName") for v in spec.get("volumes") or ()}
    return all(known.get(t["metadata"]["name"]) == name(sts, t, ordinal) for t in templates(sts))


def _policy(sts: Obj) -> tuple[bool, bool]:
    """Whether claims go when pods are scaled away, and when the set is deleted."""
    policy = sts["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return policy.get("whenScaled") == "Delete", policy.get("whenDeleted") == "Delete"


def _names(reference: Reference, owner: Obj) -> bool:
    return (reference["apiVersion"], reference["kind"], reference["name"]) == (
        owner["apiVersion"],
        owner["kind"],
        owner["metadata"]["name"],
    )


def _is_stale(claim: Obj, owner: Obj) -> bool:
    """Whether the claim belongs to an earlier object of the owner's name, and will go with it."""
    uid = owner["metadata"].get("uid")
    named = [r for r in claim["metadata"].get("ownerReferences") or () if _names(r, owner)]
    return bool(named) and named[0]["uid"] != uid


def blocks(sts: Obj, claim: Obj, pod: Obj) -> bool:
    """Whether a new pod has to wait until the claim of its predecessor, which goes with that one, is gone."""
    return _policy(sts)[0] and _is_stale(claim, pod)


def references(sts: Obj, claim: Obj, pod: Obj, *, scaled_away: bool) -> list[Reference] | None:
    """What the owner references of a pod's claim should be; None when they are right.

    pod: as it is. scaled_away: whether its ordinal is none of the set's any more.
    """
    have = claim["metadata"].get("ownerReferences") or []
    if _is_stale(claim, sts) or _is_stale(claim, pod):
        return None  # it goes with an owner of old
    others = [r for r in have if not (_names(r, sts) or _names(r, pod))]
    when_scaled, when_deleted = _policy(sts)
    owner: Obj | None = None
    foreign = (when_scaled or when_deleted) and any(r.get("controller") for r in others)
    if not foreign:
        if when_scaled and scaled_away:
            owner = pod
        elif when_deleted:
            owner = sts
    wanted = [*others, *([pods.owner_reference(owner)] if owner is not None else [])]
    held = {r["uid"]: bool(r.get("controller")) for r in have}
    return None if held == {r["uid"]: bool(r.get("controller")) for r in wanted} else wanted
