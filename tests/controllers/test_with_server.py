"""The controllers against Hawser's own API server: owners, cascades, namespaces, endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import (
    CONFIG_MAP,
    CUSTOM_RESOURCE_DEFINITION,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    ENDPOINTS,
    NAMESPACE,
    POD,
    REPLICA_SET,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
)
from hawser.client.client import Client
from hawser.controllers import pods
from hawser.controllers.deployment import DeploymentController
from hawser.controllers.endpointslice import EndpointSliceController
from hawser.controllers.endpointslice_mirroring import MANAGER, MirroringController
from hawser.controllers.garbagecollector import GarbageCollector
from hawser.controllers.legacy_endpoints import EndpointsController
from hawser.controllers.namespace import NamespaceController
from hawser.controllers.replicaset import ReplicaSetController
from hawser.controllers.serviceaccount import ServiceAccountController

from .objects import Obj, deployment, replica_set
from .running import eventually, running

CONTROLLERS = (
    DeploymentController,
    EndpointSliceController,
    EndpointsController,
    MirroringController,
    GarbageCollector,
    NamespaceController,
    ReplicaSetController,
    ServiceAccountController,
)


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    """A client, with all controllers running."""
    async with running(api_server.kubeconfig, *(make() for make in CONTROLLERS)) as made:
        yield made


def web(namespace: str, replicas: int = 3, image: str = "a") -> Obj:
    made = deployment(replicas, image)
    made["metadata"] = {"name": "web", "namespace": namespace}
    return made


async def names(client: Client, kind: Kind, namespace: str) -> set[str]:
    return {o["metadata"]["name"] for o in (await client.list(kind, namespace)).items}


async def make_ready(client: Client, namespace: str, *pods: str) -> None:
    """Plays the node agent: the pods run and are ready."""
    for number, name in enumerate(pods):
        status = {
            "phase": "Running",
            "podIP": f"10.9.0.{number + 1}",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }
        await client.patch(POD, name, namespace, {"status": status}, subresource="status")


async def test_a_deployment_makes_pods_through_a_replica_set(client: Client, namespace: str) -> None:
    await client.create(DEPLOYMENT, web(namespace))

    async def three() -> set[str] | None:
        found = await names(client, POD, namespace)
        return found if len(found) == 3 else None

    await make_ready(client, namespace, *await eventually(three))

    async def complete() -> bool:
        status: Obj = (await client.get(DEPLOYMENT, "web", namespace))["status"]
        return status.get("availableReplicas") == 3 and status["conditions"][1]["reason"] == "NewReplicaSetAvailable"

    await eventually(complete)
    assert len(await names(client, POD, namespace)) == 3
    (rs,) = (await client.list(REPLICA_SET, namespace)).items
    assert rs["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"


async def test_a_deleted_owner_takes_its_dependents(client: Client, namespace: str) -> None:
    await client.create(DEPLOYMENT, web(namespace))
    await eventually(lambda: _count(client, POD, namespace, 3))
    await client.delete(DEPLOYMENT, "web", namespace, propagation="Background")
    await eventually(lambda: _count(client, POD, namespace, 0))
    await eventually(lambda: _count(client, REPLICA_SET, namespace, 0))


async def test_foreground_deletion_ends_with_the_owner(client: Client, namespace: str) -> None:
    await client.create(DEPLOYMENT, web(namespace))
    await eventually(lambda: _count(client, POD, namespace, 3))
    await client.delete(DEPLOYMENT, "web", namespace, propagation="Foreground")
    await eventually(lambda: _count(client, DEPLOYMENT, namespace, 0))
    assert await names(client, POD, namespace) == set()
    assert await names(client, REPLICA_SET, namespace) == set()


async def test_orphaning_leaves_the_dependents_without_owner(client: Client, namespace: str) -> None:
    await client.create(DEPLOYMENT, web(namespace))
    await eventually(lambda: _count(client, POD, namespace, 3))
    await client.delete(DEPLOYMENT, "web", namespace, propagation="Orphan")
    await eventually(lambda: _count(client, DEPLOYMENT, namespace, 0))
    (rs,) = (await client.list(REPLICA_SET, namespace)).items
    assert not rs["metadata"].get("ownerReferences")
    assert len(await names(client, POD, namespace)) == 3


async def test_an_object_whose_owner_never_existed_is_collected(client: Client, namespace: str) -> None:
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "no-such-uid"}
    body = {"metadata": {"name": "child", "namespace": namespace, "ownerReferences": [reference]}}
    await client.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", **body})
    await eventually(lambda: _count(client, CONFIG_MAP, namespace, 0))


def config_map(namespace: str, name: str, *owners: Obj, blocking: bool = True) -> Obj:
    references = [
        {
            **{k: o[k] for k in ("apiVersion", "kind")},
            **{k: o["metadata"][k] for k in ("name", "uid")},
            "blockOwnerDeletion": blocking,
        }
        for o in owners
    ]
    metadata = {"name": name, "namespace": namespace, "ownerReferences": references}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"big": "x"}}


async def test_foreground_deletion_does_not_wait_for_what_another_owner_keeps(client: Client, namespace: str) -> None:
    going = await client.create(CONFIG_MAP, config_map(namespace, "going"))
    staying = await client.create(CONFIG_MAP, config_map(namespace, "staying"))
    await client.create(CONFIG_MAP, config_map(namespace, "child", going, staying))
    await client.delete(CONFIG_MAP, "going", namespace, propagation="Foreground")

    async def gone() -> bool:
        return await names(client, CONFIG_MAP, namespace) == {"staying", "child"}

    await eventually(gone)
    (reference,) = (await client.get(CONFIG_MAP, "child", namespace))["metadata"]["ownerReferences"]
    assert reference["name"] == "staying"


async def test_owners_in_a_circle_are_deleted_in_the_foreground(client: Client, namespace: str) -> None:
    one = await client.create(CONFIG_MAP, config_map(namespace, "one"))
    two = await client.create(CONFIG_MAP, config_map(namespace, "two", one))
    owned = config_map(namespace, "one", two)["metadata"]["ownerReferences"]
    await client.patch(CONFIG_MAP, "one", namespace, {"metadata": {"ownerReferences": owned}})
    await client.delete(CONFIG_MAP, "one", namespace, propagation="Foreground")
    await eventually(lambda: _count(client, CONFIG_MAP, namespace, 0))


async def test_dependents_of_an_owner_made_again_under_its_name_go(client: Client, namespace: str) -> None:
    owner = await client.create(CONFIG_MAP, config_map(namespace, "owner"))
    await client.create(CONFIG_MAP, config_map(namespace, "child", owner))
    await client.delete(CONFIG_MAP, "owner", namespace)
    again = await client.create(CONFIG_MAP, config_map(namespace, "owner"))
    await eventually(lambda: _count(client, CONFIG_MAP, namespace, 1))
    assert (await client.get(CONFIG_MAP, "owner", namespace))["metadata"]["uid"] == again["metadata"]["uid"]


async def test_nothing_is_adopted_for_an_owner_that_is_gone(client: Client, namespace: str) -> None:
    """The cache of whoever adopts may still have it."""
    made = await client.create(
        REPLICA_SET, {**replica_set("rs", 0), "metadata": {"name": "rs", "namespace": namespace}}
    )
    assert await pods.may_adopt(client, REPLICA_SET, made)
    assert not await pods.may_adopt(client, REPLICA_SET, {**made, "metadata": {**made["metadata"], "uid": "before"}})
    held = {"metadata": {"finalizers": ["example.test/hold"]}}
    await client.patch(REPLICA_SET, "rs", namespace, held)
    await client.delete(REPLICA_SET, "rs", namespace)
    assert not await pods.may_adopt(client, REPLICA_SET, made)
    await client.patch(REPLICA_SET, "rs", namespace, {"metadata": {"finalizers": None}})
    await eventually(lambda: _count(client, REPLICA_SET, namespace, 0))
    assert not await pods.may_adopt(client, REPLICA_SET, made)


async def test_pods_go_before_the_rest_of_their_namespace(client: Client, namespace: str) -> None:
    spec = {"nodeName": "n", "containers": [{"name": "main", "image": "a"}]}
    metadata = {"name": "p", "namespace": namespace, "finalizers": ["example.test/hold"]}
    await client.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    await client.create(CONFIG_MAP, config_map(namespace, "settings"))
    await client.delete(NAMESPACE, namespace)

    async def told() -> bool:
        conditions = (await client.get(NAMESPACE, namespace))["status"].get("conditions") or ()
        found = {c["type"]: c for c in conditions}.get("NamespaceContentRemaining", {})
        return found.get("message") == "Some resources are remaining: pods. has 1 resource instances"

    await eventually(told)
    assert await names(client, CONFIG_MAP, namespace) == {"settings"}
    await client.patch(POD, "p", namespace, {"metadata": {"finalizers": None}})
    await client.delete(POD, "p", namespace, grace_period=0)
    await eventually(lambda: _count(client, CONFIG_MAP, namespace, 0))


async def test_a_namespace_goes_with_everything_in_it(client: Client, namespace: str) -> None:
    await client.create(DEPLOYMENT, web(namespace))
    await eventually(lambda: _count(client, POD, namespace, 3))
    held = {"name": "held", "namespace": namespace, "finalizers": ["example.test/hold"]}
    await client.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": held})
    await client.delete(NAMESPACE, namespace)

    async def told() -> bool:
        conditions = (await client.get(NAMESPACE, namespace))["status"].get("conditions") or ()
        found = {c["type"]: c for c in conditions}.get("NamespaceFinalizersRemaining", {})
        return "example.test/hold in 1 resource instances" in found.get("message", "")

    await eventually(told)
    with pytest.raises(APIError) as refused:
        await client.create(
            CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": namespace}}
        )
    assert refused.value.code == 403
    await client.patch(CONFIG_MAP, "held", namespace, {"metadata": {"finalizers": None}})

    async def gone() -> bool:
        return namespace not in {n["metadata"]["name"] for n in (await client.list(NAMESPACE)).items}

    await eventually(gone)


async def test_endpoints_follow_pods(client: Client, namespace: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    await client.create(SERVICE, service)
    await client.create(DEPLOYMENT, web(namespace, 2))
    await eventually(lambda: _count(client, POD, namespace, 2))
    await make_ready(client, namespace, *sorted(await names(client, POD, namespace)))

    async def addresses() -> list[str]:
        slices = (await client.list(ENDPOINT_SLICE, namespace)).items
        return sorted(a for s in slices for e in s.get("endpoints") or () for a in e["addresses"])

    async def both() -> bool:
        return await addresses() == ["10.9.0.1", "10.9.0.2"]

    await eventually(both)
    (one,) = (await client.list(ENDPOINT_SLICE, namespace)).items
    assert one["ports"] == [{"name": "", "protocol": "TCP", "port": 8080}]
    legacy = await client.get(ENDPOINTS, "web", namespace)
    (subset,) = legacy["subsets"]
    assert [a["ip"] for a in subset["addresses"]] == await addresses()
    assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]
    await client.delete(SERVICE, "web", namespace)
    await eventually(lambda: _count(client, ENDPOINT_SLICE, namespace, 0))
    await eventually(lambda: _count(client, ENDPOINTS, namespace, 0))


async def test_endpoints_of_a_service_without_a_selector_are_mirrored(client: Client, namespace: str) -> None:
    metadata = {"name": "db", "namespace": namespace}
    ports = [{"name": "sql", "port": 5432}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}}
    lonely = {"metadata": {"name": "no-service", "namespace": namespace}}
    await client.create(ENDPOINTS, {"apiVersion": "v1", "kind": "Endpoints", **lonely})
    await client.create(SERVICE, service)
    subsets = [{"addresses": [{"ip": "192.0.2.4"}, {"ip": "fd00::4"}], "ports": ports}]
    endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}
    made = await client.create(ENDPOINTS, endpoints)

    async def mirror() -> list[tuple[str, str, bool]]:
        slices = (await client.list(ENDPOINT_SLICE, namespace)).items
        assert all(s["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == MANAGER for s in slices)
        found = ((s, e) for s in slices for e in s["endpoints"])
        return sorted((s["addressType"], e["addresses"][0], e["conditions"]["ready"]) for s, e in found)

    async def is_now(*wanted: tuple[str, str, bool]) -> bool:
        return await mirror() == sorted(wanted)

    await eventually(lambda: is_now(("IPv4", "192.0.2.4", True), ("IPv6", "fd00::4", True)))
    subsets = [{"addresses": [{"ip": "192.0.2.5"}], "notReadyAddresses": [{"ip": "192.0.2.4"}], "ports": ports}]
    await client.update(ENDPOINTS, {**made, "subsets": subsets})
    await eventually(lambda: is_now(("IPv4", "192.0.2.5", True), ("IPv4", "192.0.2.4", False)))
    await client.delete(ENDPOINTS, "db", namespace)
    await eventually(lambda: _count(client, ENDPOINT_SLICE, namespace, 0))
    assert await names(client, ENDPOINTS, namespace) == {"no-service"}, "it is nobody's business here"


def widgets(group: str) -> tuple[Obj, Kind]:
    """A definition and the row of its objects."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    crd = {
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    return crd, Kind(group, "v1", "Widget", "widgets", True)


def widget(kind: Kind, namespace: str, name: str, *owners: Obj) -> Obj:
    made = config_map(namespace, name, *owners)
    return {**made, "apiVersion": kind.api_version, "kind": kind.kind}


async def test_custom_resources_own_and_are_owned(client: Client, namespace: str) -> None:
    crd, kind = widgets("owners.example.com")
    await client.create(CUSTOM_RESOURCE_DEFINITION, crd)
    owner = await client.create(kind, widget(kind, namespace, "owner"))
    keeper = await client.create(kind, widget(kind, namespace, "keeper"))
    await client.create(CONFIG_MAP, config_map(namespace, "owned", owner))
    middle = await client.create(kind, widget(kind, namespace, "middle", owner))
    await client.create(CONFIG_MAP, config_map(namespace, "leaf", middle))
    await client.create(kind, widget(kind, namespace, "orphan", keeper))
    await client.delete(kind, "owner", namespace, propagation="Background")
    await eventually(lambda: _absent(client, CONFIG_MAP, namespace, "owned", "leaf"))
    assert await names(client, kind, namespace) == {"keeper", "orphan"}
    await client.delete(kind, "keeper", namespace, propagation="Orphan")
    await eventually(lambda: _absent(client, kind, namespace, "keeper"))
    orphan = await client.get(kind, "orphan", namespace)
    assert not orphan["metadata"].get("ownerReferences")
    await client.create(CONFIG_MAP, config_map(namespace, "last", orphan))
    await client.delete(CUSTOM_RESOURCE_DEFINITION, crd["metadata"]["name"])
    await eventually(lambda: _absent(client, CONFIG_MAP, namespace, "last"))


async def test_a_namespace_takes_its_custom_resources(client: Client, namespace: str) -> None:
    crd, kind = widgets("spaces.example.com")
    await client.create(CUSTOM_RESOURCE_DEFINITION, crd)
    await client.create(kind, widget(kind, namespace, "a"))
    await client.delete(NAMESPACE, namespace)
    await eventually(lambda: _absent(client, NAMESPACE, None, namespace))
    assert (await client.list(kind)).items == []
    await client.delete(CUSTOM_RESOURCE_DEFINITION, crd["metadata"]["name"])


async def _absent(client: Client, kind: Kind, namespace: str | None, *gone: str) -> bool:
    return not {o["metadata"]["name"] for o in (await client.list(kind, namespace)).items} & set(gone)


async def test_every_namespace_has_a_default_service_account(client: Client, namespace: str) -> None:
    async def there() -> bool:
        return "default" in await names(client, SERVICE_ACCOUNT, namespace)

    await eventually(there)
    await client.delete(SERVICE_ACCOUNT, "default", namespace)
    await eventually(there)


async def _count(client: Client, kind: Kind, namespace: str, wanted: int) -> bool:
    return len(await names(client, kind, namespace)) == wanted
