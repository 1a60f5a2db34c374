"""Volumes of CSI drivers: a real gRPC driver registers with the agent and serves pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import CSI_DRIVER, CSI_NODE, NODE, PERSISTENT_VOLUME, POD, SECRET, VOLUME_ATTACHMENT
from hawser.client.client import Client
from hawser.node.csi.plugins import CSIDrivers
from hawser.node.volumes import mounts

from . import csi_driver
from . import engine as engines
from .batch import SLEEP, STAT, bound, make, one, outputs, phase, said, until, user, volume_of
from .csi_driver import NAME, FoldersDriver
from .engine import Engine

pytestmark = pytest.mark.containerd
Obj = dict[str, Any]
AGENT_FLAGS = ("--sync-frequency", "1s")
STAGES = 1


@pytest.fixture
def driver(engine: Engine, tmp_path: Path) -> Iterator[FoldersDriver]:
    with csi_driver.running(tmp_path, engine.folder / "agent/plugins_registry", STAGES) as driver:
        yield driver


async def registered(client: Client, driver: FoldersDriver) -> Obj:
    """The driver's row in the node's CSINode, once it is there."""

    async def look() -> Obj:
        try:
            rows = (await client.get(CSI_NODE, engines.NODE))["spec"].get("drivers") or [{}]
        except APIError:
            return {}
        return dict(rows[0]) if driver.registered else {}

    row: Obj = await until(look)
    return row


async def unmounted(engine: Engine) -> bool:
    """Whether the driver, which has been asked to, has taken away all that it had mounted."""
    return not any("csi" in str(point) for point in mounts.points(engine.folder))


async def settings(client: Client, **spec: Any) -> None:
    try:
        await client.delete(CSI_DRIVER, NAME)
    except APIError as err:
        assert err.code == 404
    await make(client, CSI_DRIVER, NAME, spec={"attachRequired": False, **spec})


async def test_a_driver_whose_plugin_was_replaced_stays_when_the_older_one_goes(
    client: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    node = await client.get(NODE, engines.NODE)
    drivers = CSIDrivers(client, lambda: node)
    older, newer = (Path(tmp_path_factory.mktemp("csi")) for _ in range(2))
    with csi_driver.running(older, older), csi_driver.running(newer, newer):
        for folder in (older, newer):
            assert await drivers.register(NAME, str(folder / "driver.sock"), ["1.0.0"]) == ""
        await drivers.deregister(NAME, str(older / "driver.sock"))
        found = drivers.driver(NAME)
        assert found is not None and found.socket == str(newer / "driver.sock")
        assert (await found.info()).node_id == "this-node"
        await drivers.deregister(NAME, str(newer / "driver.sock"))
        assert drivers.driver(NAME) is None
    assert (await client.get(CSI_NODE, engines.NODE))["spec"].get("drivers") in (None, [])


async def test_a_driver_serves_pods(client: Client, engine: Engine, driver: FoldersDriver, tmp_path: Path) -> None:
    row = await registered(client, driver)
    assert row == {
        "name": NAME,
        "nodeID": "this-node",
        "topologyKeys": [f"{NAME}/zone"],
        "allocatable": {"count": 7},
    }
    assert driver.registered == {"ok": True, "error": ""}
    assert (await client.get(NODE, engines.NODE))["metadata"]["labels"][f"{NAME}/zone"] == "z1"
    await settings(
        client,
        podInfoOnMount=True,
        volumeLifecycleModes=["Persistent", "Ephemeral"],
        tokenRequests=[{"audience": "vault"}],
    )
    await make(client, SECRET, "for-csi", stringData={"key": "word"})
    attributes = {"volumeAttributes": {"size": "1"}}
    own = {"csi": {"driver": NAME, "nodePublishSecretRef": {"name": "for-csi"}, **attributes}}
    source = {"csi": {"driver": NAME, "volumeHandle": "vol-1", "fsType": "ext4", **attributes}}
    await bound(client, "driven", source)
    claim = {"persistentVolumeClaim": {"claimName": "driven"}}
    got = await outputs(
        client,
        engine,
        [
            one("inline", "touch /v/x && ls /v", own),
            one("driven", "touch /v/y && " + STAT + " /v", claim, spec_securityContext=user(0, fsGroup=55)),
        ],
    )
    assert got == {"inline": "x", "driven": "2775 0 55"}
    assert (tmp_path / "vol-1/y").exists(), "the volume is the driver's"
    requests = {r["volume_id"]: r for r in driver.named("NodePublishVolume")}
    inline = next(r for handle, r in requests.items() if handle.startswith("csi-"))
    assert inline["secrets"] == {"key": "word"} and "staging_target_path" not in inline
    context = inline["volume_context"]
    assert (context["size"], context["csi.storage.k8s.io/ephemeral"]) == ("1", "true")
    assert context["csi.storage.k8s.io/pod.name"] == "inline"
    assert json.loads(context["csi.storage.k8s.io/serviceAccount.tokens"])["vault"]["token"].count(".") == 2
    (staged,) = driver.named("NodeStageVolume")
    capability = {"mount": {"fs_type": "ext4"}, "access_mode": {"mode": 1}}
    assert staged["volume_capability"] == requests["vol-1"]["volume_capability"] == capability
    assert staged["staging_target_path"] == requests["vol-1"]["staging_target_path"]
    for name in got:
        await client.delete(POD, name, "default", grace_period=0)

    async def given_back() -> bool:
        return len(driver.named("NodeUnpublishVolume")) == 2 and len(driver.named("NodeUnstageVolume")) == 1

    await until(given_back)
    assert driver.named("NodeUnstageVolume")[0]["staging_target_path"] == staged["staging_target_path"]
    await until(lambda: unmounted(engine))
    assert (tmp_path / "vol-1/y").exists()


async def test_what_a_driver_does_not_do_is_said(client: Client, engine: Engine, driver: FoldersDriver) -> None:
    await registered(client, driver)
    await settings(client)
    await client.create(POD, one("not-inline", "true", {"csi": {"driver": NAME}}))
    text = f'volume mode "Ephemeral" not supported by driver {NAME} (only supports ["Persistent"])'
    init = 'MountVolume.NewMounter initialization failed for volume "v" : '
    await said(client, "not-inline", "FailedMount", init + text)
    await client.create(POD, one("unheard-of", "true", {"csi": {"driver": "no.such"}}))
    nobody = 'volume mode "Ephemeral" not supported by driver no.such (no CSIDriver object)'
    await said(client, "unheard-of", "FailedMount", init + nobody)
    driver.broken = "the disk is on fire"
    await bound(client, "burning", {"csi": {"driver": NAME, "volumeHandle": "vol-2"}})
    await client.create(POD, one("burning", "true", {"persistentVolumeClaim": {"claimName": "burning"}}))
    fire = "rpc error: code = Internal desc = the disk is on fire"
    await said(client, "burning", "FailedMount", f'MountVolume.SetUp failed for volume "pv-burning" : {fire}')
    await bound(client, "lost", {"csi": {"driver": "lost.csi", "volumeHandle": "vol-3"}})
    await make(client, CSI_DRIVER, "lost.csi", spec={"attachRequired": False})
    await client.create(POD, one("lost", "true", {"persistentVolumeClaim": {"claimName": "lost"}}))
    lost = "driver name lost.csi not found in the list of registered CSI drivers"
    await said(client, "lost", "FailedMount", lost)
    await client.patch(PERSISTENT_VOLUME, "pv-lost", None, {"metadata": {"labels": {"seen": "yes"}}})
    for name in ("not-inline", "unheard-of", "burning", "lost"):
        await client.delete(POD, name, "default", grace_period=0)


async def test_a_driver_that_attaches_is_waited_for(client: Client, engine: Engine, driver: FoldersDriver) -> None:
    await registered(client, driver)
    await settings(client, attachRequired=True)
    await bound(client, "attached", {"csi": {"driver": NAME, "volumeHandle": "vol-4"}})
    await client.create(POD, one("attached", "touch /v/x", {"persistentVolumeClaim": {"claimName": "attached"}}))
    waiting = 'AttachVolume.Attach failed for volume "pv-attached" : volume attachment is not there'
    await said(client, "attached", "FailedAttachVolume", waiting)
    name = "csi-" + sha256(f"vol-4{NAME}{engines.NODE}".encode()).hexdigest()
    spec = {"attacher": NAME, "nodeName": engines.NODE, "source": {"persistentVolumeName": "pv-attached"}}
    await make(client, VOLUME_ATTACHMENT, name, spec=spec)
    status = {"status": {"attached": True, "attachmentMetadata": {"port": "7"}}}
    await client.patch(VOLUME_ATTACHMENT, name, None, status, subresource="status")
    await phase(client, "attached", "Succeeded")
    assert driver.named("NodePublishVolume")[-1]["publish_context"] == {"port": "7"}
    await client.delete(POD, "attached", "default", grace_period=0)


async def test_volumes_are_given_back_whatever_a_crash_and_other_drivers_have_left(
    client: Client, engine: Engine, driver: FoldersDriver
) -> None:
    await registered(client, driver)
    await settings(client)
    for name in ("whole", "torn"):
        await bound(client, name, {"csi": {"driver": NAME, "volumeHandle": f"vol-{name}", "fsType": "ext4"}})
        await client.create(POD, one(name, SLEEP, {"persistentVolumeClaim": {"claimName": name}}))
    pods = {name: await phase(client, name, "Running") for name in ("whole", "torn")}
    volume_of(engine, pods["torn"], "csi", "pv-torn").joinpath("vol_data.json").write_text("")
    # Handles are of one driver only.
    other = engine.folder / "agent/pods/other/volumes/kubernetes.io~csi/pv"
    other.mkdir(parents=True)
    note = {"driverName": "other.test", "volumeHandle": "vol-whole", "staged": True}
    (other / "vol_data.json").write_text(json.dumps(note))
    for name in pods:
        await client.delete(POD, name, "default", grace_period=0)

    async def gone() -> bool:
        left = [engine.folder / "agent/pods" / one["metadata"]["uid"] for one in pods.values()]
        return not any(folder.exists() for folder in left)

    await until(gone)
    assert "vol-whole" in [r["volume_id"] for r in driver.named("NodeUnstageVolume")]


async def test_a_driver_that_wants_it_publishes_again_and_again(
    client: Client, engine: Engine, driver: FoldersDriver
) -> None:
    await registered(client, driver)
    modes = ["Persistent", "Ephemeral"]
    await settings(client, requiresRepublish=True, volumeLifecycleModes=modes, tokenRequests=[{"audience": "vault"}])
    await bound(client, "renewed", {"csi": {"driver": NAME, "volumeHandle": "vol-5", "fsType": "ext4"}})
    claim = {"persistentVolumeClaim": {"claimName": "renewed"}}
    await client.create(POD, one("renewed", SLEEP, claim))
    await client.create(POD, one("secrets", SLEEP, {"csi": {"driver": NAME}}))
    uid = {name: (await phase(client, name, "Running"))["metadata"]["uid"] for name in ("renewed", "secrets")}

    def published(name: str) -> list[Obj]:
        return [r for r in driver.named("NodePublishVolume") if uid[name] in r["target_path"]]

    async def thrice() -> bool:
        return all(len(published(name)) > 2 for name in uid)

    await until(thrice)
    for name in uid:
        first, *others = published(name)
        assert all(other == first for other in others), "the token of a moment ago serves"
        assert "csi.storage.k8s.io/serviceAccount.tokens" in first["volume_context"]
    staged = [r for r in driver.named("NodeStageVolume") if r["volume_id"] == "vol-5"]
    assert len(staged) == 1
    driver.broken = "the vault is shut"
    await said(client, "secrets", "FailedMount", "the vault is shut")
    assert (await client.get(POD, "secrets", "default"))["status"]["phase"] == "Running"
    driver.broken = ""
    await settings(client, volumeLifecycleModes=modes)
    for name in uid:
        await client.delete(POD, name, "default", grace_period=0)

    async def given_back() -> bool:
        return {uid[name] for name in uid} <= {
            r["target_path"].split("/pods/")[1][:36] for r in driver.named("NodeUnpublishVolume")
        }

    await until(given_back)
    count = len(driver.named("NodePublishVolume"))
    await until(lambda: unmounted(engine))
    assert len(driver.named("NodePublishVolume")) == count
