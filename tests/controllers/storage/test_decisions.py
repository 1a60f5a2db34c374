"""Which volume a claim gets, and what becomes of both, by tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from hawser.api import storage
from hawser.controllers.storage import counts, decisions, matching
from hawser.controllers.storage.decisions import ClaimStep, VolumeStep

Obj = dict[str, Any]


def claim(name: str = "data", size: str = "1Gi", *, notes: Obj | None = None, phase: str = "", **spec: Any) -> Obj:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "annotations": notes or {}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec},
        "status": {"phase": phase} if phase else {},
    }


def volume(name: str, size: str = "1Gi", *, phase: str = "Available", notes: Obj | None = None, **spec: Any) -> Obj:
    labels = spec.pop("labels", {})
    return {
        "metadata": {"name": name, "annotations": notes or {}, "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": size}, **spec},
        "status": {"phase": phase},
    }


def reference(name: str = "data", uid: str = "uid-data") -> Obj:
    return {"namespace": "default", "name": name, **({"uid": uid} if uid else {})}


class Around:
    """Volumes, classes and pods of a test."""

    def __init__(self, volumes: Sequence[Obj] = (), classes: Sequence[Obj] = (), pods: Sequence[str] = ()) -> None:
        self._volumes = volumes
        self._classes = classes
        self._pods = pods

    def volume(self, name: str) -> Obj | None:
        return next((one for one in self._volumes if one["metadata"]["name"] == name), None)

    def candidates(self, claim: Obj) -> list[Obj]:
        return [*self._volumes]

    def storage_class(self, name: str) -> Obj | None:
        return next((one for one in self._classes if one["metadata"]["name"] == name), None)

    def default_class(self) -> Obj | None:
        return storage.default_class(self._classes)

    def waiting(self, claim: Obj) -> Sequence[str]:
        return self._pods


def storage_class(name: str, provisioner: str = "example.com/disks", *, delayed: bool = False, **notes: str) -> Obj:
    return {
        "metadata": {"name": name, "annotations": notes},
        "provisioner": provisioner,
        "volumeBindingMode": "WaitForFirstConsumer" if delayed else "Immediate",
    }


@pytest.mark.parametrize(
    ("wanted", "volumes", "chosen"),
    [
        (claim(size="2Gi"), [volume("a", "5Gi"), volume("b", "3Gi"), volume("c", "1Gi")], "b"),
        (claim(), [volume("b"), volume("a")], "a"),
        (claim(accessModes=["ReadWriteMany"]), [volume("a")], None),
        (claim(storageClassName="x"), [volume("a"), volume("b", "9Gi", storageClassName="x")], "b"),
        (claim(storageClassName=""), [volume("a", storageClassName="x")], None),
        (claim(volumeMode="Block"), [volume("a"), volume("b", volumeMode="Block")], "b"),
        (claim(selector={"matchLabels": {"tier": "fast"}}), [volume("a"), volume("b", labels={"tier": "fast"})], "b"),
        (claim(), [volume("a", phase="Released"), volume("b", phase="")], None),
        (claim(), [volume("a", claimRef=reference("other"))], None),
        (claim(), [volume("a", "1Gi"), volume("b", "9Gi", claimRef=reference(uid=""))], "b"),
        (claim(), [volume("a", "9Gi", phase="", claimRef=reference()), volume("b")], "a"),
        (claim(), [volume("a", claimRef=reference(uid="uid-of-old"))], None),
        (claim(volumeAttributesClassName="gold"), [volume("a")], None),
    ],
)
def test_the_smallest_volume_that_will_do_is_chosen(wanted: Obj, volumes: list[Obj], chosen: str | None) -> None:
    found = matching.best(wanted, volumes, delayed=False)
    assert (found["metadata"]["name"] if found else None) == chosen


def test_a_claim_that_waits_for_its_pod_gets_only_what_is_for_it_already() -> None:
    assert matching.best(claim(), [volume("a")], delayed=True) is None
    found = matching.best(claim(), [volume("a"), volume("b", claimRef=reference())], delayed=True)
    assert found is not None and found["metadata"]["name"] == "b"


LOST = ("Warning", "ClaimLost", decisions.LOST)
BOUND = {storage.BIND_COMPLETED: "yes"}
A = volume("a", storageClassName="")
TAKEN = volume("a", claimRef=reference("other", "uid-other"))
WAITING = ("Normal", "WaitForFirstConsumer", "waiting for first consumer to be created before binding")


@pytest.mark.parametrize(
    ("wanted", "around", "step"),
    [
        (claim(storageClassName=""), Around([A]), ClaimStep(bind=A)),
        (
            claim(storageClassName=""),
            Around(),
            ClaimStep(
                "Pending",
                event=(
                    "Normal",
                    "FailedBinding",
                    "no persistent volumes available for this claim and no storage class is set",
                ),
            ),
        ),
        (
            claim(),
            Around(classes=[storage_class("slow"), storage_class("std", **{storage.DEFAULT_CLASS: "true"})]),
            ClaimStep(assign="std"),
        ),
        (
            claim(storageClassName="nope"),
            Around(),
            ClaimStep(
                "Pending", event=("Warning", "ProvisioningFailed", 'storageclass.storage.k8s.io "nope" not found')
            ),
        ),
        (
            claim(storageClassName="std"),
            Around(classes=[storage_class("std", "kubernetes.io/no-provisioner")]),
            ClaimStep(
                "Pending",
                event=("Warning", "ProvisioningFailed", "no volume plugin matched name: kubernetes.io/no-provisioner"),
            ),
        ),
        (
            claim(storageClassName="std"),
            Around(classes=[storage_class("std", delayed=True)]),
            ClaimStep("Pending", event=WAITING),
        ),
        (
            claim(storageClassName="std"),
            Around(classes=[storage_class("std", delayed=True)], pods=["p1"]),
            ClaimStep("Pending", event=("Normal", "WaitForPodScheduled", "waiting for pod p1 to be scheduled")),
        ),
        (
            claim(storageClassName="std"),
            Around(classes=[storage_class("std", delayed=True)], pods=["p1", "p2"]),
            ClaimStep("Pending", event=("Normal", "WaitForPodScheduled", "waiting for pods p1,p2 to be scheduled")),
        ),
        (claim(volumeName="a", storageClassName=""), Around([A]), ClaimStep(bind=A)),
        (claim(volumeName="a"), Around(), ClaimStep("Pending")),
        (
            claim(size="9Gi", volumeName="a", storageClassName=""),
            Around([A]),
            ClaimStep(
                "Pending",
                event=(
                    "Warning",
                    "VolumeMismatch",
                    'Cannot bind to requested volume "a": requested PV is too small',
                ),
            ),
        ),
        (
            claim(volumeName="a"),
            Around([TAKEN]),
            ClaimStep("Pending", event=("Warning", "FailedBinding", 'volume "a" already bound to a different claim.')),
        ),
        (claim(notes=BOUND, volumeName="a"), Around([A]), ClaimStep(bind=A)),
        (
            claim(notes=BOUND, volumeName="a"),
            Around(),
            ClaimStep("Lost", event=("Warning", "ClaimLost", decisions.LOST)),
        ),
        (claim(notes=BOUND, volumeName="a", phase="Lost"), Around(), ClaimStep("Lost")),
        (
            claim(notes=BOUND, volumeName="a"),
            Around([TAKEN]),
            ClaimStep("Lost", event=("Warning", "ClaimMisbound", decisions.MISBOUND)),
        ),
    ],
)
def test_the_next_step_of_a_claim(wanted: Obj, around: Around, step: ClaimStep) -> None:
    assert decisions.of_claim(wanted, around) == step


def test_a_claim_whose_node_is_chosen_is_given_to_its_provisioner() -> None:
    around = Around(classes=[storage_class("std", delayed=True)])
    step = decisions.of_claim(claim(storageClassName="std", notes={storage.SELECTED_NODE: "n1"}), around)
    assert (step.phase, step.provisioner) == ("Pending", "example.com/disks")
    assert step.event is not None and step.event[1] == "ExternalProvisioning"
    assert "external provisioner 'example.com/disks'" in step.event[2]


def test_of_several_default_classes_the_newest_counts() -> None:
    classes = [storage_class(name, **{storage.DEFAULT_CLASS: "true"}) for name in ("b", "a", "c")]
    for one, time in zip(
        classes, ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z"), strict=True
    ):
        one["metadata"]["creationTimestamp"] = time
    found = storage.default_class(classes)
    assert found is not None and found["metadata"]["name"] == "a"
    assert storage.default_class([storage_class("x")]) is None


MADE = {storage.PROVISIONED_BY: "example.com/disks"}
MINE = {"claimRef": reference()}


@pytest.mark.parametrize(
    ("one", "owner", "step"),
    [
        (volume("a"), None, VolumeStep("Available")),
        (volume("a", claimRef=reference(uid="")), None, VolumeStep("Available")),
        (volume("a", **MINE), claim(volumeName="a"), VolumeStep("Bound")),
        (volume("a", **MINE), claim(), VolumeStep(claim=True)),
        (volume("a", **MINE), None, VolumeStep("Released")),
        (volume("a", **MINE, persistentVolumeReclaimPolicy="Delete", notes=MADE), None, VolumeStep("Released")),
        (volume("a", **MINE, persistentVolumeReclaimPolicy="Delete", csi={}), None, VolumeStep("Released")),
        (volume("a", **MINE, phase="Failed", persistentVolumeReclaimPolicy="Delete"), None, VolumeStep()),
        (
            volume("a", **MINE, notes={storage.BOUND_BY_CONTROLLER: "yes"}),
            claim(volumeName="b"),
            VolumeStep("Available", unbind={}),
        ),
        (volume("a", **MINE), claim(volumeName="b"), VolumeStep("Available", unbind=reference(uid=""))),
        (
            volume("a", **MINE, persistentVolumeReclaimPolicy="Delete", notes=MADE),
            claim(volumeName="b"),
            VolumeStep("Released"),
        ),
    ],
)
def test_the_next_step_of_a_volume(one: Obj, owner: Obj | None, step: VolumeStep) -> None:
    assert decisions.of_volume(one, owner) == step


@pytest.mark.parametrize("policy", ["Delete", "Recycle"])
def test_a_volume_that_nobody_can_reclaim_fails_with_the_reason(policy: str) -> None:
    step = decisions.of_volume(volume("a", **MINE, persistentVolumeReclaimPolicy=policy, hostPath={}), None)
    assert step.phase == "Failed"
    assert step.event is not None and step.event[1] == f"VolumeFailed{policy}"
    assert step.message == step.event[2]


def test_attachments_are_told_by_driver_node_and_state() -> None:
    disk = volume("disk", csi={"driver": "disks.example.com", "volumeHandle": "h"})
    of = 'plugin_name="kubernetes.io/csi:disks.example.com"'
    assert [
        line for line in counts.of_attachments([("n1", disk), ("n2", disk)], [disk]) if not line.startswith("#")
    ] == [
        'storage_count_attachable_volumes_in_use{node="n1",volume_plugin="kubernetes.io/csi:disks.example.com"} 1',
        'storage_count_attachable_volumes_in_use{node="n2",volume_plugin="kubernetes.io/csi:disks.example.com"} 1',
        f'attachdetach_controller_total_volumes{{{of},state="desired_state_of_world"}} 2',
        f'attachdetach_controller_total_volumes{{{of},state="actual_state_of_world"}} 1',
    ]
