"""Quotas' status and the protection of storage objects: decisions, and against Hawser's own API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import (
    CONFIG_MAP,
    DEVICE_CLASS,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    RESOURCE_CLAIM,
    RESOURCE_QUOTA,
    SERVICE,
    VOLUME_ATTRIBUTES_CLASS,
    Kind,
)
from hawser.client.client import Client
from hawser.controllers.resourcequota import ResourceQuotaController, counts_differently, status, total
from hawser.controllers.storage_protection import (
    AttributesClassProtection,
    ClaimProtection,
    VolumeProtection,
    claims_in_use,
)

from .living import FakeClock, Living
from .running import eventually, running
from .world import World

Obj = dict[str, Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONTROLLERS = (ResourceQuotaController, ClaimProtection, VolumeProtection, AttributesClassProtection)


def pod(name: str = "p", **spec: Any) -> Obj:
    containers = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "250m"}}}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers, **spec}}


def test_a_status_is_written_only_when_it_says_something_new() -> None:
    quota: Obj = {"spec": {"hard": {"pods": "2", "requests.cpu": "1", "services": "3"}}}
    used = total(quota, POD, [pod("a"), pod("b")], NOW)
    wanted = {
        "hard": {"pods": "2", "requests.cpu": "1", "services": "3"},
        "used": {"pods": "2", "requests.cpu": "500m", "services": "0"},
    }
    assert status(quota, used) == wanted
    assert status({**quota, "status": wanted}, used) is None


def test_only_what_changes_the_count_is_looked_at() -> None:
    running, ended = pod(), {**pod(), "status": {"phase": "Failed"}}
    assert counts_differently(POD, running, ended)
    assert not counts_differently(POD, running, {**running, "status": {"podIP": "10.0.0.1"}})
    assert not counts_differently(CONFIG_MAP, {"metadata": {}}, {"metadata": {}, "data": {"a": "b"}})


def test_a_claim_is_used_by_pods_on_nodes() -> None:
    volumes = [
        {"name": "v", "persistentVolumeClaim": {"claimName": "a"}},
        {"name": "w", "ephemeral": {"volumeClaimTemplate": {}}},
    ]
    assert claims_in_use(pod(volumes=volumes)) == []
    assert claims_in_use(pod(volumes=volumes, nodeName="n")) == ["a", "p-w"]
    assert claims_in_use({**pod(volumes=volumes, nodeName="n"), "status": {"phase": "Succeeded"}}) == ["a", "p-w"]
    shut_down = pod(volumes=volumes, nodeName="n")
    shut_down["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}
    assert claims_in_use(shut_down) == ["a"]


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    """A client, with the controllers running."""
    async with running(api_server.kubeconfig, *(make() for make in CONTROLLERS)) as made:
        yield made


def placed(obj: Obj, namespace: str) -> Obj:
    return {**obj, "metadata": {**obj["metadata"], "namespace": namespace}}


async def used(client: Client, namespace: str, wanted: dict[str, str]) -> None:
    async def is_so() -> bool:
        quota = await client.get(RESOURCE_QUOTA, "q", namespace)
        return bool((quota.get("status") or {}).get("used") == wanted)

    await eventually(is_so)


async def gone(client: Client, kind: Kind, name: str, namespace: str | None = None) -> None:
    async def is_gone() -> bool:
        try:
            await client.get(kind, name, namespace)
        except APIError as error:
            return error.code == 404
        return False

    await eventually(is_gone)


async def test_the_status_follows_what_comes_and_goes(client: Client, namespace: str) -> None:
    hard = {"pods": "5", "requests.cpu": "2", "count/configmaps": "9", "services": "2"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}}
    await client.create(RESOURCE_QUOTA, placed(quota, namespace))
    nothing = {"pods": "0", "requests.cpu": "0", "count/configmaps": "0", "services": "0"}
    await used(client, namespace, nothing)
    for name in ("a", "b"):
        await client.create(POD, placed(pod(name), namespace))
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    await client.create(CONFIG_MAP, placed(config, namespace))
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    await client.create(SERVICE, placed(service, namespace))
    await used(client, namespace, {"pods": "2", "requests.cpu": "500m", "count/configmaps": "1", "services": "1"})
    await client.patch(POD, "a", namespace, {"status": {"phase": "Succeeded"}}, subresource="status")
    await used(client, namespace, {"pods": "1", "requests.cpu": "250m", "count/configmaps": "1", "services": "1"})
    await client.delete(POD, "b", namespace)
    await client.delete(CONFIG_MAP, "c", namespace)
    await client.delete(SERVICE, "s", namespace)
    await used(client, namespace, nothing)
    await client.patch(RESOURCE_QUOTA, "q", namespace, {"spec": {"hard": {"services": None}}})
    nothing.pop("services")
    await used(client, namespace, nothing)


async def test_devices_are_used_as_the_extended_resources_that_they_are(client: Client, namespace: str) -> None:
    fields: Obj = {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": namespace}}
    await client.create(DEVICE_CLASS, {**fields, "spec": {"extendedResourceName": "example.com/gpu"}})
    asks = {"name": "r", "exactly": {"deviceClassName": namespace, "count": 2}}
    claim = {"metadata": {"name": "c"}, "spec": {"devices": {"requests": [asks]}}}
    await client.create(RESOURCE_CLAIM, placed(claim, namespace))
    limits = {"example.com/gpu": "1"}
    containers = [{"name": "c", "image": "i", "resources": {"limits": limits, "requests": limits}}]
    await client.create(POD, placed({"metadata": {"name": "p"}, "spec": {"containers": containers}}, namespace))
    names = ("example.com/gpu", f"deviceclass.resource.kubernetes.io/{namespace}")
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {f"requests.{name}": "9" for name in names}}}
    await client.create(RESOURCE_QUOTA, placed(quota, namespace))
    await used(client, namespace, {f"requests.{name}": count for name, count in zip(names, "32", strict=True)})
    await client.delete(DEVICE_CLASS, namespace)


async def test_a_claim_waits_for_the_pod_that_uses_it(client: Client, namespace: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "a"}, "spec": spec}
    made = await client.create(PERSISTENT_VOLUME_CLAIM, placed(claim, namespace))
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "a"}}]
    await client.create(POD, placed(pod(volumes=volumes, nodeName="n"), namespace))
    await client.delete(PERSISTENT_VOLUME_CLAIM, "a", namespace)
    left = await client.get(PERSISTENT_VOLUME_CLAIM, "a", namespace)
    assert left["metadata"]["deletionTimestamp"]
    assert left["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    await client.delete(POD, "p", namespace, grace_period=0)
    await gone(client, PERSISTENT_VOLUME_CLAIM, "a", namespace)


async def test_a_volume_waits_while_it_is_bound_and_a_class_while_it_is_used(client: Client, namespace: str) -> None:
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pv-{namespace}"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/tmp/x"},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    }
    name = volume["metadata"]["name"]  # type: ignore[index]
    await client.create(PERSISTENT_VOLUME, volume)
    await client.patch(PERSISTENT_VOLUME, name, None, {"status": {"phase": "Bound"}}, subresource="status")
    await client.delete(PERSISTENT_VOLUME, name)
    assert (await client.get(PERSISTENT_VOLUME, name))["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
    await client.patch(PERSISTENT_VOLUME, name, None, {"status": {"phase": "Released"}}, subresource="status")
    await gone(client, PERSISTENT_VOLUME, name)
    attributes = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttributesClass",
        "metadata": {"name": f"vac-{namespace}"},
        "driverName": "x",
        "parameters": {"a": "b"},
    }
    made = await client.create(VOLUME_ATTRIBUTES_CLASS, attributes)
    assert made["metadata"]["finalizers"] == ["kubernetes.io/vac-protection"]
    await client.delete(VOLUME_ATTRIBUTES_CLASS, made["metadata"]["name"])
    await gone(client, VOLUME_ATTRIBUTES_CLASS, made["metadata"]["name"])


@pytest.mark.parametrize(("stale", "used"), [("x.example.com", "3"), ("example.com", "0")])
def test_what_a_server_that_does_not_answer_has_stays_counted(stale: str, used: str) -> None:
    world = World(FakeClock())
    world.groups = [{"metadata": {"name": stale}, "versions": [{"version": "v1", "freshness": "Stale"}]}]
    name = "count/flunders.x.example.com"

    async def run() -> None:
        living = Living(world, ResourceQuotaController, nodes=0)
        world.create(CONFIG_MAP, {"metadata": {"name": "mine"}})
        world.create(RESOURCE_QUOTA, {"metadata": {"name": "q"}, "spec": {"hard": {name: "5", "configmaps": "5"}}})
        before = {"hard": {name: "4"}, "used": {name: "3"}}
        world.change(RESOURCE_QUOTA, "q", lambda new: new.update(status=before))
        await living.start()
        await living.settle()
        await living.stop()

    asyncio.run(run())
    (quota,) = world.objects(RESOURCE_QUOTA)
    # What others have is counted all the same.
    assert quota["status"]["used"] == {name: used, "configmaps": "1"}
