"""Pods that claim devices: scheduler and claim controller against a real API server, drivers' objects by the test."""

from __future__ import annotations

import asyncio

import pytest

from hawser.api.kinds import DEVICE_CLASS, POD, PRIORITY_CLASS, RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE, RESOURCE_SLICE
from hawser.client.controller import Manager
from hawser.controllers.resource_claims import ResourceClaimController

from .device_objects import DRIVER, claim, device, device_class, request, resource_slice
from .live import add_node, add_pod, bound, event, eventually, scheduled_condition

PROTECTION = "resource.kubernetes.io/delete-protection"


@pytest.fixture
async def cluster(admin, scheduler):
    """A client, with scheduler and claim controller at work; devices, classes and claims go afterwards."""
    manager = Manager(admin)
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


@pytest.fixture
async def slow(cluster):
    """A client of a cluster whose only device takes time to be bound."""
    await add_node(cluster, "n1")
    await cluster.create(DEVICE_CLASS, device_class())
    one = device("a", bindingConditions=["attached"], bindingFailureConditions=["failed"])
    await cluster.create(RESOURCE_SLICE, resource_slice(one, pool="slow"))
    return cluster


async def report(client, name, condition, **fields):
    """What the driver says of the claim's device."""
    made = await client.get(RESOURCE_CLAIM, name, "default")
    since = made["status"]["allocation"]["allocationTimestamp"]
    condition = {"type": condition, "status": "True", "reason": "Done", "message": "", **fields}
    condition["lastTransitionTime"] = since
    made["status"]["devices"] = [{"driver": DRIVER, "pool": "slow", "device": "a", "conditions": [condition]}]
    await client.update(RESOURCE_CLAIM, made, "status")


def counted(scheduler, name):
    """What a counter, or a histogram, says."""
    return [line for line in scheduler.exposed() if line.startswith(name)]


async def expected_on(client, name):
    return (await client.get(POD, name, "default"))["status"].get("nominatedNodeName")


async def test_a_device_is_bound_when_its_conditions_are_met(slow, scheduler):
    await add_claim(slow, "wanted")
    await add_wanting(slow, "patient", claim_name="wanted")
    told = await eventually(event(slow, "patient", "BindingConditionsPending"))
    assert told["message"] == "waiting for binding conditions for device on node n1"
    assert not await bound(slow, "patient")()
    assert await expected_on(slow, "patient") == "n1"
    await report(slow, "wanted", "attached")
    assert await eventually(bound(slow, "patient")) == "n1"
    assert await expected_on(slow, "patient") is None
    labels = f'profile="default-scheduler",driver="{DRIVER}",status="success"'
    assert counted(scheduler, "scheduler_dra_bindingconditions_allocations_total") == [
        f"scheduler_dra_bindingconditions_allocations_total{{{labels}}} 1"
    ]
    waits = "scheduler_dra_bindingconditions_wait_duration_seconds_count"
    assert counted(scheduler, waits) == [f"{waits}{{{labels}}} 1"]


async def test_a_device_that_fails_to_be_attached_is_given_up(slow):
    await add_claim(slow, "unlucky")
    await add_wanting(slow, "waiter", claim_name="unlucky")
    await eventually(event(slow, "waiter", "BindingConditionsPending"))
    await report(slow, "unlucky", "failed", reason="NoSlot", message="m")

    async def failed():
        status = (await slow.get(POD, "waiter", "default"))["status"]
        conditions = [c for c in status.get("conditions") or () if c["status"] == "False"]
        return conditions and (conditions[0], status.get("nominatedNodeName"))

    # Read together: the next attempt comes a second later.
    refused, expected = await eventually(failed)
    why = 'claim unlucky binding failed: reason=NoSlot, message="m"'
    message = f'running PreBind plugin "DynamicResources": {why}'
    assert (refused["reason"], refused["message"], refused["observedGeneration"]) == ("SchedulerError", message, 1)
    assert expected is None
    assert (await eventually(event(slow, "waiter", "FailedScheduling")))["message"] == message
    await slow.create(RESOURCE_SLICE, resource_slice(device("b"), pool="good"))
    assert await eventually(bound(slow, "waiter")) == "n1"
    (result,) = (await status_of(slow, "unlucky"))["allocation"]["devices"]["results"]
    assert result["device"] == "b"


async def test_what_was_kept_for_a_pod_is_given_back_when_it_goes(slow):
    for name in ("mine", "other"):
        await add_claim(slow, name)
    await add_wanting(slow, "leaver", claim_name="mine")
    await eventually(event(slow, "leaver", "BindingConditionsPending"))
    await add_wanting(slow, "next", claim_name="other")
    await eventually(scheduled_condition(slow, "next"))
    await slow.delete(POD, "leaver", "default", grace_period=0)
    await eventually(event(slow, "next", "BindingConditionsPending"))
    assert await status_of(slow, "mine") == {}
    (result,) = (await status_of(slow, "other"))["allocation"]["devices"]["results"]
    assert result["device"] == "a"


async def test_who_is_preempted_while_it_waits_for_devices_goes_back_to_the_queue(slow):
    await slow.create(PRIORITY_CLASS, {"metadata": {"name": "high"}, "value": 1000})
    try:
        await add_claim(slow, "mine")
        await add_wanting(slow, "victim", claim_name="mine", cpu="3")
        await eventually(event(slow, "victim", "BindingConditionsPending"))
        urgent = await add_pod(slow, "urgent", cpu="3", priorityClassName="high")
        said = await eventually(event(slow, "victim", "Preempted"))
        told = f"Preempted by pod {urgent['metadata']['uid']} on node n1 (in kube-scheduler memory)."
        assert said["message"] == told
        assert await eventually(bound(slow, "urgent")) == "n1"
        failed = 'running PreBind plugin "DynamicResources": context canceled'
        assert (await eventually(event(slow, "victim", "FailedScheduling")))["message"] == failed
        victim = await slow.get(POD, "victim", "default")
        assert "deletionTimestamp" not in victim["metadata"]
        assert not [c for c in victim["status"].get("conditions") or () if c["type"] == "DisruptionTarget"]

        async def refused():
            found = await scheduled_condition(slow, "victim")()
            return found and found["reason"] == "Unschedulable"

        await eventually(refused)
        assert not (await status_of(slow, "mine")).get("reservedFor")
        # What it was given stays its own, and there is no hurry about the rest.
        await report(slow, "mine", "attached")
        await slow.delete(POD, "urgent", "default", grace_period=0)
        assert await eventually(bound(slow, "victim")) == "n1"
    finally:
        await slow.delete(PRIORITY_CLASS, "high")


async def test_the_place_of_a_pod_that_goes_while_it_waits_for_devices_is_free_at_once(slow):
    await add_claim(slow, "mine")
    await add_wanting(slow, "leaver", claim_name="mine", cpu="3")
    await eventually(event(slow, "leaver", "BindingConditionsPending"))
    await add_pod(slow, "next", cpu="3")
    await eventually(scheduled_condition(slow, "next"))
    # Somebody keeps it, so that it does not go yet.
    body = {"metadata": {"finalizers": ["example.com/kept"]}}
    await slow.patch(POD, "leaver", "default", body)
    await slow.delete(POD, "leaver", "default", grace_period=0)
    assert await eventually(bound(slow, "next")) == "n1"
    await slow.patch(POD, "leaver", "default", {"metadata": {"finalizers": None}})
