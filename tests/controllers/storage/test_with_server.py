"""Claims, volumes and attachments against Hawser's own API server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hawser.api import storage
from hawser.api.errors import APIError
from hawser.api.kinds import (
    CSI_DRIVER,
    EVENT,
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    STORAGE_CLASS,
    VOLUME_ATTACHMENT,
    Kind,
)
from hawser.client.client import Client
from hawser.controllers.storage.attachments import AttachDetachController
from hawser.controllers.storage.binder import PersistentVolumeBinder
from hawser.controllers.storage.ephemeral import EphemeralVolumeController
from hawser.controllers.storage.expansion import ExpansionController
from hawser.controllers.storage.local import PROVISIONER, LocalProvisioner
from hawser.controllers.storage_protection import ClaimProtection, VolumeProtection

from ..objects import Obj
from ..running import eventually, running


@pytest.fixture
async def client(api_server: Any, tmp_path: Path) -> AsyncIterator[Client]:
    local = LocalProvisioner()
    local.configure({"local_volume_root": tmp_path / "volumes"})
    others = (
        PersistentVolumeBinder(),
        EphemeralVolumeController(),
        ExpansionController(),
        AttachDetachController(),
        ClaimProtection(),
        VolumeProtection(),
    )
    async with running(api_server.kubeconfig, local, *others) as made:
        yield made


async def test_what_a_crash_has_left_of_volumes_goes_unless_there_is_anything_in_it(
    api_server: Any, tmp_path: Path
) -> None:
    root = tmp_path / "volumes"
    for name in ("pvc-empty", "pvc-used"):
        (root / f"{name}-folder").mkdir(parents=True)
        with (root / f"{name}-disk").open("wb") as file:
            file.truncate(16 << 20)
    (root / "pvc-used-folder/file").touch()
    with (root / "pvc-used-disk").open("r+b") as file:
        file.write(b"x")
        os.fsync(file.fileno())
    local = LocalProvisioner()
    local.configure({"local_volume_root": root})

    async def tidied() -> bool:
        return {path.name for path in root.iterdir()} == {"pvc-used-folder", "pvc-used-disk"}

    async with running(api_server.kubeconfig, local):
        await eventually(tidied)


def claim(namespace: str, name: str = "data", size: str = "1Gi", **spec: Any) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec},
    }


def volume(name: str, storage_class: str, **spec: Any) -> Obj:
    source = {} if "csi" in spec else {"hostPath": {"path": "/tmp/nowhere"}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "2Gi"},
            "storageClassName": storage_class,
            **source,
            **spec,
        },
    }


def class_of(name: str, *, delayed: bool = False, **more: Any) -> Obj:
    mode = "WaitForFirstConsumer" if delayed else "Immediate"
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
    return {**kind, "provisioner": PROVISIONER, "volumeBindingMode": mode, "allowVolumeExpansion": True, **more}


def pod(namespace: str, *volumes: Obj, node: str = "", name: str = "p") -> Obj:
    spec: Obj = {"containers": [{"name": "main", "image": "a"}], "volumes": [*volumes]}
    if node:
        spec["nodeName"] = node
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


async def phase(client: Client, kind: Kind, name: str, wanted: str, namespace: str | None = None) -> Obj:
    async def there() -> Obj | None:
        found = await client.get(kind, name, namespace)
        return found if storage.phase(found) == wanted else None

    return await eventually(there)


def gone(client: Client, kind: Kind, name: str, namespace: str | None = None) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        try:
            await client.get(kind, name, namespace)
        except APIError as error:
            return error.code == 404
        return False

    return check


async def told(client: Client, namespace: str, reason: str, kind: str = "") -> Obj:
    async def found() -> Obj | None:
        events = (await client.list(EVENT, namespace)).items
        of_kind = (one for one in events if kind in ("", one["involvedObject"]["kind"]))
        return next((one for one in of_kind if one["reason"] == reason), None)

    return await eventually(found)


async def test_a_claim_and_a_volume_find_each_other_and_part(client: Client, namespace: str) -> None:
    await client.create(PERSISTENT_VOLUME, volume("static", "manual", persistentVolumeReclaimPolicy="Retain"))
    await phase(client, PERSISTENT_VOLUME, "static", "Available")
    await client.create(PERSISTENT_VOLUME_CLAIM, claim(namespace, storageClassName="manual"))
    bound = await phase(client, PERSISTENT_VOLUME_CLAIM, "data", "Bound", namespace)
    assert bound["spec"]["volumeName"] == "static"
    assert bound["status"]["capacity"] == {"storage": "2Gi"}
    assert bound["status"]["accessModes"] == ["ReadWriteOnce"]
    notes = storage.notes(bound)
    assert (notes[storage.BIND_COMPLETED], notes[storage.BOUND_BY_CONTROLLER]) == ("yes", "yes")
    held = await phase(client, PERSISTENT_VOLUME, "static", "Bound")
    assert held["spec"]["claimRef"]["uid"] == bound["metadata"]["uid"]
    await client.delete(PERSISTENT_VOLUME_CLAIM, "data", namespace)
    await eventually(gone(client, PERSISTENT_VOLUME_CLAIM, "data", namespace))
    await phase(client, PERSISTENT_VOLUME, "static", "Released")
    # A new claim of the same name is another one.
    await client.create(PERSISTENT_VOLUME_CLAIM, claim(namespace, storageClassName="manual"))
    await told(client, namespace, "ProvisioningFailed")
    await phase(client, PERSISTENT_VOLUME_CLAIM, "data", "Pending", namespace)
    await client.patch(PERSISTENT_VOLUME, "static", None, {"spec": {"claimRef": None}})
    await phase(client, PERSISTENT_VOLUME_CLAIM, "data", "Bound", namespace)
    await client.delete(PERSISTENT_VOLUME, "static")
    # In use: it stays until the claim is gone.
    await client.delete(PERSISTENT_VOLUME_CLAIM, "data", namespace)
    await eventually(gone(client, PERSISTENT_VOLUME, "static"))


async def test_what_others_write_into_a_status_stays(client: Client, namespace: str) -> None:
    await client.create(PERSISTENT_VOLUME, volume("noted", "noted"))
    await phase(client, PERSISTENT_VOLUME, "noted", "Available")
    said = {"status": {"message": "seen", "reason": "Somebody"}}
    await client.patch(PERSISTENT_VOLUME, "noted", None, said, subresource="status")
    await client.create(PERSISTENT_VOLUME_CLAIM, claim(namespace, storageClassName="other"))
    await phase(client, PERSISTENT_VOLUME_CLAIM, "data", "Pending", namespace)
    condition = {"type": "Seen", "status": "True", "reason": "Somebody", "message": "hello"}
    await client.patch(
        PERSISTENT_VOLUME_CLAIM, "data", namespace, {"status": {"conditions": [condition]}}, subresource="status"
    )
    assert (await client.get(PERSISTENT_VOLUME, "noted"))["status"]["message"] == "seen"
    await client.create(PERSISTENT_VOLUME_CLAIM, claim(namespace, "second", storageClassName="noted"))
    bound = await phase(client, PERSISTENT_VOLUME, "noted", "Bound")
    assert (bound["status"].get("message"), bound["status"]["reason"]) == (None, "Somebody")
    found = await client.get(PERSISTENT_VOLUME_CLAIM, "data", namespace)
    assert [one["type"] for one in found["status"]["conditions"]] == ["Seen"]


async def test_a_folder_is_made_for_a_claim_and_goes_with_it(client: Client, namespace: str, tmp_path: Path) -> None:
    await client.create(STORAGE_CLASS, class_of("now"))
    await client.create(PERSISTENT_VOLUME_CLAIM, claim(namespace, storageClassName="now"))
    bound = await phase(client, PERSISTENT_VOLUME_CLAIM, "data", "Bound", namespace)
    name = f"pvc-{bound['metadata']['uid']}"
    made = await client.get(PERSISTENT_VOLUME, name)
    assert made["spec"]["hostPath"] == {"path": str(tmp_path / "volumes" / name), "type": "DirectoryOrCreate"}
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    folder = tmp_path / "volumes" / name
    assert folder.stat().st_mode & 0o777 == 0o777
    assert (tmp_path / "volumes").stat().st_mode & 0o777 == 0o700
    (folder / "file").write_text("data")
    (folder / "way-out").symlink_to(tmp_path)
    assert "Successfully provisioned" in (await told(client, namespace, "ProvisioningSucceeded"))["message"]

    grown = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
    await client.patch(PERSISTENT_VOLUME_CLAIM, "data", namespace, grown)

    async def larger() -> bool:
        found = await client.get(PERSISTENT_VOLUME_CLAIM, "data", namespace)
        return bool(found["status"]["capacity"]["storage"] == "3Gi")

    await eventually(larger)
    assert (await client.get(PERSISTENT_VOLUME, name))["spec"]["capacity"]["storage"] == "3Gi"

    await client.delete(PERSISTENT_VOLUME_CLAIM, "data", namespace)
    await eventually(gone(client, PERSISTENT_VOLUME, name))
    assert not folder.exists()
    assert tmp_path.exists()


async def test_a_disk_has_a_size_and_its_node_is_asked_to_enlarge_it(
    client: Client, namespace: str, tmp_path: Path
) -> None:
    labels = {"kubernetes.io/hostname": "host-8"}
    await client.create(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n8", "labels": labels}})
    disks = class_of("disks", delayed=True, parameters={"type": "disk"}, mountOptions=["noatime"])
    await client.create(STORAGE_CLASS, disks)
    wanted = claim(namespace, size="20Mi", storageClassName="disks")
    wanted["metadata"]["annotations"] = {storage.SELECTED_NODE: "n8"}
    await client.create(PERSISTENT_VOLUME_CLAIM, wanted)
    bound = await phase(client, PERSISTENT_VOLUME_CLAIM, "data", "Bound", namespace)
    name = bound["spec"]["volumeName"]
    spec = (await client.get(PERSISTENT_VOLUME, name))["spec"]
    disk = tmp_path / "volumes" / name
    assert spec["local"] == {"path": str(disk), "fsType": "ext4"} and spec["mountOptions"] == ["noatime"]
    found = disk.stat()
    assert (found.st_size, found.st_blocks, found.st_mode & 0o777) == (20 << 20, 0, 0o600)

    more = {"spec": {"resources": {"requests": {"storage": "30Mi"}}}}
    await client.patch(PERSISTENT_VOLUME_CLAIM, "data", namespace, more)
    await told(client, namespace, "FileSystemResizeRequired")
    status = (await client.get(PERSISTENT_VOLUME_CLAIM, "data", namespace))["status"]
    assert status["capacity"] == {"storage": "20Mi"}, "that is for the node to say"
    assert status["allocatedResourceStatuses"] == {"storage": "NodeResizePending"}
    (condition,) = status["conditions"]
    assert (condition["type"], condition["status"]) == ("FileSystemResizePending", "True")
    assert (await client.get(PERSISTENT_VOLUME, name))["spec"]["capacity"] == {"storage": "30Mi"}
    assert disk.stat().st_size == 30 << 20
    await client.delete(PERSISTENT_VOLUME_CLAIM, "data", namespace)
    await eventually(gone(client, PERSISTENT_VOLUME, name))
    assert not disk.exists()


async def test_a_claim_waits_for_its_pods_node_and_its_volume_is_tied_to_it(client: Client, namespace: str) -> None:
    labels = {"kubernetes.io/hostname": "host-7"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n7", "labels": labels}}
    await client.create(NODE, node)
    await client.create(STORAGE_CLASS, class_of("later", delayed=True))
    await client.create(PERSISTENT_VOLUME_CLAIM, claim(namespace, storageClassName="later"))
    await told(client, namespace, "WaitForFirstConsumer")
    await client.create(POD, pod(namespace, {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}))
    assert "waiting for pod p" in (await told(client, namespace, "WaitForPodScheduled"))["message"]
    chosen = {"metadata": {"annotations": {storage.SELECTED_NODE: "n7"}}}
    await client.patch(PERSISTENT_VOLUME_CLAIM, "data", namespace, chosen)
    bound = await phase(client, PERSISTENT_VOLUME_CLAIM, "data", "Bound", namespace)
    made = await client.get(PERSISTENT_VOLUME, bound["spec"]["volumeName"])
    (term,) = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["host-7"]}]
    assert "local" in made["spec"]


async def test_a_claim_whose_chosen_node_is_gone_is_chosen_for_again(client: Client, namespace: str) -> None:
    await client.create(STORAGE_CLASS, class_of("homeless", delayed=True))
    wanted = claim(namespace, storageClassName="homeless")
    wanted["metadata"]["annotations"] = {storage.SELECTED_NODE: "no-such-node"}
    await client.create(PERSISTENT_VOLUME_CLAIM, wanted)

    async def released() -> bool:
        found = await client.get(PERSISTENT_VOLUME_CLAIM, "data", namespace)
        return storage.SELECTED_NODE not in storage.notes(found)

    await eventually(released)


async def test_what_a_folder_cannot_be_is_refused_with_the_reason(client: Client, namespace: str) -> None:
    await client.create(STORAGE_CLASS, class_of("folders"))
    wishes: list[Obj] = [{"volumeMode": "Block"}, {"selector": {"matchLabels": {"a": "b"}}}]
    for number, more in enumerate(wishes):
        await client.create(PERSISTENT_VOLUME_CLAIM, claim(namespace, f"c{number}", storageClassName="folders", **more))

    async def refused() -> bool:
        listed = (await client.list(EVENT, namespace)).items
        # Whoever sees a claim before its class says that there is none; that is another text.
        text = 'failed to provision volume with StorageClass "folders": '
        told = [one for one in listed if one["message"].startswith(text)]
        return {one["involvedObject"]["name"] for one in told if one["reason"] == "ProvisioningFailed"} == {"c0", "c1"}

    await eventually(refused)


async def test_claims_without_a_class_get_the_default_one_when_there_is_one(client: Client, namespace: str) -> None:
    await client.create(PERSISTENT_VOLUME_CLAIM, claim(namespace))
    await told(client, namespace, "FailedBinding")
    default = class_of("late-default")
    default["metadata"]["annotations"] = {storage.DEFAULT_CLASS: "true"}
    await client.create(STORAGE_CLASS, default)
    bound = await phase(client, PERSISTENT_VOLUME_CLAIM, "data", "Bound", namespace)
    assert bound["spec"]["storageClassName"] == "late-default"
    await client.delete(STORAGE_CLASS, "late-default")


async def test_a_pods_ephemeral_volume_has_a_claim_that_is_the_pods(client: Client, namespace: str) -> None:
    await client.create(STORAGE_CLASS, class_of("scratch-class"))
    template = {
        "metadata": {"labels": {"use": "scratch"}},
        "spec": claim(namespace, storageClassName="scratch-class")["spec"],
    }
    ephemeral = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}
    made = await client.create(POD, pod(namespace, ephemeral))
    bound = await eventually(lambda: _found(client, PERSISTENT_VOLUME_CLAIM, "p-scratch", namespace))
    (owner,) = bound["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (made["metadata"]["uid"], True, True)
    assert bound["metadata"]["labels"] == {"use": "scratch"}
    await phase(client, PERSISTENT_VOLUME_CLAIM, "p-scratch", "Bound", namespace)
    await client.create(PERSISTENT_VOLUME_CLAIM, claim(namespace, "q-scratch"))
    await client.create(POD, pod(namespace, ephemeral, name="q"))
    said = (await told(client, namespace, "FailedBinding", "Pod"))["message"]
    assert said == (
        f"ephemeral volume scratch: PVC {namespace}/q-scratch was not created for pod {namespace}/q (pod is not owner)"
    )
    # What is in the way goes, and the pod has its claim.
    await client.delete(PERSISTENT_VOLUME_CLAIM, "q-scratch", namespace)
    await eventually(lambda: _is_owned(client, "q-scratch", namespace))


async def _is_owned(client: Client, name: str, namespace: str) -> bool:
    found = await _found(client, PERSISTENT_VOLUME_CLAIM, name, namespace)
    return bool(found and found["metadata"].get("ownerReferences"))


async def _found(client: Client, kind: Kind, name: str, namespace: str | None = None) -> Obj | None:
    try:
        return await client.get(kind, name, namespace)
    except APIError as error:
        if error.code != 404:
            raise
        return None


async def test_a_volume_of_a_driver_is_attached_where_a_pod_needs_it(client: Client, namespace: str) -> None:
    driver = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "disks.example.com"}}
    await client.create(CSI_DRIVER, {**driver, "spec": {"attachRequired": True}})
    for name in ("att1", "att2"):
        await client.create(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    csi = {"driver": "disks.example.com", "volumeHandle": "h1"}
    await client.create(PERSISTENT_VOLUME, volume("disk", "csi-manual", csi=csi))
    await client.create(PERSISTENT_VOLUME_CLAIM, claim(namespace, storageClassName="csi-manual"))
    await phase(client, PERSISTENT_VOLUME_CLAIM, "data", "Bound", namespace)
    uses = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
    await client.create(POD, pod(namespace, uses, node="att1"))

    async def attachment() -> Obj | None:
        listed = (await client.list(VOLUME_ATTACHMENT)).items
        return next((one for one in listed if one["spec"]["source"]["persistentVolumeName"] == "disk"), None)

    made = await eventually(attachment)
    assert made["spec"]["nodeName"] == "att1"
    await client.patch(
        VOLUME_ATTACHMENT, made["metadata"]["name"], None, {"status": {"attached": True}}, subresource="status"
    )
    await told(client, namespace, "SuccessfulAttachVolume")

    async def reported() -> bool:
        status = (await client.get(NODE, "att1")).get("status") or {}
        return [one["name"] for one in status.get("volumesAttached") or ()] == [
            "kubernetes.io/csi/disks.example.com^h1"
        ]

    await eventually(reported)
    await client.create(POD, pod(namespace, uses, node="att2", name="second"))
    refused = 'Multi-Attach error for volume "disk" Volume is already used by pod(s) p'
    assert (await told(client, namespace, "FailedAttachVolume"))["message"] == refused
    await client.delete(POD, "p", namespace, grace_period=0)

    async def moved() -> bool:
        found = await attachment()
        return found is not None and found["spec"]["nodeName"] == "att2"

    await eventually(moved)
    await client.delete(POD, "second", namespace, grace_period=0)

    async def none() -> bool:
        return await attachment() is None

    await eventually(none)
