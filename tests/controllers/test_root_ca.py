"""The ConfigMap kube-root-ca.crt of every namespace."""

from __future__ import annotations

import asyncio
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import CONFIG_MAP
from hawser.client.client import Client
from hawser.client.controller import Manager
from hawser.controllers import root_ca
from hawser.controllers.root_ca import RootCaController


def test_it_is_made_once_and_kept_as_it_should_be() -> None:
    made = root_ca.wanted(None, "ns", "CA")
    assert made is not None
    assert made["data"] == {"ca.crt": "CA"}
    assert root_ca.wanted(made, "ns", "CA") is None
    changed = root_ca.wanted({**made, "data": {"ca.crt": "other", "x": "y"}}, "ns", "CA")
    assert changed == made
    bare = {**made, "metadata": {"name": root_ca.NAME, "namespace": "ns", "annotations": {"a": "b"}}}
    again = root_ca.wanted(bare, "ns", "CA")
    assert again is not None
    assert again["metadata"]["annotations"].keys() == {"a", "kubernetes.io/description"}


async def test_every_namespace_gets_it_and_gets_it_back(api_server: Any) -> None:
    async with Client.from_kubeconfig(api_server.kubeconfig) as client:
        manager = Manager(client)
        manager.add(RootCaController())
        task = asyncio.create_task(manager.run())
        try:
            async with asyncio.timeout(60):
                for _ in range(2):
                    while (found := await _find(client)) is None:  # noqa: ASYNC110 - it comes over the network
                        await asyncio.sleep(0.02)
                    assert found["data"]["ca.crt"] == client.ca.decode()
                    await client.delete(CONFIG_MAP, root_ca.NAME, "default")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _find(client: Client) -> dict[str, Any] | None:
    try:
        return await client.get(CONFIG_MAP, root_ca.NAME, "default")
    except APIError:
        return None
