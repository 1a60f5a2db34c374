"""Volumes that grow while pods have them: disks in files, and what CSI drivers make larger."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest

from hawser.api.kinds import EVENT, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD
from hawser.api.quantity import parse_quantity
from hawser.client.client import Client
from hawser.client.events import EventRecorder
from hawser.node.volumes import disks, mounts, persistent
from hawser.node.volumes.growth import Growth, is_due, marked

from . import csi_driver
from .batch import SLEEP, bound, one, outputs, phase, said, user, volume_of
from .csi_driver import NAME
from .engine import Engine
from .running import events, until
from .test_claims import here, of_claim
from .test_csi import registered, settings

Obj = dict[str, Any]
AGENT_FLAGS = ("--sync-frequency", "1s")
PENDING = "NodeResizePending"
SYS_RESOURCE = 24  # capabilities(7)


def claim(mark: str = "", held: str = "1Gi", **status: Any) -> Obj:
    statuses = {"allocatedResourceStatuses": {"storage": mark}} if mark else {}
    return {
        "metadata": {"name": "a", "namespace": "default", "resourceVersion": "7"},
        "status": {"capacity": {"storage": held}, **statuses, **status},
    }


@pytest.mark.parametrize(
    ("found", "seen", "due"),
    [
        (claim(), "1Gi", False),
        (claim(PENDING), "1Gi", True),
        (claim("NodeResizeInProgress"), "1Gi", True),
        (claim("NodeResizeInfeasible"), "1Gi", False),
        (claim("ControllerResizeInProgress"), "1Gi", False),
        (claim("ControllerResizeInProgress", held="2Gi"), "1Gi", False),
        (claim(held="2Gi"), "1Gi", True),
    ],
    ids=["as-it-was", "pending", "begun", "given-up", "not-yet", "again", "by-another-node"],
)
def test_when_a_node_has_something_to_do(found: Obj, seen: str, due: bool) -> None:
    assert is_due(found, Decimal(parse_quantity(seen))) is due


def test_marks_leave_the_conditions_of_others_alone() -> None:
    ours, theirs = {"type": "FileSystemResizePending"}, {"type": "ModifyingVolume"}
    found = claim(PENDING, conditions=[ours, theirs])
    assert marked(found, "NodeResizeInProgress") == {
        "metadata": {"resourceVersion": "7"},
        "status": {"allocatedResourceStatuses": {"storage": "NodeResizeInProgress"}},
    }
    over = marked(found, "", [], "2Gi")["status"]
    assert over == {"allocatedResourceStatuses": None, "conditions": [theirs], "capacity": {"storage": "2Gi"}}
    assert marked(claim(PENDING, conditions=[ours]), "", [])["status"]["conditions"] is None


async def ask(client: Client, name: str, size: str) -> None:
    """What a resizer does once the volume itself is larger."""
    await client.patch(PERSISTENT_VOLUME, f"pv-{name}", None, {"spec": {"capacity": {"storage": size}}})
    waits = {"type": "FileSystemResizePending", "status": "True"}
    status = {"allocatedResourceStatuses": {"storage": PENDING}, "conditions": [waits]}
    await client.patch(PERSISTENT_VOLUME_CLAIM, name, "default", {"status": status}, subresource="status")


async def grown(client: Client, name: str, size: str) -> Obj:
    """The claim, once the node has told that it is larger."""

    async def told() -> Obj | None:
        found = await client.get(PERSISTENT_VOLUME_CLAIM, name, "default")
        return found if found["status"]["capacity"]["storage"] == size else None

    found: Obj = await until(told)
    assert not found["status"].get("allocatedResourceStatuses") and not found["status"].get("conditions")
    return found


async def told_of_claim(client: Client, reason: str) -> str:
    async def look() -> str:
        rows = (await client.list(EVENT, "default")).items
        return next((r["message"] for r in rows if r["involvedObject"]["kind"] != "Pod" and r["reason"] == reason), "")

    return str(await until(look))


@pytest.mark.containerd
async def test_nothing_is_kept_of_volumes_that_no_pod_has_any_more(client: Client) -> None:
    async def never(*_: Any) -> None:
        raise AssertionError

    growth = Growth(client, EventRecorder(client, "test"), lambda row: True, never)
    row = {"metadata": {"name": "pv"}, "spec": {}}
    for uid in ("one", "two"):
        await growth.mounted({"metadata": {"uid": uid}}, claim(), row)
    # A claim that somebody took away by force is nothing to wait for.
    gone = {"name": "v", "persistentVolumeClaim": {"claimName": "gone"}}
    assert not await growth.look({"metadata": {"name": "p", "namespace": "default"}, "spec": {"volumes": [gone]}})
    growth.forget("one")
    assert growth._seen
    growth.forget("two")
    growth.forget("unknown")
    assert not growth._seen and not growth._had


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    with (tmp_path / "disk").open("wb") as file:
        file.truncate(16 << 20)
    return tmp_path / "disk"


def test_a_command_that_outlives_the_agent_keeps_the_disk(disk: Path) -> None:
    with disks.held(disk) as lock:
        command = subprocess.Popen(["sleep", "600"], pass_fds=[lock])
    with disk.open("rb") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        command.kill()
        command.wait()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.containerd
def test_a_disk_is_handed_over_also_when_that_was_cut_short(disk: Path) -> None:
    target = disk.parent / "mounted"
    row = {"metadata": {"name": "pv"}, "spec": {"local": {"path": str(disk), "fsType": "ext4"}}}
    subprocess.run(["mkfs.ext4", "-q", "-F", str(disk)], check=True)
    target.mkdir()
    subprocess.run(["mount", "-o", "loop", str(disk), str(target)], check=True)
    try:
        assert persistent.set_up(target, row, persistent.Use(group=1234)) == target
        assert [*target.iterdir()] == []
        assert target.stat().st_gid == 1234 and target.stat().st_mode & 0o7777 == 0o2777
        # What a check of the file system has saved is somebody's.
        (target / "lost+found").mkdir(mode=0o700)
        (target / "lost+found/#12").touch()
        persistent.set_up(target, row, persistent.Use())
        assert (target / "lost+found/#12").exists()
    finally:
        mounts.unmount(target)


@pytest.mark.containerd
async def test_pods_that_start_together_on_a_new_disk_share_it(client: Client, engine: Engine, disk: Path) -> None:
    await bound(client, "shared", {"local": {"path": str(disk), "fsType": "ext4"}, "nodeAffinity": here()})
    names = [f"shares-{number}" for number in range(6)]
    script = "touch /v/$HOSTNAME; while [ $(ls /v | wc -l) -lt 6 ]; do sleep 0.1; done"
    await outputs(client, engine, [one(name, f"HOSTNAME={name}; {script}", of_claim("shared")) for name in names])
    for name in names:
        assert not [reason for reason, _ in await events(client, name) if reason == "FailedMount"]
        await client.delete(POD, name, "default", grace_period=0)


@pytest.mark.containerd
async def test_a_disk_in_a_file_is_full_at_its_size_and_grows_in_use(
    client: Client, engine: Engine, disk: Path
) -> None:
    await bound(client, "disk", {"local": {"path": str(disk), "fsType": "ext4"}, "nodeAffinity": here()})
    fill = "cd /v && ls -A && dd if=/dev/zero of=full bs=64k 2>&1 | grep -c 'No space'; rm full; echo kept > kept"
    got = await outputs(client, engine, [one("fills", fill, of_claim("disk"), spec_securityContext=user(1001))])
    assert got["fills"] == "1", "empty at first, anybody's to write to, and full at its size"

    async def given_back() -> bool:
        return disk.stat().st_blocks * 512 < 8 << 20

    await until(given_back)
    await client.create(POD, one("stays", SLEEP, of_claim("disk")))
    await client.create(POD, one("reads", "cat /v/kept", of_claim("disk", readOnly=True)))
    obj = await phase(client, "stays", "Running")
    place = volume_of(engine, obj, "local-volume", "pv-disk")
    before = await asyncio.to_thread(_size, place)
    with disk.open("r+b") as file:
        file.truncate(64 << 20)
    await ask(client, "disk", "64Mi")
    text = 'MountVolume.NodeExpandVolume succeeded for volume "pv-disk"'
    if _is_able(SYS_RESOURCE):
        await grown(client, "disk", "64Mi")
        assert await asyncio.to_thread(_size, place) > before * 3
        await said(client, "stays", "FileSystemResizeSuccessful", text)
    else:
        # Root of some machines may not do this while the file system is mounted.
        await said(client, "stays", "VolumeResizeFailed", "the volume grows when the next pod mounts it")
    await phase(client, "reads", "Succeeded")
    # Without a pod it waits for the next one.
    for name in ("fills", "stays", "reads"):
        await client.delete(POD, name, "default", grace_period=0)

    async def unmounted() -> bool:
        return not any("local-volume" in str(point) for point in mounts.points(engine.folder))

    await until(unmounted)
    with disk.open("r+b") as file:
        file.truncate(96 << 20)
    await ask(client, "disk", "96Mi")
    got = await outputs(
        client, engine, [one("later", "cat /v/kept && ls -A /v && df -m /v | tail -1", of_claim("disk"))]
    )
    kept, names, row = got["later"].splitlines()
    assert kept == names == "kept" and int(row.split()[1]) > 80
    await grown(client, "disk", "96Mi")
    assert text in await told_of_claim(client, "FileSystemResizeSuccessful")
    await client.delete(POD, "later", "default", grace_period=0)


def _is_able(capability: int) -> bool:
    words = Path("/proc/self/status").read_text().split()
    return bool(int(words[words.index("CapEff:") + 1], 16) & 1 << capability)


def _size(place: Path) -> int:
    found = os.statvfs(place)
    return found.f_blocks * found.f_frsize


@pytest.mark.containerd
async def test_a_driver_expands_what_pods_use(client: Client, engine: Engine, tmp_path: Path) -> None:
    registry = engine.folder / "agent/plugins_registry"
    with csi_driver.running(tmp_path, registry, 1, 3) as driver:
        await registered(client, driver)
        await settings(client)
        names = ("grows", "denied", "busy")
        for name in names:
            await bound(client, name, {"csi": {"driver": NAME, "volumeHandle": f"vol-{name}", "fsType": "ext4"}})
            await client.create(POD, one(name, SLEEP, of_claim(name)))
        pods = {name: await phase(client, name, "Running") for name in names}
        await ask(client, "grows", "2Gi")
        await grown(client, "grows", "2Gi")
        (request,) = driver.named("NodeExpandVolume")
        assert (request["volume_id"], request["capacity_range"]) == ("vol-grows", {"required_bytes": 2 << 30})
        place = volume_of(engine, pods["grows"], "csi", "pv-grows") / "mount"
        assert request["volume_path"] == str(place)
        staged = next(r for r in driver.named("NodeStageVolume") if r["volume_id"] == "vol-grows")
        assert request["staging_target_path"] == staged["staging_target_path"]
        assert request["volume_capability"] == staged["volume_capability"]
        # What can never be is not tried again.
        driver.unwilling = grpc.StatusCode.OUT_OF_RANGE
        await ask(client, "denied", "2Gi")
        words = "rpc error: code = OutOfRange desc = not today"
        message = await said(client, "denied", "VolumeResizeFailed", words)
        assert message.startswith('NodeExpandVolume.NodeExpandVolume failed for volume "pv-denied" : ')

        async def refused() -> Obj | None:
            found = await client.get(PERSISTENT_VOLUME_CLAIM, "denied", "default")
            done = found["status"]["allocatedResourceStatuses"] == {"storage": "NodeResizeInfeasible"}
            return found if done else None

        (condition,) = (await until(refused))["status"]["conditions"]
        assert condition["type"] == "NodeResizeError" and words in condition["message"]
        # A driver that does not do it in use is asked again for the next pod.
        driver.unwilling = grpc.StatusCode.FAILED_PRECONDITION
        await ask(client, "busy", "2Gi")
        await said(client, "busy", "VolumeResizeFailed", "code = FailedPrecondition")
        driver.unwilling = None
        await client.delete(POD, "busy", "default", grace_period=0)
        await until(lambda: _unpublished(driver, "vol-busy"))
        await client.create(POD, one("again", SLEEP, of_claim("busy")))
        await grown(client, "busy", "2Gi")
        for name in ("grows", "denied", "again"):
            await client.delete(POD, name, "default", grace_period=0)
        for name in names:
            await until(lambda name=name: _unpublished(driver, f"vol-{name}"))


async def _unpublished(driver: csi_driver.FoldersDriver, handle: str) -> bool:
    ids = [[r["volume_id"] for r in driver.named(f"Node{word}Volume")] for word in ("Publish", "Unpublish")]
    return ids[0].count(handle) == ids[1].count(handle)


@pytest.mark.containerd
async def test_mount_options_of_a_volume_are_used_where_there_are_any(
    client: Client, engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    with (tmp_path / "disk").open("wb") as file:
        file.truncate(16 << 20)
    sources = {"folder": {"path": f"{tmp_path}/folder"}, "disk": {"path": f"{tmp_path}/disk", "fsType": "ext4"}}
    for name, source in sources.items():
        local = {"local": source, "nodeAffinity": here()}
        await bound(client, f"opts-{name}", local, mountOptions=["noexec", "nodiratime"])
        await client.create(POD, one(f"opts-{name}", SLEEP, of_claim(f"opts-{name}")))
    for name in sources:
        obj = await phase(client, f"opts-{name}", "Running")
        place = volume_of(engine, obj, "local-volume", f"pv-opts-{name}")
        # What a container sees of them is for its runtime to say: most take flags off that CRI cannot ask for.
        flags = os.statvfs(place).f_flag
        assert flags & os.ST_NOEXEC and flags & os.ST_NODIRATIME, name
    await bound(client, "plain", {"hostPath": {"path": str(tmp_path)}}, mountOptions=["noexec"])
    await client.create(POD, one("plain", "true", of_claim("plain")))
    text = 'for volume "pv-plain" : mount options are not supported for this volume type'
    await said(client, "plain", "FailedMount", f"MountVolume.MountOptionSupport check failed {text}")
    for name in ("opts-folder", "opts-disk", "plain"):
        await client.delete(POD, name, "default", grace_period=0)
