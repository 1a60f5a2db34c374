"""ReplicationControllers against Hawser's own API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hawser.api.kinds import POD, REPLICATION_CONTROLLER, RESOURCE_QUOTA
from hawser.api.status import condition
from hawser.client.client import Client
from hawser.controllers import pods
from hawser.controllers.replicationcontroller import ReplicationControllerController

from .objects import Obj
from .running import eventually, running


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    async with running(api_server.kubeconfig, ReplicationControllerController()) as made:
        yield made


async def _count(client: Client, namespace: str, wanted: int) -> bool:
    return len((await client.list(POD, namespace)).items) == wanted


def controller(namespace: str, replicas: int = 2) -> Obj:
    template = {"metadata": {"labels": {"app": "old"}}, "spec": {"containers": [{"name": "main", "image": "a"}]}}
    return {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": {"name": "old", "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"app": "old"}, "template": template},
    }


async def test_a_replication_controller_makes_adopts_releases_and_scales(client: Client, namespace: str) -> None:
    lonely = {"name": "lonely", "namespace": namespace, "labels": {"app": "old"}}
    spec = {"containers": [{"name": "main", "image": "a"}]}
    await client.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": lonely, "spec": spec})
    made = await client.create(REPLICATION_CONTROLLER, controller(namespace))
    await eventually(lambda: _count(client, namespace, 2))
    adopted = await client.get(POD, "lonely", namespace)
    assert adopted["metadata"]["ownerReferences"] == [pods.owner_reference(made)]
    await client.patch(POD, "lonely", namespace, {"metadata": {"labels": {"app": "new"}}})
    await eventually(lambda: _count(client, namespace, 3))

    async def released() -> bool:
        return not (await client.get(POD, "lonely", namespace))["metadata"].get("ownerReferences")

    await eventually(released)
    scale = await client.get_subresource(REPLICATION_CONTROLLER, "old", namespace, "scale")
    await client.update(REPLICATION_CONTROLLER, {**scale, "spec": {"replicas": 0}}, subresource="scale")

    async def empty() -> bool:
        status = (await client.get(REPLICATION_CONTROLLER, "old", namespace))["status"]
        return status == {"replicas": 0, "observedGeneration": 2}

    await eventually(empty)
    (left,) = (await client.list(POD, namespace)).items
    assert left["metadata"]["name"] == "lonely"


async def test_a_quota_that_is_used_up_is_a_condition_of_the_controller(client: Client, namespace: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "two", "namespace": namespace}}
    await client.create(RESOURCE_QUOTA, {**quota, "spec": {"hard": {"pods": "2"}}})
    await client.create(REPLICATION_CONTROLLER, controller(namespace, 3))

    async def failure() -> Obj | None:
        return condition(await client.get(REPLICATION_CONTROLLER, "old", namespace), "ReplicaFailure")

    failed = await eventually(failure)
    assert (failed["status"], failed["reason"]) == ("True", "FailedCreate")
    assert "exceeded quota: two" in failed["message"]
    await client.patch(REPLICATION_CONTROLLER, "old", namespace, {"spec": {"replicas": 2}})

    async def gone() -> bool:
        return await failure() is None

    await eventually(gone)
