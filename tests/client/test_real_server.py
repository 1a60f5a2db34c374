"""The client and the informer against Hawser's own API server, over TLS, through its death."""

from __future__ import annotations

import asyncio

import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import CONFIG_MAP, EVENT
from hawser.client.client import Client
from hawser.client.events import EventRecorder
from hawser.client.informer import Informer


@pytest.fixture
async def admin(api_server):
    async with Client.from_kubeconfig(api_server.kubeconfig) as client:
        yield client


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it becomes true by what arrives over the network
            await asyncio.sleep(0.01)


async def test_an_object_lives_its_life(admin):
    made = await admin.create(CONFIG_MAP, config_map("life", a="1"))
    with pytest.raises(APIError) as caught:
        await admin.create(CONFIG_MAP, config_map("life"))
    assert caught.value.reason == "AlreadyExists"
    await admin.patch(CONFIG_MAP, "life", "default", {"data": {"a": "2"}})
    with pytest.raises(APIError) as caught:
        await admin.update(CONFIG_MAP, made)
    assert caught.value.reason == "Conflict"
    await admin.delete(CONFIG_MAP, "life", "default", uid=made["metadata"]["uid"])
    with pytest.raises(APIError) as caught:
        await admin.get(CONFIG_MAP, "life", "default")
    assert caught.value.code == 404


async def test_an_informer_survives_the_servers_death_and_misses_nothing(admin, api_server):
    informer = Informer(admin, CONFIG_MAP, "default")
    task = asyncio.create_task(informer.run())
    try:
        await asyncio.wait_for(informer.synced(), 120)
        await admin.create(CONFIG_MAP, config_map("before"))
        await until(lambda: informer.get("default", "before"))
        api_server.stop()
        await asyncio.to_thread(api_server.start)
        await admin.create(CONFIG_MAP, config_map("after"))
        await admin.delete(CONFIG_MAP, "before", "default")
        await until(lambda: informer.get("default", "after") and not informer.get("default", "before"))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_events_are_accepted_and_counted(admin):
    obj = await admin.create(CONFIG_MAP, config_map("talked-about"))
    recorder = EventRecorder(admin, "tester")
    recorder.event(obj, "Normal", "Tested", "once")
    await recorder.flush()
    recorder.event(obj, "Normal", "Tested", "once")
    await recorder.flush()
    listing = await admin.list(EVENT, "default", field_selector="involvedObject.name=talked-about")
    assert [e["count"] for e in listing.items] == [2]


def test_requests_that_are_given_up_at_any_moment_leave_no_socket_open(api_server):
    async def give_up(turns: int) -> list[int]:
        async with Client.from_kubeconfig(api_server.kubeconfig) as client:
            task = asyncio.create_task(client.raw("GET", "/version"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return [one.fileno() for one in client._sockets]

    for turns in range(0, 120, 3):
        assert set(asyncio.run(give_up(turns))) <= {-1}, turns
