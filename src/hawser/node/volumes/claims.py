"""PersistentVolumeClaims of pods: which PersistentVolume they lead to, and why they do not yet.

Source: Kubernetes documentation, "Persistent Volumes", "Ephemeral Volumes"; the words are kubelet's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hawser.api import node_affinity
from hawser.api.scalars import DecodeError, integer
from hawser.api.types import Obj
from hawser.node.pod import view
from hawser.node.volumes.errors import VolumeError


class ClaimError(Exception):
    """The claim leads to no volume now."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a volume of a pod leads to. volume: the PersistentVolume of this claim, or problem: why there is none."""

    volume: Obj | None = None
    claim: Obj | None = None
    readonly: bool = False
    problem: str = ""


def check_claim(pod: Obj, volume: Obj, claim: Obj) -> str:
    """The name of the PersistentVolume that a claim is bound to. Raises ClaimError."""
    metadata = claim["metadata"]
    namespace, name = view.key(pod)
    if "ephemeral" in volume and not any(
        owner.get("controller") and owner.get("uid") == view.uid(pod) for owner in metadata.get("ownerReferences") or ()
    ):
        raise ClaimError(
            f"PVC {namespace}/{metadata['name']} was not created for pod {namespace}/{name} (pod is not owner)"
        )
    if metadata.get("deletionTimestamp"):
        raise ClaimError("PVC is being deleted")
    if (claim.get("status") or {}).get("phase") != "Bound":
        raise ClaimError("PVC is not bound")
    bound = (claim.get("spec") or {}).get("volumeName")
    if not bound:
        raise ClaimError("PVC has empty pvc.Spec.VolumeName")
    return str(bound)


def check_volume(claim: Obj, volume: Obj) -> None:
    """Whether a PersistentVolume is its claim's. Raises ClaimError."""
    name, ref = volume["metadata"]["name"], volume["spec"].get("claimRef")
    if not ref:
        raise ClaimError(
            f"found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        )
    if ref.get("uid") != claim["metadata"]["uid"]:
        raise ClaimError(
            f"found PV object {name} but its pv.Spec.ClaimRef.UID {ref.get('uid', '')} does not point to "
            f"claim.UID {claim['metadata']['uid']}"
        )


def check_mode(name: str, volume: Obj, *, mounted: bool, mapped: bool) -> None:
    """Whether containers use a volume as what it is: by volumeMounts, or by volumeDevices. Raises ClaimError."""
    mode = volume["spec"].get("volumeMode") or "Filesystem"
    if mounted and mode != "Filesystem":
        raise ClaimError(f"volume {name} has volumeMode {mode}, but is specified in volumeMounts")
    if mapped and mode != "Block":
        raise ClaimError(f"volume {name} has volumeMode {mode}, but is specified in volumeDevices")


def check_node(volume: Obj, node: str, labels: Mapping[str, str]) -> None:
    """Whether this node may have a PersistentVolume. Raises VolumeError."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if required and not any(
        node_affinity.term_matches(term, node, labels) for term in required.get("nodeSelectorTerms") or ()
    ):
        step = "MapVolume" if volume["spec"].get("volumeMode") == "Block" else "MountVolume"
        raise VolumeError("no matching NodeSelectorTerms", f"{step}.NodeAffinity check failed")


def used_by_one_pod_only(volume: Obj) -> bool:
    """Whether the access mode keeps every second pod away."""
    return list(volume["spec"].get("accessModes") or ()) == ["ReadWriteOncePod"]


def extra_group(volume: Obj) -> int | None:
    """The group that the annotation ``pv.beta.kubernetes.io/gid`` gives to whoever uses the volume."""
    text = (volume["metadata"].get("annotations") or {}).get("pv.beta.kubernetes.io/gid", "")
    try:
        return integer(text, signed=False)
    except DecodeError:
        return None
