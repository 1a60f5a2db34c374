"""Dynamic resources: a real driver's process registers with the agent and prepares what pods claim."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.clients import debian

from hawser.api.errors import APIError
from hawser.api.kinds import POD, RESOURCE_CLAIM, RESOURCE_SLICE
from hawser.client.client import Client
from hawser.node.devices.podresources import podresources
from hawser.node.dra.drivers import Drivers
from hawser.node.metrics.devices import DeviceCounters

from . import dra_driver, private_containerd
from . import engine as engines
from .batch import phase, pod, said, until
from .dra_driver import NAME, Running
from .engine import Engine
from .private_containerd import Containerd
from .running import FOREVER, gone, log_of, page, ready, remove_pods, seen, state

pytestmark = pytest.mark.containerd
Obj = dict[str, Any]


@pytest.fixture(scope="module")
def cdi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tmp_path_factory.mktemp("cdi"))


@pytest.fixture(scope="module")
def engine(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory, cdi: Path) -> Iterator[Engine]:
    folder = Path(tmp_path_factory.mktemp("engine"))
    with engines.running(folder, containerd, agent_flags=("--cdi-spec-dirs", str(cdi))) as running:
        yield running
        asyncio.run(remove_pods(running))


@pytest.fixture
def driver(engine: Engine, tmp_path: Path, cdi: Path) -> Iterator[Running]:
    with dra_driver.running(tmp_path, engine.folder / "agent/plugins_registry", cdi) as made:
        yield made


async def registered(driver: Running) -> list[Any]:
    """What the agent said of the driver's registration."""

    async def look() -> bool:
        return (driver.folder / "registered").exists()

    await until(look)
    found: list[Any] = json.loads((driver.folder / "registered").read_text())
    return found


def claiming(name: str, *claims: str, container: Obj | None = None, **spec: Any) -> Obj:
    """A pod that says what it has of its claims, which have the names of their objects."""
    asked = {"resources": {"claims": [{"name": claim} for claim in claims]}}
    script = "env | grep TOY_ | sort; ls /dev | grep toy | sort; ls -d /toy/*; ls /toy/* > /dev/null && echo seen"
    made = pod(name, spec.pop("script", script), {**asked, **(container or {})}, hostNetwork=True, **spec)
    made["spec"]["resourceClaims"] = [{"name": claim, "resourceClaimName": claim} for claim in claims]
    return made


async def claim(client: Client, name: str, *pods: Obj, driver: str = NAME) -> Obj:
    """A claim that the scheduler would have allocated, reserved for some pods."""
    request = {"name": "one", "exactly": {"deviceClassName": "toys"}}
    metadata = {"name": name, "namespace": "default"}
    made = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": metadata}
    made["spec"] = {"devices": {"requests": [request]}}
    try:
        known = await client.create(RESOURCE_CLAIM, made)
    except APIError as err:
        assert err.reason == "AlreadyExists"
        known = await client.get(RESOURCE_CLAIM, name, "default")
    rows = [{"request": "one", "driver": driver, "pool": "pool", "device": f"toy-{name}"}]
    status: Obj = {"allocation": {"devices": {"results": rows}}}
    status["reservedFor"] = [
        {"resource": "pods", "name": one["metadata"]["name"], "uid": one["metadata"]["uid"]} for one in pods
    ]
    return await client.update(RESOURCE_CLAIM, {**known, "status": status}, subresource="status")


async def test_claims_are_prepared_before_a_pod_and_given_back_after_it(
    client: Client, engine: Engine, driver: Running, cdi: Path
) -> None:
    assert await registered(driver) == [True, ""]
    first = await client.create(POD, claiming("first", "red", "blue"))
    other = {"name": "plain", "image": first["spec"]["containers"][0]["image"], "command": ["/bin/sh", "-c", "env"]}
    more = claiming("second", "blue")
    more["spec"]["containers"].append(other)
    second = await client.create(POD, more)
    red = await claim(client, "red", first)
    blue = await claim(client, "blue", first, second)
    ended = [await phase(client, name, "Succeeded") for name in ("first", "second")]
    uids = {"red": red["metadata"]["uid"], "blue": blue["metadata"]["uid"]}
    assert log_of(engine, ended[0]).split() == [
        *(f"TOY_BLUE={uids['blue']}", f"TOY_RED={uids['red']}"),
        *("toy-blue", "toy-red", "/toy/blue", "/toy/red", "seen"),
    ]
    assert log_of(engine, ended[1]).split()[0] == f"TOY_BLUE={uids['blue']}"
    assert "TOY" not in log_of(engine, ended[1], "plain"), "only containers that name the claim have it"
    # A pod whose end is known to the API has nothing of its driver's any more, deleted or not.
    given = [name for call in driver.calls("NodeUnprepareResources") for name in call]
    # Twice for the claim of both if one had ended before the other came.
    assert set(given) == {"blue", "red"} and given.count("red") == 1
    assert sorted({name for call in driver.calls("NodePrepareResources") for name in call}) == ["blue", "red"]
    assert list(cdi.iterdir()) == []
    for name in ("first", "second"):
        await client.delete(POD, name, "default", grace_period=0)
    assert json.loads((engine.folder / "agent/dra_manager_state").read_text()) == []
    shown = await page(engine, "/metrics")
    call = f'driver_name="{NAME}",grpc_status_code="OK",method_name="/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/'
    for line in (
        'dra_resource_claims_in_use{driver_name="<any>"} 0',
        f'dra_grpc_operations_duration_seconds_count{{{call}NodePrepareResources"}} ',
        f'dra_operations_duration_seconds_count{{operation_name="UnprepareResources",is_error="false"}} {len(given)}',
    ):
        assert line in shown


async def test_the_health_of_claimed_devices_is_in_the_status_of_containers(client: Client, driver: Running) -> None:
    assert await registered(driver) == [True, ""]
    made = await client.create(POD, claiming("healthy", "well", script=FOREVER))
    uid = (await claim(client, "well", made))["metadata"]["uid"]
    row: Obj = {"name": "claim:well", "resources": [{"resourceID": f"{NAME}/toy={uid}", "health": "Unknown"}]}

    def shows(word: str) -> Callable[[Obj], bool]:
        row["resources"][0]["health"] = word
        return lambda seen: state(seen).get("allocatedResourcesStatus") == [row]

    await seen(client, "healthy", shows("Unknown"))
    driver.health("toy-well", 1)
    await seen(client, "healthy", shows("Healthy"))
    driver.health("toy-well", 2)
    await seen(client, "healthy", shows("Unhealthy"))
    # What is not said again in the time that the driver gives counts no more.
    driver.health("toy-well", 1, seconds=5)
    await seen(client, "healthy", shows("Healthy"))
    await seen(client, "healthy", shows("Unknown"))
    await client.delete(POD, "healthy", "default", grace_period=0)

    async def given_back() -> list[list[str]]:
        return driver.calls("NodeUnprepareResources")

    assert await until(given_back) == [["well"]]


async def test_what_keeps_a_claim_from_being_prepared_is_said(client: Client, driver: Running) -> None:
    assert await registered(driver) == [True, ""]
    text = "Failed to prepare dynamic resources: prepare dynamic resources: "
    made = {name: await client.create(POD, claiming(name, name)) for name in ("none", "others", "lost", "bad")}
    await said(client, "none", "FailedPrepareDynamicResources", f"{text}fetch ResourceClaim none: ")
    others = await claim(client, "others")
    uid = made["others"]["metadata"]["uid"]
    words = f"pod others ({uid}) is not allowed to use ResourceClaim others ({others['metadata']['uid']})"
    await said(client, "others", "FailedPrepareDynamicResources", text + words)
    await claim(client, "lost", made["lost"], driver="gone.hawser.test")
    await said(client, "lost", "FailedPrepareDynamicResources", f"{text}DRA driver gone.hawser.test is not registered")
    driver.order("fail the toy is broken", "NodePrepareResources")
    await claim(client, "bad", made["bad"])
    words = "NodePrepareResources failed for ResourceClaim bad: the toy is broken"
    await said(client, "bad", "FailedPrepareDynamicResources", text + words)
    # It is tried again, and this time it works.
    await phase(client, "bad", "Succeeded")
    template = claiming("template", "mine")
    template["spec"]["resourceClaims"] = [{"name": "mine", "resourceClaimTemplateName": "some"}]
    await client.create(POD, template)
    words = 'pod "default/template": ResourceClaim not created yet'
    await said(client, "template", "FailedPrepareDynamicResources", text + words)
    for name in (*made, "template"):
        await client.delete(POD, name, "default", grace_period=0)
    await asyncio.gather(*(gone(client, name) for name in (*made, "template")))


async def test_an_agent_that_is_killed_while_a_claim_is_prepared_leaves_nothing(
    client: Client, engine: Engine, driver: Running, cdi: Path
) -> None:
    """Killed between the call and its answer; then once more, and the pod is deleted by force meanwhile."""
    assert await registered(driver) == [True, ""]
    for name, forced in (("kept", False), ("forced", True)):
        prepared, unprepared = len(driver.calls("NodePrepareResources")), len(driver.calls("NodeUnprepareResources"))
        driver.order("hang", "NodePrepareResources")
        made = await client.create(POD, claiming(name, name, script=FOREVER))
        await claim(client, name, made)

        async def asked(before: int = prepared) -> bool:
            return len(driver.calls("NodePrepareResources")) > before

        await until(asked)
        engine.stop_agent(signal.SIGKILL)
        if forced:
            await client.delete(POD, name, "default", grace_period=0)
        engine.start_agent()
        if not forced:
            await seen(client, name, ready)
            await told_of(engine, name)
            engine.stop_agent(signal.SIGKILL)
            await client.delete(POD, name, "default", grace_period=0)
            engine.start_agent()

        async def returned(before: int = unprepared) -> bool:
            return len(driver.calls("NodeUnprepareResources")) > before

        await until(returned)

        async def forgotten() -> bool:
            return json.loads((engine.folder / "agent/dra_manager_state").read_text()) == []

        await until(forgotten)
        assert list(cdi.iterdir()) == []


async def told_of(engine: Engine, name: str) -> None:
    """A monitoring agent is told what the pod of one claim of this name has."""
    method = podresources().method("PodResourcesLister", "Get")
    async with grpc.aio.insecure_channel(f"unix:{engine.folder}/agent/pod-resources/kubelet.sock") as channel:
        call = channel.unary_unary(
            method.path, request_serializer=method.request.encode, response_deserializer=method.response.decode
        )
        answer = await call({"pod_name": name, "pod_namespace": "default"}, timeout=60)
    (has,) = answer.pod_resources.containers[0].dynamic_resources
    (device,) = has.claim_resources
    assert (has.claim_name, has.claim_namespace) == (name, "default")
    assert (device.driver_name, device.pool_name, device.device_name) == (NAME, "pool", f"toy-{name}")
    assert len(device.cdi_devices) == 1 and device.cdi_devices[0].name.startswith(f"{NAME}/toy=")


async def test_a_pod_is_not_over_before_its_driver_has_taken_the_devices_back(client: Client, driver: Running) -> None:
    assert await registered(driver) == [True, ""]
    driver.order("fail not now", "NodeUnprepareResources")
    await claim(client, "kept", await client.create(POD, claiming("kept", "kept", script="true")))

    async def asked() -> int:
        return len(driver.calls("NodeUnprepareResources"))

    await until(asked)
    found = await client.get(POD, "kept", "default")
    assert await asked() > 1 or found["status"]["phase"] not in ("Succeeded", "Failed")
    await phase(client, "kept", "Succeeded")
    assert await asked() == 2
    await client.delete(POD, "kept", "default", grace_period=0)


async def test_an_older_driver_is_spoken_to_in_its_version_and_one_of_none_is_refused(
    client: Client, engine: Engine, tmp_path: Path, cdi: Path
) -> None:
    registry = engine.folder / "agent/plugins_registry"
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
    with dra_driver.running(tmp_path / "new", registry, cdi, "v7.DRAPlugin") as unknown:
        ok, why = await registered(unknown)
        assert not ok and why == (
            f"invalid supported gRPC versions of DRA driver plugin {NAME} at endpoint {tmp_path}/new/dra.sock: none of "
            'services supported by the plugin (["v7.DRAPlugin"]) are supported by the kubelet '
            '(["v1.DRAPlugin" "v1beta1.DRAPlugin"])'
        )
    with dra_driver.running(tmp_path / "old", registry, cdi, "v1beta1.DRAPlugin") as old:
        assert await registered(old) == [True, ""]
        await claim(client, "old", await client.create(POD, claiming("old", "old")))
        await phase(client, "old", "Succeeded")
        await client.delete(POD, "old", "default", grace_period=0)


@pytest.fixture
def newer(tmp_path: Path) -> Iterator[Engine]:
    """An engine with containerd 1.7, which reads CDI specs itself; its agent is told a folder without any."""
    try:
        programs = debian.unpacked("trixie", ["containerd"]) / "usr/bin"
    except debian.Unavailable as err:
        pytest.skip(f"containerd 1.7 cannot be had here: {err}")
    flags = ("--cdi-spec-dirs", str(tmp_path / "none"))
    # Paths of sockets are short.
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as folder,
        private_containerd.running(Path(folder) / "cd", programs=programs, cdi=tmp_path / "cdi") as containerd,
        engines.running(Path(folder) / "engine", containerd, agent_flags=flags) as running,
    ):
        yield running


async def test_a_runtime_that_knows_cdi_is_told_the_names_of_devices(newer: Engine, tmp_path: Path) -> None:
    registry = newer.folder / "agent/plugins_registry"
    with dra_driver.running(tmp_path, registry, tmp_path / "cdi") as driver:
        async with Client.from_kubeconfig(newer.kubeconfig) as client:
            assert await registered(driver) == [True, ""]
            made = await client.create(POD, claiming("newer", "red"))
            uid = (await claim(client, "red", made))["metadata"]["uid"]
            ended = await phase(client, "newer", "Succeeded")
            assert log_of(newer, ended).split() == [f"TOY_RED={uid}", "toy-red", "/toy/red", "seen"]
            await client.delete(POD, "newer", "default", grace_period=0)
            await gone(client, "newer")
        assert driver.calls("NodeUnprepareResources") == [["red"]]


async def test_slices_go_with_their_driver_and_stay_with_one_that_comes_back(
    client: Client, tmp_path_factory: pytest.TempPathFactory, cdi: Path
) -> None:
    # A socket's path is short: a folder named after the test would be too long for it.
    tmp_path = tmp_path_factory.mktemp("dra")
    for driver in (NAME, "other.hawser.test"):
        made = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": f"slice-{driver}"}}
        pool = {"name": "pool", "generation": 1, "resourceSliceCount": 1}
        spec = {"driver": driver, "nodeName": "far", "pool": pool, "devices": [{"name": "toy"}]}
        await client.create(RESOURCE_SLICE, {**made, "spec": spec})
    drivers = Drivers(client, "far", lambda: None, DeviceCounters(), wipe_after=0.5)
    registry = tmp_path / "registry"
    with dra_driver.running(tmp_path, registry, cdi) as driver:

        async def there() -> bool:
            return (tmp_path / "dra.sock").exists()

        await until(there)
        endpoint = str(tmp_path / "dra.sock")
        assert await drivers.register(NAME, endpoint, ["v1.DRAPlugin"]) == ""
        assert "already registered" in await drivers.register(NAME, endpoint, ["v1.DRAPlugin"])

        async def connected() -> bool:
            return drivers.find(NAME).connected

        await until(connected)
        driver.stop(signal.SIGKILL)

        async def left() -> bool:
            rows = (await client.list(RESOURCE_SLICE, field_selector="spec.nodeName=far")).items
            return [row["spec"]["driver"] for row in rows] == ["other.hawser.test"]

        await until(left)
    await drivers.close()
    await client.delete_collection(RESOURCE_SLICE)
