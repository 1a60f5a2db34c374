"""What Kubernetes' conformance suite asserts of the life of workloads, limits and priorities, as its clients ask.

Source: test/e2e/apps: "should list and delete a collection of DaemonSets / ReplicaSets / ReplicationControllers",
"should get and update a ReplicationController scale", "Replicaset should have a working scale subresource", "should
have a working scale subresource" (StatefulSet), "Deployment should have a working scale subresource", "should delete
a collection of jobs"; test/e2e/scheduling: "should list, patch and delete a LimitRange by collection", "verify
PriorityClass endpoints can be operated with different HTTP methods".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import (
    CONTROLLER_REVISION,
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    JOB,
    LIMIT_RANGE,
    NAMESPACE,
    POD,
    PRIORITY_CLASS,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    STATEFUL_SET,
    Kind,
)
from hawser.client.client import JSON, MERGE, STRATEGIC, Client
from hawser.controllers import registry

from .objects import Obj
from .running import eventually, running

CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "replicationcontroller-controller",
    "statefulset-controller",
    "daemonset-controller",
    "job-controller",
    "garbage-collector-controller",
)
COLLECTED = "e2e-test"
SCALED = [DEPLOYMENT, REPLICA_SET, REPLICATION_CONTROLLER, STATEFUL_SET]
DELETED = [*SCALED, DAEMON_SET, JOB, CRON_JOB]


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    async with running(api_server.kubeconfig, *map(registry.make, CONTROLLERS)) as made:
        yield made


def workload(kind: Kind, name: str, namespace: str, replicas: int = 1) -> Obj:
    labels = {"app": f"{kind.plural}-{name}"}
    template: Obj = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "a"}]}}
    spec: Obj = {"selector": {"matchLabels": labels}, "template": template}
    if kind in SCALED:
        spec["replicas"] = replicas
    if kind is REPLICATION_CONTROLLER:
        spec["selector"] = labels
    if kind is STATEFUL_SET:
        spec |= {"serviceName": "s", "podManagementPolicy": "Parallel"}
    if kind in (JOB, CRON_JOB):
        spec = {"template": {**template, "spec": {**template["spec"], "restartPolicy": "Never"}}}
    if kind is CRON_JOB:
        spec = {"schedule": "*/1 * * * *", "suspend": True, "jobTemplate": {"spec": spec}}
    metadata = {"name": name, "namespace": namespace, "labels": {COLLECTED: kind.plural, **labels}}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}


async def refused(call: Any) -> int:
    """The code with which a request fails."""
    with pytest.raises(APIError) as raised:
        await call
    return raised.value.code


async def test_workloads_go_as_a_collection_and_their_pods_with_them(client: Client, namespace: str) -> None:
    await asyncio.gather(*(_collected(client, namespace, kind) for kind in DELETED))


async def _collected(client: Client, namespace: str, kind: Kind) -> None:
    for name in ("a", "b", "c"):
        made = workload(kind, name, namespace)
        if name == "c":
            made["metadata"]["labels"][COLLECTED] = "another"
        await client.create(kind, made)
    selector = f"{COLLECTED}={kind.plural}"
    listed = await client.list(kind, None, selector)
    assert sorted(one["metadata"]["name"] for one in listed.items) == ["a", "b"]
    pods = f"app in ({','.join(f'{kind.plural}-{name}' for name in 'abc')})"
    runs = kind not in (CRON_JOB, DAEMON_SET)  # one is suspended, for the other there is no node
    await eventually(lambda: _count(client, POD, namespace, 3 * runs, pods))
    await client.delete_collection(kind, namespace, selector, propagation="Background")
    await eventually(lambda: _count(client, kind, namespace, 0, selector))
    assert [one["metadata"]["name"] for one in (await client.list(kind, namespace, pods)).items] == ["c"]
    await eventually(lambda: _count(client, POD, namespace, runs, pods))
    if kind in (STATEFUL_SET, DAEMON_SET):
        await eventually(lambda: _count(client, CONTROLLER_REVISION, namespace, 1, pods))


async def _count(client: Client, kind: Kind, namespace: str, wanted: int, selector: str = "") -> bool:
    return len((await client.list(kind, namespace, selector)).items) == wanted


async def test_scales_are_read_updated_and_patched(client: Client, namespace: str) -> None:
    await asyncio.gather(*(_scaled(client, namespace, kind) for kind in SCALED))


async def _scaled(client: Client, namespace: str, kind: Kind) -> None:
    await client.create(kind, workload(kind, "web", namespace))
    await eventually(lambda: _has(client, kind, namespace, 1))
    scale = await client.get_subresource(kind, "web", namespace, "scale")
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 1)
    assert scale["status"]["selector"] == f"app={kind.plural}-web"
    # The suite clears the version and updates without a condition.
    scale["metadata"]["resourceVersion"] = ""
    scale["spec"]["replicas"] = 2
    assert (await client.update(kind, scale, "scale"))["spec"]["replicas"] == 2
    assert (await client.get(kind, "web", namespace))["spec"]["replicas"] == 2
    await eventually(lambda: _has(client, kind, namespace, 2))
    patched = await client.patch(kind, "web", namespace, {"spec": {"replicas": 4}}, STRATEGIC, "scale")
    assert patched["spec"]["replicas"] == 4
    assert (await client.get(kind, "web", namespace))["spec"]["replicas"] == 4
    await eventually(lambda: _has(client, kind, namespace, 4))


async def _has(client: Client, kind: Kind, namespace: str, replicas: int) -> bool:
    return ((await client.get(kind, "web", namespace)).get("status") or {}).get("replicas", 0) == replicas


def limits(name: str, namespace: str) -> Obj:
    sizes = ("cpu", "memory", "ephemeral-storage")

    def amounts(*values: str) -> Obj:
        return dict(zip(sizes, values, strict=True))

    limit = {
        "type": "Container",
        "min": amounts("50m", "100Mi", "100Gi"),
        "max": amounts("500m", "500Mi", "500Gi"),
        "default": amounts("500m", "500Mi", "500Gi"),
        "defaultRequest": amounts("100m", "200Mi", "200Gi"),
    }
    metadata = {"name": name, "namespace": namespace, "labels": {COLLECTED: name, name: "created"}}
    return {"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": [limit]}}


async def test_limit_ranges_are_listed_patched_and_deleted_by_collection(client: Client, namespace: str) -> None:
    other = f"{namespace}-2"
    await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})
    name = "e2e-limitrange-x"
    made = await client.create(LIMIT_RANGE, limits(name, namespace))
    await client.create(LIMIT_RANGE, limits(name, other))
    assert len((await client.list(LIMIT_RANGE, None, f"{COLLECTED}={name}")).items) == 2
    made["spec"]["limits"][0]["min"] = {"cpu": "9m", "memory": "49Mi", "ephemeral-storage": "49Gi"}
    patch = {"metadata": {"labels": {name: "patched"}}, "spec": {"limits": made["spec"]["limits"]}}
    patched = await client.patch(LIMIT_RANGE, name, namespace, patch, STRATEGIC)
    assert patched["metadata"]["labels"] == {COLLECTED: name, name: "patched"}
    assert patched["spec"]["limits"][0]["min"] == made["spec"]["limits"][0]["min"]
    await client.delete_collection(LIMIT_RANGE, namespace, f"{name}=patched")
    await eventually(lambda: _count(client, LIMIT_RANGE, namespace, 0))
    left = (await client.list(LIMIT_RANGE, None, f"{COLLECTED}={name}")).items
    assert [one["metadata"]["namespace"] for one in left] == [other]
    await client.delete(NAMESPACE, other)


def with_resources(name: str, namespace: str, requests: Obj, limit: Obj) -> Obj:
    container = {"name": "pause", "image": "a", "resources": {"requests": requests, "limits": limit}}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


async def test_a_limit_range_gives_defaults_and_keeps_bounds(client: Client, namespace: str) -> None:
    made = await client.create(LIMIT_RANGE, limits("limit-range", namespace))
    defaults = made["spec"]["limits"][0]

    async def create(name: str, requests: Obj, limit: Obj) -> Obj:
        pod = await client.create(POD, with_resources(name, namespace, requests, limit))
        found: Obj = pod["spec"]["containers"][0]["resources"]
        return found

    got = await create("pod-no-resources", {}, {})
    assert got == {"requests": defaults["defaultRequest"], "limits": defaults["default"]}
    got = await create("pod-partial", {"memory": "150Mi", "ephemeral-storage": "150Gi"}, {"cpu": "300m"})
    assert got["requests"] == {"cpu": "300m", "memory": "150Mi", "ephemeral-storage": "150Gi"}
    assert got["limits"] == {"cpu": "300m", "memory": "500Mi", "ephemeral-storage": "500Gi"}
    little = {"cpu": "10m", "memory": "50Mi", "ephemeral-storage": "50Gi"}
    much = {"cpu": "600m", "memory": "600Mi", "ephemeral-storage": "600Gi"}
    assert await refused(create("pfpod", little, {})) == 403
    assert await refused(create("pfpod", much, {})) in (403, 422)
    made["spec"]["limits"][0]["min"] = {"cpu": "9m", "memory": "49Mi", "ephemeral-storage": "49Gi"}
    made = await client.update(LIMIT_RANGE, made)
    await create("pfpod", little, {})
    assert await refused(create("pfpod", much, {})) in (403, 422)
    await client.delete(LIMIT_RANGE, "limit-range", namespace, grace_period=30)
    await create("pfpod2", much, {})


async def test_priority_classes_can_be_operated_with_every_method(client: Client) -> None:
    names = [f"p{number}-e2e-priority" for number in (1, 2)]
    for value, name in enumerate(names, 1):
        made = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}}
        await client.create(PRIORITY_CLASS, {**made, "value": value})
    # What may not change, may not change in any way.
    for patch, form in (({"value": 10}, MERGE), ([{"op": "replace", "path": "/value", "value": 10}], JSON)):
        assert await refused(client.patch(PRIORITY_CLASS, names[0], None, patch, form)) == 422
    found = await client.get(PRIORITY_CLASS, names[0])
    assert await refused(client.update(PRIORITY_CLASS, {**found, "value": 10})) == 422
    updated = await client.update(PRIORITY_CLASS, {**found, "description": "updated"})
    assert updated["description"] == "updated"
    patch = [{"op": "replace", "path": "/description", "value": "patched"}]
    assert (await client.patch(PRIORITY_CLASS, names[0], None, patch, JSON))["description"] == "patched"
    listed = (await client.list(PRIORITY_CLASS)).items
    values = {one["metadata"]["name"]: one["value"] for one in listed if one["metadata"]["name"] in names}
    assert values == {names[0]: 1, names[1]: 2}
    for name in names:
        await client.patch(PRIORITY_CLASS, name, None, {"metadata": {"labels": {COLLECTED: "mine"}}})
    await client.delete_collection(PRIORITY_CLASS, None, f"{COLLECTED}=mine")
    for name in names:
        assert await refused(client.get(PRIORITY_CLASS, name)) == 404
