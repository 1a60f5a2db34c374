"""Groups of pods against the real API server: bound as a whole, making others leave, their status."""

from __future__ import annotations

import asyncio

import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import (
    CUSTOM_RESOURCE_DEFINITION,
    DEVICE_CLASS,
    NODE,
    POD,
    PRIORITY_CLASS,
    RESOURCE_CLAIM,
    RESOURCE_CLAIM_TEMPLATE,
    RESOURCE_SLICE,
)
from hawser.client.controller import Manager
from hawser.controllers.resource_claims import ResourceClaimController
from hawser.scheduler.gangs import POD_GROUP
from hawser.scheduler.scheduler import Scheduler

from .device_objects import device, device_class, request, resource_slice
from .live import add_node, add_pod, bound, event, eventually, scheduled_condition


def group_kind():
    """The CustomResourceDefinition of PodGroups, as far as a test needs it."""
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        "subresources": {"status": {}},
    }
    metadata = {
        "name": "podgroups.scheduling.x-k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved"},
    }
    names = {"kind": "PodGroup", "plural": "podgroups", "singular": "podgroup"}
    spec = {"group": "scheduling.x-k8s.io", "names": names, "scope": "Namespaced", "versions": [version]}
    return {"metadata": metadata, "spec": spec}


@pytest.fixture
async def groups(admin):
    """Makes PodGroups of two pods."""
    definition = group_kind()
    await admin.create(CUSTOM_RESOURCE_DEFINITION, definition)

    async def make(name, **spec):
        group = {"apiVersion": "scheduling.x-k8s.io/v1alpha1", "kind": "PodGroup"}
        group |= {"metadata": {"name": name, "namespace": "default"}, "spec": {"minMember": 2, **spec}}

        async def served():
            try:
                return await admin.create(POD_GROUP, group)
            except APIError:
                return None

        return await eventually(served)

    yield make
    await admin.delete(CUSTOM_RESOURCE_DEFINITION, definition["metadata"]["name"])


def member(group, **spec):
    return {"labels": {"scheduling.x-k8s.io/pod-group": group}, "cpu": "800m", **spec}


def says(client, name, text):
    async def check():
        condition = await scheduled_condition(client, name)()
        return condition is not None and text in condition["message"]

    return check


async def test_a_group_of_pods_is_bound_when_all_of_it_fits(admin, scheduler, groups):
    await add_node(admin, "n1", cpu="1")
    await add_pod(admin, "m1", **member("team"))
    await eventually(says(admin, "m1", "PodGroup not found"))
    await groups("team")
    enough = "cannot find enough sibling pods, current pods number: 1, minMember of group: 2"
    await eventually(says(admin, "m1", enough))
    await add_pod(admin, "m2", **member("team"))
    await eventually(scheduled_condition(admin, "m2"))
    assert not await bound(admin, "m1")()
    await add_node(admin, "n2", cpu="1")
    nodes = {await eventually(bound(admin, name)) for name in ("m1", "m2")}
    assert nodes == {"n1", "n2"}
    for name in ("m1", "m2"):
        await admin.patch(POD, name, "default", {"status": {"phase": "Running"}}, subresource="status")

    async def told():
        return (await admin.get(POD_GROUP, "team", "default")).get("status") == {"phase": "Running", "running": 2}

    await eventually(told)


def promised(client, name):
    async def check():
        return (await client.get(POD, name, "default")).get("status", {}).get("nominatedNodeName", "")

    return check


async def leaving(client):
    return {p["metadata"]["name"] for p in (await client.list(POD)).items if p["metadata"].get("deletionTimestamp")}


async def test_others_make_place_for_a_group_and_get_it_back_when_it_takes_too_long(admin, scheduler, groups):
    await groups("urgent", scheduleTimeoutSeconds=1)
    await add_node(admin, "n1", cpu="2")
    await admin.create(PRIORITY_CLASS, {"metadata": {"name": "urgent"}, "value": 1000})
    for name in ("low-1", "low-2"):
        await add_pod(admin, name, cpu="800m")
        await eventually(bound(admin, name))
    for name in ("u1", "u2"):
        await add_pod(admin, name, **member("urgent", priorityClassName="urgent"))
    for name in ("u1", "u2"):
        # Both, or nobody would have left; those who leave take longer than the group may wait.
        assert await eventually(event(admin, name, "FailedScheduling"))
        await eventually(says(admin, name, "rejected due to timeout after waiting 1s at plugin Coscheduling"))
        assert await promised(admin, name)() == ""
    assert await leaving(admin) == {"low-1", "low-2"}
    for name in ("low-1", "low-2"):
        await admin.delete(POD, name, "default", grace_period=0)
    assert [await eventually(bound(admin, name)) for name in ("u1", "u2")] == ["n1", "n1"]


async def test_a_pod_that_changes_its_group_makes_the_other_whole(admin, scheduler, groups):
    await groups("first")
    await groups("second")
    await add_node(admin, "n1", cpu="2")
    await add_pod(admin, "m1", **member("first"))
    await add_pod(admin, "m2", **member("second"))
    for name in ("m1", "m2"):
        await eventually(says(admin, name, "current pods number: 1, minMember of group: 2"))
    await admin.patch(POD, "m2", "default", {"metadata": {"labels": {"scheduling.x-k8s.io/pod-group": "first"}}})
    assert [await eventually(bound(admin, name)) for name in ("m1", "m2")] == ["n1", "n1"]


async def test_others_have_the_room_of_a_group_that_can_not_be_whole_any_more(admin, scheduler, groups):
    await groups("late")
    await add_node(admin, "n1", cpu="1")
    await add_node(admin, "n2", cpu="1")
    await admin.create(PRIORITY_CLASS, {"metadata": {"name": "late"}, "value": 1000})
    await add_pod(admin, "low", cpu="800m", nodeSelector={"kubernetes.io/hostname": "n2"})
    await eventually(bound(admin, "low"))
    for name in ("u1", "u2"):
        await add_pod(admin, name, **member("late", priorityClassName="late"))
    assert {await eventually(promised(admin, name)) for name in ("u1", "u2")} == {"n1", "n2"}
    await add_pod(admin, "small", cpu="800m")
    await eventually(scheduled_condition(admin, "small"))
    # What the group waits for comes too late: it can not have that node any more, nor needs the other.
    await admin.patch(NODE, "n2", None, {"spec": {"unschedulable": True}})
    await admin.delete(POD, "low", "default", grace_period=0)
    assert await eventually(bound(admin, "small")) == "n1"
    for name in ("u1", "u2"):

        async def taken_back(name=name):
            return await promised(admin, name)() == ""

        await eventually(taken_back)


async def test_nobody_makes_place_for_a_part_of_a_group(admin, scheduler, groups):
    await groups("large")
    await add_node(admin, "n1", cpu="1")
    await add_pod(admin, "low", cpu="800m")
    await eventually(bound(admin, "low"))
    for name in ("l1", "l2"):
        await add_pod(admin, name, **member("large", priorityClassName="system-cluster-critical"))
    for name in ("l1", "l2"):
        await eventually(says(admin, name, "Insufficient cpu"))
    assert await leaving(admin) == set()


async def test_a_group_with_devices_waits_for_its_claims_and_is_bound_at_the_first_attempt(admin, groups):
    manager, scheduler = Manager(admin), Scheduler()
    manager.add(scheduler)
    manager.add(ResourceClaimController())
    await groups("team")
    await add_node(admin, "n1", cpu="4")
    await admin.create(DEVICE_CLASS, device_class())
    await admin.create(RESOURCE_SLICE, resource_slice(device("a"), device("b")))
    template = {"metadata": {"name": "one", "namespace": "default"}}
    await admin.create(RESOURCE_CLAIM_TEMPLATE, {**template, "spec": {"spec": {"devices": {"requests": [request()]}}}})
    wanting = {"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one"}]}
    for name, more in (("w1", {}), ("w2", wanting), ("w3", wanting)):
        await add_pod(admin, name, **member("team", **more))
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(manager.run())
        # The first has no claims, but is nothing without one of the others.
        assert {await eventually(bound(admin, name)) for name in ("w1", "w2", "w3")} == {"n1"}
        for name in ("w1", "w2", "w3"):
            assert not await event(admin, name, "FailedScheduling")()
        assert not [line for line in scheduler.exposed() if 'result="error"' in line]
        await admin.delete_collection(POD, "default", grace_period=0)
        for kind, namespace in ((RESOURCE_CLAIM_TEMPLATE, "default"), (RESOURCE_SLICE, None), (DEVICE_CLASS, None)):
            await admin.delete_collection(kind, namespace)

        async def gone():
            return not (await admin.list(RESOURCE_CLAIM, "default")).items

        await eventually(gone)
        work.cancel()
