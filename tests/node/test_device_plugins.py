"""Device plugins: a real plugin registers with the agent, and containers get its devices."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from hawser.api.kinds import NODE, POD
from hawser.client.client import Client
from hawser.node.deviceplugins import tables
from hawser.node.deviceplugins.manager import DevicePlugins
from hawser.node.devices.podresources import podresources
from hawser.node.metrics.devices import DeviceCounters, render
from hawser.node.rpc.server import Server

from . import device_plugin
from . import engine as engines
from .batch import phase, pod, said, until
from .device_plugin import NAME, ToyPlugin
from .engine import Engine
from .running import FOREVER, gone, log_of, ready, seen, state

pytestmark = pytest.mark.containerd
Obj = dict[str, Any]


def folder(engine: Engine) -> Path:
    return engine.folder / "agent/device-plugins"


@pytest.fixture
async def registrar(engine: Engine, client: Client) -> None:
    """The agent serves registrations."""

    async def there() -> bool:
        return (folder(engine) / "kubelet.sock").exists()

    await until(there)


@pytest.fixture
async def plugin(engine: Engine, client: Client, registrar: None) -> AsyncIterator[ToyPlugin]:
    with device_plugin.running(folder(engine)) as made:
        await amounts(client, "3", "3")
        yield made
        made.stop()


async def amounts(client: Client, capacity: str, allocatable: str) -> None:
    """Waits until the node says that it has so many toys."""

    async def look() -> bool:
        status = (await client.get(NODE, engines.NODE))["status"]
        return (status["capacity"].get(NAME), status["allocatable"].get(NAME)) == (capacity, allocatable)

    await until(look)


def toy(name: str, number: int, script: str, **spec: Any) -> Obj:
    container = {"resources": {"limits": {NAME: str(number)}}, "env": [{"name": "OWN", "value": "the pod's"}]}
    return pod(name, script, container, hostNetwork=True, **spec)


async def deleted(client: Client, *names: str) -> None:
    for name in names:
        await client.delete(POD, name, "default", grace_period=0)
    await asyncio.gather(*(gone(client, name) for name in names))


async def test_containers_get_devices_and_what_comes_with_them(
    client: Client, engine: Engine, plugin: ToyPlugin
) -> None:
    made = toy("init", 2, "echo $TOYS")
    first = {**made["spec"]["containers"][0], "name": "first"}
    made["spec"]["initContainers"] = [first]
    await client.create(POD, made)
    show = "echo $TOYS $OWN; ls /dev | grep toy; test -s /toy-box && ! touch /toy-box 2> /dev/null && echo box"
    await client.create(POD, toy("shows", 1, show))
    inits, shows = [await phase(client, name, "Succeeded") for name in ("init", "shows")]
    toys = log_of(engine, inits)
    assert toys == log_of(engine, inits, "first"), "what an init container had, the next one has"
    mine = log_of(engine, shows).split()[0]
    assert sorted([*toys.split(","), mine]) == ["a", "b", "c"]
    assert log_of(engine, shows).splitlines() == [f"{mine} the pod's", f"toy-{mine}", "box"]
    assert len(plugin.named("PreStartContainer")) == 3 and [mine] in plugin.named("PreStartContainer")
    assert plugin.named("GetPreferredAllocation")
    # Pods that have ended have none any more.
    await client.create(POD, toy("all", 3, "echo $TOYS"))
    assert log_of(engine, await phase(client, "all", "Succeeded")) == "a,b,c"
    await deleted(client, "init", "shows", "all")


async def test_pods_for_which_there_are_no_devices_are_refused(client: Client, plugin: ToyPlugin) -> None:
    plugin.set(a=False)
    await amounts(client, "3", "2")
    start = "Allocate failed due to "
    text = f"{start}requested number of devices unavailable for {NAME}. Requested: 3, Available: 2, which is unexpected"
    await client.create(POD, toy("greedy", 3, "true"))
    failed = await phase(client, "greedy", "Failed")
    assert failed["status"]["reason"] == "UnexpectedAdmissionError"
    assert failed["status"]["message"] == f"Pod was rejected: {text}"
    await said(client, "greedy", "UnexpectedAdmissionError", text)
    plugin.broken = "the toys are in the wash"
    await client.create(POD, toy("unlucky", 1, "true"))
    words = "rpc error: code = Internal desc = the toys are in the wash"
    await said(client, "unlucky", "UnexpectedAdmissionError", f"{start}{words}, which is unexpected")
    plugin.set(b=False, c=False)
    await amounts(client, "3", "0")
    await client.create(POD, toy("sick", 1, "true"))
    words = f"no healthy devices present; cannot allocate unhealthy devices {NAME}"
    await said(client, "sick", "UnexpectedAdmissionError", f"{start}{words}, which is unexpected")
    await deleted(client, "greedy", "unlucky", "sick")


async def resources(engine: Engine, name: str, **fields: str) -> Any:
    """One call of the PodResources API."""
    method = podresources().method("PodResourcesLister", name)
    async with grpc.aio.insecure_channel(f"unix:{engine.folder}/agent/pod-resources/kubelet.sock") as channel:
        call = channel.unary_unary(
            method.path, request_serializer=method.request.encode, response_deserializer=method.response.decode
        )
        return await call(fields, timeout=60)


def rows(found: Any) -> list[tuple[str, list[str], list[int]]]:
    return [(row.resource_name, list(row.device_ids), [node.ID for node in row.topology.nodes]) for row in found]


async def test_who_asks_on_the_node_is_told_which_container_has_what(
    client: Client, engine: Engine, plugin: ToyPlugin
) -> None:
    plugin.set(b=False)
    await amounts(client, "3", "2")
    await client.create(POD, toy("plays", 2, FOREVER))
    await client.create(POD, pod("idle", FOREVER, hostNetwork=True))
    await asyncio.gather(*(seen(client, name, ready) for name in ("plays", "idle")))
    listed = await resources(engine, "List")
    found = {one.name: {c.name: rows(c.devices) for c in one.containers} for one in listed.pod_resources}
    mine = [(NAME, ["a"], [0]), (NAME, ["c"], [0]), (NAME, ["c"], [1])]
    assert found == {"plays": {"c": mine}, "idle": {"c": []}}
    assert rows((await resources(engine, "GetAllocatableResources")).devices) == mine
    one = await resources(engine, "Get", pod_name="plays", pod_namespace="default")
    assert rows(one.pod_resources.containers[0].devices) == mine
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await resources(engine, "Get", pod_name="none", pod_namespace="default")
    assert raised.value.details() == "pod none in namespace default not found"
    health = [{"resourceID": "a", "health": "Healthy"}, {"resourceID": "c", "health": "Unhealthy"}]
    plugin.set(c=False)
    wanted = [{"name": NAME, "resources": health}]
    await seen(client, "plays", lambda one: state(one).get("allocatedResourcesStatus") == wanted)
    await asyncio.to_thread(plugin.stop)
    wanted = [{"name": NAME, "resources": [{**row, "health": "Unknown"} for row in health]}]
    await seen(client, "plays", lambda one: state(one).get("allocatedResourcesStatus") == wanted)
    await deleted(client, "plays", "idle")


async def test_devices_are_remembered_by_an_agent_that_was_killed(
    client: Client, engine: Engine, registrar: None
) -> None:
    with device_plugin.running(folder(engine)) as plugin:
        await amounts(client, "3", "3")
        await client.create(POD, toy("holds", 2, f"echo $TOYS; {FOREVER}", restartPolicy="Always"))
        holds = await seen(client, "holds", ready)

        async def told() -> str:
            return log_of(engine, holds)

        held = str(await until(told))
        engine.stop_agent(signal.SIGKILL)
        engine.start_agent()
        # A plugin notices that its socket is gone, and registers once there is a new one of the agent's.
        await amounts(client, "0", "0")
        assert not (folder(engine) / "toy.sock").exists()
        plugin.stop()
    with device_plugin.running(folder(engine)) as plugin:
        await amounts(client, "3", "3")
        await seen(client, "holds", ready)
        await client.create(POD, toy("more", 2, "true"))
        words = f"requested number of devices unavailable for {NAME}. Requested: 2, Available: 1"
        await said(client, "more", "UnexpectedAdmissionError", words)
        await client.create(POD, toy("other", 1, "echo $TOYS"))
        other = log_of(engine, await phase(client, "other", "Succeeded"))
        assert sorted([*held.split(","), other]) == ["a", "b", "c"]
        # Deleted by force while the agent is away: nothing stays taken.
        engine.stop_agent(signal.SIGKILL)
        await deleted(client, "more", "other", "holds")
        engine.start_agent()
        await amounts(client, "0", "0")
        plugin.stop()
    with device_plugin.running(folder(engine)) as plugin:
        await amounts(client, "3", "3")
        await client.create(POD, toy("again", 3, "echo $TOYS"))
        assert log_of(engine, await phase(client, "again", "Succeeded")) == "a,b,c"
        await deleted(client, "again")
        plugin.stop()
        # All that its plugin had is unhealthy.
        await amounts(client, "3", "0")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"version": "v9"}, 'requested API version "v9" is not supported by kubelet. Supported version is ["v1beta1"]'),
        ({"resource_name": "cpu"}, 'the ResourceName "cpu" is invalid'),
        ({"resource_name": "kubernetes.io/toy"}, 'the ResourceName "kubernetes.io/toy" is invalid'),
    ],
)
async def test_what_is_no_device_plugin_is_refused(
    client: Client, engine: Engine, registrar: None, fields: dict[str, str], words: str
) -> None:
    plugin = ToyPlugin(folder(engine))
    with pytest.raises(grpc.RpcError) as raised:
        await asyncio.to_thread(plugin.register, endpoint="toy.sock", **fields)
    assert raised.value.details() == words
    plugin.stop()


async def test_a_resource_is_none_when_its_plugin_has_been_away_for_long(tmp_path: Path) -> None:
    counters = DeviceCounters()
    told: list[tuple[dict[str, str], dict[str, str]]] = []
    plugins = DevicePlugins(tmp_path, lambda *rows: told.append(rows), lambda: None, counters, grace=0.5)
    server = Server(tmp_path / "kubelet.sock")
    server.add(tables.deviceplugin(), "Registration", {"Register": plugins.register_request})
    await server.start()

    async def says(capacity: str, allocatable: str) -> None:
        async def look() -> bool:
            return ({NAME: capacity}, {NAME: allocatable}) in told

        await until(look)

    plugin = ToyPlugin(tmp_path, toys=("a",))
    await asyncio.to_thread(plugin.start)
    await says("1", "1")
    await asyncio.to_thread(plugin.stop)
    await says("1", "0")
    await says("0", "0")
    assert plugins.resources == {}
    assert f'kubelet_device_plugin_registration_total{{resource_name="{NAME}"}} 1' in render(counters, {})
    plugins.close()
    await server.stop()
