"""Pods that claim devices: scheduler and claim controller against a real API server, drivers' objects by the test."""

from __future__ import annotations

import asyncio

import pytest

from hawser.api.kinds import DEVICE_CLASS, POD, RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE, RESOURCE_SLICE
from hawser.client.controller import Manager
from hawser.controllers.resource_claims import ResourceClaimController
from hawser.scheduler.scheduler import Scheduler

from .device_objects import DRIVER, claim, device, device_class, request, resource_slice
from .live import add_node, add_pod, bound, event, eventually, scheduled_condition

PROTECTION = "resource.kubernetes.io/delete-protection"


@pytest.fixture
async def cluster(admin):
    """A client, with scheduler and claim controller at work; devices, classes and claims go afterwards."""
    manager = Manager(admin)
    manager.add(Scheduler())
    manager.add(ResourceClaimController())
    task = asyncio.create_task(manager.run())
    yield admin
    await admin.delete_collection(POD, "default", grace_period=0)
    for kind, namespace in (
        (RESOURCE_CLAIM, "default"),
        (RESOURCE_CLAIM_TEMPLATE, "default"),
        (RESOURCE_SLICE, None),
        (DEVICE_CLASS, None),
    ):
        await admin.delete_collection(kind, namespace)

    async def gone():
        return not (await admin.list(RESOURCE_CLAIM, "default")).items

    await eventually(gone)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def add_claim(client, name, *requests, **fields):
    made = claim(name, *requests, **fields)
    del made["metadata"]["uid"]
    return await client.create(RESOURCE_CLAIM, made)


async def add_wanting(client, name, claim_name="", template="", **spec):
    entry = {"name": "gpu"}
    entry |= {"resourceClaimName": claim_name} if claim_name else {"resourceClaimTemplateName": template}
    return await add_pod(client, name, resourceClaims=[entry], **spec)


async def status_of(client, name):
    return (await client.get(RESOURCE_CLAIM, name, "default")).get("status") or {}


async def test_a_claim_of_a_template_is_allocated_reserved_and_released(cluster):
    await add_node(cluster, "n1")
    await add_node(cluster, "n2")
    await cluster.create(DEVICE_CLASS, device_class("gpu", f'device.driver == "{DRIVER}"'))
    await cluster.create(RESOURCE_SLICE, resource_slice(device("a"), node="n2"))
    spec = {"spec": {"devices": {"requests": [request()]}}}
    template = {"metadata": {"name": "one", "namespace": "default"}, "spec": spec}
    await cluster.create(RESOURCE_CLAIM_TEMPLATE, template)
    pod = await add_wanting(cluster, "worker", template="one")
    assert await eventually(bound(cluster, "worker")) == "n2"
    (made,) = (await cluster.list(RESOURCE_CLAIM, "default")).items
    assert made["metadata"]["finalizers"] == [PROTECTION]
    status = made["status"]
    assert status["reservedFor"] == [{"resource": "pods", "name": "worker", "uid": pod["metadata"]["uid"]}]
    only = {"key": "metadata.name", "operator": "In", "values": ["n2"]}
    assert status["allocation"]["nodeSelector"] == {"nodeSelectorTerms": [{"matchFields": [only]}]}
    assert status["allocation"]["devices"]["results"] == [
        {"request": "gpu", "driver": DRIVER, "pool": "n2", "device": "a"}
    ]
    assert status["allocation"]["allocationTimestamp"]
    # Another has to wait for the device, says so, and gets it when the first one goes.
    await add_wanting(cluster, "second", template="one")
    refused = await eventually(scheduled_condition(cluster, "second"))
    assert refused["message"] == (
        "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, "
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )
    await cluster.delete(POD, "worker", "default", grace_period=0)
    assert await eventually(bound(cluster, "second")) == "n2"


async def test_pods_wait_for_claims_classes_and_devices_one_after_another(cluster):
    await add_node(cluster, "n1")
    await add_wanting(cluster, "early", claim_name="mine")
    refused = await eventually(scheduled_condition(cluster, "early"))
    assert 'resourceclaim.resource.k8s.io "mine" not found' in refused["message"]
    await add_claim(cluster, "mine")

    def says(text):
        async def check():
            found = await scheduled_condition(cluster, "early")()
            return found and text in found["message"]

        return check

    await eventually(says("request gpu: device class gpu does not exist"))
    await cluster.create(DEVICE_CLASS, device_class())
    await eventually(says("1 cannot allocate all claims"))
    await cluster.create(RESOURCE_SLICE, resource_slice(device("a"), node="n1"))
    assert await eventually(bound(cluster, "early")) == "n1"


async def test_a_shared_claim_keeps_its_pods_together(cluster):
    for name in ("n1", "n2", "n3"):
        await add_node(cluster, name)
    await cluster.create(DEVICE_CLASS, device_class())
    await cluster.create(RESOURCE_SLICE, resource_slice(device("a"), node="n3"))
    await add_claim(cluster, "shared")
    names = [f"user-{number}" for number in range(5)]
    await asyncio.gather(*(add_wanting(cluster, name, claim_name="shared") for name in names))
    assert {await eventually(bound(cluster, name)) for name in names} == {"n3"}
    assert {one["name"] for one in (await status_of(cluster, "shared"))["reservedFor"]} == set(names)


async def test_an_unused_claim_that_is_elsewhere_is_allocated_anew(cluster):
    await add_node(cluster, "full", cpu="1")
    await cluster.create(DEVICE_CLASS, device_class())
    await cluster.create(RESOURCE_SLICE, resource_slice(device("a"), node="full"))
    await add_claim(cluster, "moving")
    await add_wanting(cluster, "first", claim_name="moving")
    assert await eventually(bound(cluster, "first")) == "full"
    await cluster.delete(POD, "first", "default", grace_period=0)
    await add_pod(cluster, "filler", cpu="1")
    await eventually(bound(cluster, "filler"))
    # Keeps its allocation: nobody has asked for the device elsewhere.
    await add_node(cluster, "free")
    await cluster.create(RESOURCE_SLICE, resource_slice(device("b"), node="free"))
    await add_wanting(cluster, "next", claim_name="moving", cpu="1")
    assert await eventually(bound(cluster, "next")) == "free"
    (result,) = (await status_of(cluster, "moving"))["allocation"]["devices"]["results"]
    assert result["pool"] == "free"


async def test_a_device_is_bound_when_its_conditions_are_met(cluster):
    await add_node(cluster, "n1")
    await cluster.create(DEVICE_CLASS, device_class())
    slow = device("a", bindingConditions=["attached"], bindingFailureConditions=["failed"])
    await cluster.create(RESOURCE_SLICE, resource_slice(slow, node="n1"))
    await add_claim(cluster, "slow")
    await add_wanting(cluster, "patient", claim_name="slow")
    told = await eventually(event(cluster, "patient", "BindingConditionsPending"))
    assert told["message"] == "waiting for binding conditions for device on node n1"
    assert not await bound(cluster, "patient")()
    made = await cluster.get(RESOURCE_CLAIM, "slow", "default")
    since = made["status"]["allocation"]["allocationTimestamp"]
    attached = {"type": "attached", "status": "True", "reason": "Done", "message": "", "lastTransitionTime": since}
    made["status"]["devices"] = [{"driver": DRIVER, "pool": "n1", "device": "a", "conditions": [attached]}]
    await cluster.update(RESOURCE_CLAIM, made, "status")
    assert await eventually(bound(cluster, "patient")) == "n1"


async def test_a_device_that_fails_to_be_attached_is_given_up(cluster):
    await add_node(cluster, "n1")
    await cluster.create(DEVICE_CLASS, device_class())
    broken = device("a", bindingConditions=["attached"], bindingFailureConditions=["failed"])
    await cluster.create(RESOURCE_SLICE, resource_slice(broken, pool="slow", name="slow"))
    await add_claim(cluster, "unlucky")
    await add_wanting(cluster, "waiter", claim_name="unlucky")
    await eventually(event(cluster, "waiter", "BindingConditionsPending"))
    await cluster.create(RESOURCE_SLICE, resource_slice(device("b"), pool="good"))
    made = await cluster.get(RESOURCE_CLAIM, "unlucky", "default")
    since = made["status"]["allocation"]["allocationTimestamp"]
    failed = {"type": "failed", "status": "True", "reason": "NoSlot", "message": "m", "lastTransitionTime": since}
    made["status"]["devices"] = [{"driver": DRIVER, "pool": "slow", "device": "a", "conditions": [failed]}]
    await cluster.update(RESOURCE_CLAIM, made, "status")
    assert await eventually(bound(cluster, "waiter")) == "n1"
    (result,) = (await status_of(cluster, "unlucky"))["allocation"]["devices"]["results"]
    assert result["device"] == "b"


async def test_what_was_kept_for_a_pod_is_given_back_when_it_goes(cluster):
    await add_node(cluster, "n1")
    await cluster.create(DEVICE_CLASS, device_class())
    slow = device("a", bindingConditions=["attached"], bindingFailureConditions=["failed"])
    await cluster.create(RESOURCE_SLICE, resource_slice(slow, node="n1"))
    for name in ("mine", "other"):
        await add_claim(cluster, name)
    await add_wanting(cluster, "leaver", claim_name="mine")
    await eventually(event(cluster, "leaver", "BindingConditionsPending"))
    await add_wanting(cluster, "next", claim_name="other")
    await eventually(scheduled_condition(cluster, "next"))
    await cluster.delete(POD, "leaver", "default", grace_period=0)
    await eventually(event(cluster, "next", "BindingConditionsPending"))
    assert await status_of(cluster, "mine") == {}
    (result,) = (await status_of(cluster, "other"))["allocation"]["devices"]["results"]
    assert result["device"] == "a"
