"""What is to become of a claim and of a volume as they are now. Pure.

Source: Kubernetes documentation, "Persistent Volumes", life cycle of a volume and claim; reasons and texts are those of
kube-controller-manager's persistent volume controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hawser.api import storage
from hawser.api.types import Obj
from hawser.controllers.storage import matching

NORMAL, WARNING = "Normal", "Warning"
LOST = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
LOST_REFERENCE = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
MISBOUND = "Two claims are bound to the same volume, this one is bound incorrectly"
NO_DELETER = "no deletable volume plugin matched"
NO_RECYCLER = "No recycler plugin found for the volume!"

Event = tuple[str, str, str]
"""Type, reason and message."""


class Surroundings(Protocol):
    """What is known besides the claim itself."""

    def volume(self, name: str) -> Obj | None:
        """A volume by its name."""
        ...

    def candidates(self, claim: Obj) -> list[Obj]:
        """The volumes of the claim's class, and those that are for it."""
        ...

    def storage_class(self, name: str) -> Obj | None:
        """A class by its name."""
        ...

    def default_class(self) -> Obj | None:
        """The default class."""
        ...

    def waiting(self, claim: Obj) -> Sequence[str]:
        """The names of pods that need the claim and are on no node yet."""
        ...


@dataclass(frozen=True, slots=True)
class ClaimStep:
    """One of: bind to a volume, take over a class, or ask a provisioner; else only a phase, and why.

    phase: to be set, "" to leave it as it is.
    """

    phase: str = ""
    bind: Obj | None = None
    assign: str = ""
    provisioner: str = ""
    event: Event | None = None


def of_claim(claim: Obj, around: Surroundings) -> ClaimStep:
    """The next step of a claim."""
    if storage.BIND_COMPLETED in storage.notes(claim):
        return _bound(claim, around)
    name = claim["spec"].get("volumeName")
    return _named(claim, around.volume(name)) if name else _unbound(claim, around)


def _bound(claim: Obj, around: Surroundings) -> ClaimStep:
    name = claim["spec"].get("volumeName")
    if not name:
        return _lost(claim, "ClaimLost", LOST_REFERENCE)
    volume = around.volume(name)
    if volume is None:
        return _lost(claim, "ClaimLost", LOST)
    reference = volume["spec"].get("claimRef")
    if reference and reference.get("uid") and reference["uid"] != claim["metadata"]["uid"]:
        return _lost(claim, "ClaimMisbound", MISBOUND)
    return ClaimStep(bind=volume)


def _lost(claim: Obj, reason: str, message: str) -> ClaimStep:
    """Told once, when it happens."""
    return ClaimStep("Lost", event=None if storage.phase(claim) == "Lost" else (WARNING, reason, message))


def _named(claim: Obj, volume: Obj | None) -> ClaimStep:
    """A claim whose user, or an interrupted binding, has chosen the volume."""
    if volume is None:
        return ClaimStep("Pending")
    if not volume["spec"].get("claimRef"):
        problem = matching.mismatch(claim, volume)
        if not problem:
            return ClaimStep(bind=volume)
        text = f'Cannot bind to requested volume "{volume["metadata"]["name"]}": {problem}'
        return ClaimStep("Pending", event=(WARNING, "VolumeMismatch", text))
    if matching.is_bound_to(volume, claim):
        return ClaimStep(bind=volume)
    text = f'volume "{volume["metadata"]["name"]}" already bound to a different claim.'
    return ClaimStep("Pending", event=(WARNING, "FailedBinding", text))


def _unbound(claim: Obj, around: Surroundings) -> ClaimStep:
    name = storage.class_of(claim)
    storage_class = around.storage_class(name) if name else None
    delayed = storage.is_delayed(storage_class)
    volume = matching.best(claim, around.candidates(claim), delayed)
    if volume is not None:
        return ClaimStep(bind=volume)
    if not name and claim["spec"].get("storageClassName") is None:
        default = around.default_class()
        if default is not None:
            return ClaimStep(assign=default["metadata"]["name"])
    if delayed and storage.SELECTED_NODE not in storage.notes(claim):
        return ClaimStep("Pending", event=_waits(around.waiting(claim)))
    if not name:
        text = "no persistent volumes available for this claim and no storage class is set"
        return ClaimStep("Pending", event=(NORMAL, "FailedBinding", text))
    if storage_class is None:
        text = f'storageclass.storage.k8s.io "{name}" not found'
        return ClaimStep("Pending", event=(WARNING, "ProvisioningFailed", text))
    return _provisioned(storage_class["provisioner"])


def _waits(pods: Sequence[str]) -> Event:
    if not pods:
        return NORMAL, "WaitForFirstConsumer", "waiting for first consumer to be created before binding"
    which = f"pod {pods[0]}" if len(pods) == 1 else f"pods {','.join(pods)}"
    return NORMAL, "WaitForPodScheduled", f"waiting for {which} to be scheduled"


def _provisioned(provisioner: str) -> ClaimStep:
    if provisioner.startswith("kubernetes.io/"):
        text = f"no volume plugin matched name: {provisioner}"
        return ClaimStep("Pending", event=(WARNING, "ProvisioningFailed", text))
    text = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
        "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered."
    )
    return ClaimStep("Pending", provisioner=provisioner, event=(NORMAL, "ExternalProvisioning", text))


@dataclass(frozen=True, slots=True)
class VolumeStep:
    """phase: to be set, "" to leave it; message: of the status. unbind: the claimRef to write instead.

    claim: the volume's claim is to be looked at. event, of_claim: what is told of the volume and of its claim.
    """

    phase: str = ""
    message: str = ""
    unbind: Obj | None = None
    claim: bool = False
    event: Event | None = None
    of_claim: Event | None = None


def of_volume(volume: Obj, claim: Obj | None) -> VolumeStep:
    """The next step of a volume. claim: the one that it is for, None when there is none of that name and uid."""
    reference = volume["spec"].get("claimRef")
    if not reference or not reference.get("uid"):
        return VolumeStep("Available")
    if claim is None:
        return _reclaimed(volume)
    own = volume["metadata"]["name"]
    chosen = claim["spec"].get("volumeName")
    if not chosen:
        if storage.mode(claim) == storage.mode(volume):
            return VolumeStep(claim=True)
        told = "Cannot bind PersistentVolume{} to requested PersistentVolumeClaim{} due to incompatible volumeMode."
        event = (WARNING, "VolumeMismatch", told.format("", f' "{claim["metadata"]["name"]}"'))
        return VolumeStep(claim=True, event=event, of_claim=(WARNING, "VolumeMismatch", told.format(f' "{own}"', "")))
    if chosen == own:
        return VolumeStep("Bound")
    if storage.PROVISIONED_BY in storage.notes(volume) and _policy(volume) == "Delete":
        # It was made for this claim, which has found another meanwhile.
        return _reclaimed(volume)
    return VolumeStep("Available", unbind=_freed(volume, reference))


def _freed(volume: Obj, reference: Obj) -> Obj:
    """What is left of a claimRef: nothing of one that binding has put there, a user's without the uid."""
    if storage.BOUND_BY_CONTROLLER in storage.notes(volume):
        return {}
    return {key: value for key, value in reference.items() if key not in ("uid", "resourceVersion")}


def _policy(volume: Obj) -> str:
    return str(volume["spec"].get("persistentVolumeReclaimPolicy") or "Retain")


def _reclaimed(volume: Obj) -> VolumeStep:
    """Its claim is gone. Who provisioned a volume deletes it; nobody else knows how to."""
    if storage.phase(volume) == "Failed":
        return VolumeStep()
    policy = _policy(volume)
    if policy == "Recycle":
        return VolumeStep("Failed", NO_RECYCLER, event=(WARNING, "VolumeFailedRecycle", NO_RECYCLER))
    external = storage.PROVISIONED_BY in storage.notes(volume) or "csi" in volume["spec"]
    if policy == "Delete" and not external and not volume["metadata"].get("deletionTimestamp"):
        text = f'error getting deleter volume plugin for volume "{volume["metadata"]["name"]}": {NO_DELETER}'
        return VolumeStep("Failed", text, event=(WARNING, "VolumeFailedDelete", text))
    return VolumeStep("Released")
