"""Extended resources that are devices of a class."""

from __future__ import annotations

import pytest

from hawser.api.kinds import DEVICE_CLASS, POD, RESOURCE_CLAIM, RESOURCE_SLICE
from hawser.scheduler.backing import backed
from hawser.scheduler.devices.extended import extended_claim
from hawser.scheduler.simulation import Simulation

from .conftest import make_node, make_pod
from .device_objects import device, device_class, resource_slice
from .live import add_node, add_pod, bound, eventually, scheduled_condition
from .test_device_scheduling import cluster  # noqa: F401 - a fixture

GPU = "example.com/gpu"


def container(name, amount, **fields):
    requests = {"cpu": "1m"} | ({GPU: str(amount)} if amount else {})
    return {"name": name, "image": "app", "resources": {"requests": requests, "limits": requests}, **fields}


@pytest.mark.parametrize(
    ("initial", "main", "requests", "mappings"),
    [
        ([], [2], {"container-0-request-1": 2}, [("c0", "container-0-request-1")]),
        (
            [],
            [1, 0, 3],
            {"container-0-request-1": 1, "container-2-request-1": 3},
            [("c0", "container-0-request-1"), ("c2", "container-2-request-1")],
        ),
        # What comes later is used before; only what that lacks is asked for, once for all.
        (
            [3, 2],
            [1],
            {"container-0-request-1": 2, "container-2-request-1": 1},
            [
                ("c0", "container-2-request-1"),
                ("i0", "container-2-request-1"),
                ("i0", "container-0-request-1"),
                ("i1", "container-2-request-1"),
                ("i1", "container-0-request-1"),
            ],
        ),
        (
            [1],
            [2],
            {"container-1-request-1": 2},
            [("c0", "container-1-request-1"), ("i0", "container-1-request-1")],
        ),
    ],
)
def test_containers_get_requests_of_their_own(initial, main, requests, mappings):
    pod = make_pod("p")
    pod["spec"]["initContainers"] = [container(f"i{number}", amount) for number, amount in enumerate(initial)]
    pod["spec"]["containers"] = [container(f"c{number}", amount) for number, amount in enumerate(main)]
    made = extended_claim(pod, {GPU: "gpu"})
    asked = made.claim["spec"]["devices"]["requests"]
    assert {one["name"]: one["exactly"]["count"] for one in asked} == requests
    assert [(one["containerName"], one["requestName"]) for one in made.mappings] == mappings
    assert {one["resourceName"] for one in made.mappings} == {GPU}


def test_the_newest_class_gives_a_resource():
    def made(name, created):
        obj = device_class(name, extendedResourceName=GPU)
        obj["metadata"]["creationTimestamp"] = created
        return obj

    classes = [made("b", "2026-01-01T00:00:00Z"), made("a", "2026-01-01T00:00:00Z"), made("c", "2025-01-01T00:00:00Z")]
    found = backed(classes)
    assert found[GPU] == "a"
    assert found["deviceclass.resource.kubernetes.io/c"] == "c"


def test_a_simulation_hands_them_out():
    nodes = [make_node("n1"), make_node("n2")]
    nodes[0]["status"]["allocatable"][GPU] = "1"
    pods = [make_pod(f"p{number}") for number in range(4)]
    for pod in pods:
        pod["spec"]["containers"] = [container("c", 1)]
    classes = device_class("gpu", extendedResourceName=GPU)
    results = list(Simulation([*nodes, *pods, classes, resource_slice(device("a"), device("b"), node="n2")]).run())
    # One of a device plugin, two devices of a driver.
    assert sorted(one.node for one in results if one.node) == ["n1", "n2", "n2"]
    (refused,) = [one.message for one in results if not one.node]
    assert "1 Insufficient example.com/gpu, 1 cannot allocate all claims" in refused


async def test_a_pod_gets_devices_for_an_extended_resource(cluster):  # noqa: F811
    await add_node(cluster, "n1")
    pod = await add_pod(cluster, "asks", containers=[container("main", 1)])
    refused = await eventually(scheduled_condition(cluster, "asks"))
    assert refused["message"].startswith("0/1 nodes are available: 1 Insufficient example.com/gpu. ")
    await cluster.create(RESOURCE_SLICE, resource_slice(device("a"), node="n1"))
    await cluster.create(DEVICE_CLASS, device_class("gpu", extendedResourceName=GPU))
    assert await eventually(bound(cluster, "asks")) == "n1"
    (claim,) = (await cluster.list(RESOURCE_CLAIM, "default")).items
    metadata = claim["metadata"]
    assert metadata["name"].startswith("asks-extended-resources-")
    assert metadata["annotations"] == {"resource.kubernetes.io/extended-resource-claim": "true"}
    assert [one["uid"] for one in metadata["ownerReferences"]] == [pod["metadata"]["uid"]]
    assert [one["uid"] for one in claim["status"]["reservedFor"]] == [pod["metadata"]["uid"]]
    told = (await cluster.get(POD, "asks", "default"))["status"]["extendedResourceClaimStatus"]
    request = "container-0-request-1"
    assert told == {
        "resourceClaimName": metadata["name"],
        "requestMappings": [{"containerName": "main", "resourceName": GPU, "requestName": request}],
    }
    await add_pod(cluster, "waits", containers=[container("main", 1)])
    refused = await eventually(scheduled_condition(cluster, "waits"))
    assert refused["message"].startswith("0/1 nodes are available: 1 cannot allocate all claims. still not schedulable")
    await cluster.delete(POD, "asks", "default", grace_period=0)
    assert await eventually(bound(cluster, "waits")) == "n1"
