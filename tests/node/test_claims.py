"""PersistentVolumes of pods by way of their claims, which are bound by hand here: on real containers."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hawser.api.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD
from hawser.client.client import Client
from hawser.node.volumes import mounts

from . import engine as engines
from .batch import SLEEP, STAT, bound, make, one, outputs, phase, said, user
from .engine import Engine
from .running import until

pytestmark = pytest.mark.containerd
Obj = dict[str, Any]


def here(node: str = engines.NODE) -> Obj:
    row = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [row]}]}}


def of_claim(name: str, **more: Any) -> Obj:
    return {"persistentVolumeClaim": {"claimName": name, **more}}


async def test_claims_lead_to_local_volumes(client: Client, engine: Engine, tmp_path: Path) -> None:
    for name in ("local", "shared", "host", "grouped"):
        (tmp_path / name).mkdir()
    (tmp_path / "grouped/old").write_text("")
    local = {"nodeAffinity": here()}
    await bound(client, "local", {"local": {"path": f"{tmp_path}/local"}}, **local)
    await bound(client, "host", {"hostPath": {"path": f"{tmp_path}/host"}})
    await bound(client, "grouped", {"local": {"path": f"{tmp_path}/grouped"}}, **local)
    await client.patch(
        PERSISTENT_VOLUME, "pv-host", None, {"metadata": {"annotations": {"pv.beta.kubernetes.io/gid": "5555"}}}
    )
    got = await outputs(
        client,
        engine,
        [
            one("on-local", "touch /v/x && echo ok", of_claim("local")),
            one("on-host", "touch /v/x && id -G", of_claim("host")),
            one("read-local", "touch /v/y 2>&1", of_claim("local", readOnly=True)),
            one("of-group", STAT + " /v /v/old", of_claim("grouped"), spec_securityContext=user(1001, fsGroup=66)),
        ],
    )
    assert got["on-local"] == "ok" and (tmp_path / "local/x").exists()
    assert got["on-host"] == "0 5555" and (tmp_path / "host/x").exists()
    assert "Read-only file system" in got["read-local"]
    assert got["of-group"] == "2775 0 66\n664 0 66"
    for name in got:
        await client.delete(POD, name, "default", grace_period=0)

    async def unmounted() -> bool:
        return not any("local-volume" in str(point) for point in mounts.points(engine.folder))

    await until(unmounted)
    assert (tmp_path / "local/x").exists(), "the pods are gone, their data is not"


async def test_claims_that_lead_nowhere_yet(client: Client, engine: Engine, tmp_path: Path) -> None:
    elsewhere = {"local": {"path": str(tmp_path)}, "nodeAffinity": here("another")}
    await bound(client, "elsewhere", elsewhere)
    await bound(client, "gone", {"local": {"path": f"{tmp_path}/gone"}, "nodeAffinity": here()})
    await bound(client, "alone", {"local": {"path": str(tmp_path)}, "nodeAffinity": here()}, "ReadWriteOncePod")
    await bound(client, "block", {"local": {"path": str(tmp_path)}, "nodeAffinity": here()}, volumeMode="Block")
    wants = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "by-hand",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    await make(client, PERSISTENT_VOLUME_CLAIM, "unbound", spec=wants)
    await client.create(POD, one("first", SLEEP, of_claim("alone")))
    await phase(client, "first", "Running")
    devices = {"volumeMounts": [], "volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}
    rows = [
        (
            one("w-elsewhere", "true", of_claim("elsewhere")),
            "FailedMount",
            'MountVolume.NodeAffinity check failed for volume "pv-elsewhere" : no matching NodeSelectorTerms',
        ),
        (
            one("w-gone", "true", of_claim("gone")),
            "FailedMount",
            f'NewMounter initialization failed for volume "pv-gone" : path "{tmp_path}/gone" does not exist',
        ),
        (
            one("w-alone", "true", of_claim("alone")),
            "FailedMount",
            'for volume "pv-alone" : volume uses the ReadWriteOncePod access mode and is already in use by another pod',
        ),
        (
            one("w-unbound", "true", of_claim("unbound")),
            "FailedMount",
            "failed to process volumes=[v]: error processing PVC default/unbound: PVC is not bound",
        ),
        (
            one("w-mounted", "true", of_claim("block")),
            "FailedMount",
            "volume v has volumeMode Block, but is specified in volumeMounts",
        ),
        (
            one("w-device", "true", of_claim("block"), devices),
            "FailedMapVolume",
            f'MapVolume.MapBlockVolume failed for volume "pv-block" : {tmp_path} is not a block device',
        ),
        (
            one("w-file", "true", of_claim("gone"), devices),
            "FailedMount",
            "volume v has volumeMode Filesystem, but is specified in volumeDevices",
        ),
    ]
    await asyncio.gather(*(client.create(POD, row[0]) for row in rows))
    for row, reason, words in rows:
        await said(client, row["metadata"]["name"], reason, words)
    # Bound at last, the volume is mounted.
    row = await make(
        client,
        PERSISTENT_VOLUME,
        "pv-unbound",
        spec={
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "by-hand",
            "hostPath": {"path": str(tmp_path)},
        },
    )
    claim = await client.get(PERSISTENT_VOLUME_CLAIM, "unbound", "default")
    ref = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": "unbound", "uid": claim["metadata"]["uid"]}
    await client.patch(PERSISTENT_VOLUME, "pv-unbound", None, {"spec": {"claimRef": ref}})
    await client.patch(PERSISTENT_VOLUME_CLAIM, "unbound", "default", {"spec": {"volumeName": row["metadata"]["name"]}})
    await client.patch(
        PERSISTENT_VOLUME_CLAIM, "unbound", "default", {"status": {"phase": "Bound"}}, subresource="status"
    )
    await phase(client, "w-unbound", "Succeeded")
    names = ["first", *(row[0]["metadata"]["name"] for row in rows)]
    await asyncio.gather(*(client.delete(POD, name, "default", grace_period=0) for name in names))


async def test_a_generic_ephemeral_volume_is_its_pods_own(client: Client, engine: Engine, tmp_path: Path) -> None:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "by-hand",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    source = {"ephemeral": {"volumeClaimTemplate": {"spec": spec}}}
    await bound(client, "scratch-v", {"hostPath": {"path": str(tmp_path)}})
    made = await client.create(POD, one("scratch", "touch /v/x", source))
    await said(
        client,
        "scratch",
        "FailedMount",
        "PVC default/scratch-v was not created for pod default/scratch (pod is not owner)",
    )
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "scratch", "uid": made["metadata"]["uid"], "controller": True}
    await client.patch(PERSISTENT_VOLUME_CLAIM, "scratch-v", "default", {"metadata": {"ownerReferences": [owner]}})
    await phase(client, "scratch", "Succeeded")
    assert (tmp_path / "x").exists()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    try:
        done = subprocess.run(["losetup", "--show", "-f", str(image)], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs loop devices")
    try:
        yield done.stdout.strip()
    finally:
        subprocess.run(["losetup", "-d", done.stdout.strip()], check=True)


async def test_a_block_device_is_a_claims_too(client: Client, engine: Engine, device: str) -> None:
    local = {"local": {"path": device}, "nodeAffinity": here()}
    await bound(client, "raw", local, volumeMode="Block")
    await bound(client, "formatted", local)
    script = "test -b /dev/raw && /bin/busybox dd if=/dev/zero of=/dev/raw bs=1M count=1 2>&1 | /bin/busybox wc -l"
    devices = {"volumeMounts": [], "volumeDevices": [{"name": "v", "devicePath": "/dev/raw"}]}
    assert await outputs(client, engine, [one("maps", script, of_claim("raw"), devices)]) == {"maps": "2"}
    mounted = one("formats", "touch /v/x && /bin/busybox grep ' /v ' /proc/mounts", of_claim("formatted"))
    assert "/v ext4 rw" in (await outputs(client, engine, [mounted]))["formats"]
    await client.delete(POD, "formats", "default", grace_period=0)

    async def unmounted() -> bool:
        return not any("pv-formatted" in str(point) for point in mounts.points(engine.folder))

    await until(unmounted)
