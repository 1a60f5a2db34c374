"""What becomes of nodes that go silent, come back, or are tainted, and of the pods on them."""

from __future__ import annotations

import asyncio
import copy
from datetime import UTC, datetime, timedelta

import pytest

from hawser.api.kinds import EVENT, NAMESPACE, NODE, POD
from hawser.api.taints import NO_EXECUTE, NO_SCHEDULE, NOT_READY, UNREACHABLE, UNSCHEDULABLE
from hawser.client.client import Client
from hawser.client.clock import timestamp
from hawser.client.controller import Manager
from hawser.controllers.node_lifecycle import (
    GRACE,
    Evict,
    MarkNotReady,
    NodeLifecycleController,
    Plan,
    SetConditions,
    SetTaints,
    plan,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def node(ready="True", *, taints=(), conditions=(), **spec):
    listed = [{"type": "Ready", "status": ready}] if ready else []
    listed += [{"type": kind, "status": status} for kind, status in conditions]
    return {"metadata": {"name": "n"}, "spec": {"taints": [*taints], **spec}, "status": {"conditions": listed}}


def taint(key, effect, age=0.0, **extra):
    return {"key": key, "effect": effect, "timeAdded": timestamp(NOW - timedelta(seconds=age)), **extra}


def pod(name="p", *, tolerations=(), ready="True", phase="Running", leaving=False):
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": name, **({"deletionTimestamp": "x"} if leaving else {})},
        "spec": {"tolerations": [*tolerations], "nodeName": "n"},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
    }


def waiting(seconds, key=UNREACHABLE):
    return {"key": key, "operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": seconds}


def taints_of(planned):
    return next(
        ([(t["key"], t["effect"]) for t in a.taints] for a in planned.actions if isinstance(a, SetTaints)), None
    )


def test_a_healthy_node_needs_nothing_until_its_grace_ends():
    planned = plan(node(), [pod()], 10, NOW)
    assert (planned.actions, planned.again) == ((), GRACE - 10)


def test_a_silent_node_is_unknown_tainted_and_its_pods_are_not_ready():
    patient, done = pod(tolerations=[waiting(300)]), pod("done", phase="Succeeded")
    planned = plan(node(conditions=[("MemoryPressure", "False")]), [patient, done], GRACE, NOW)
    conditions, taints, marked = planned.actions
    assert isinstance(conditions, SetConditions)
    assert {(c["type"], c["status"], c["reason"]) for c in conditions.conditions} == {
        ("Ready", "Unknown", "NodeStatusUnknown"),
        ("MemoryPressure", "Unknown", "NodeStatusUnknown"),
        ("DiskPressure", "Unknown", "NodeStatusNeverUpdated"),
        ("PIDPressure", "Unknown", "NodeStatusNeverUpdated"),
    }
    assert isinstance(taints, SetTaints)
    assert taints_of(planned) == [(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)]
    assert marked == MarkNotReady(patient)
    assert planned.again == 300


def test_a_node_that_never_reported_gets_more_time():
    assert plan(node(ready=None, taints=[taint(UNREACHABLE, e) for e in (NO_SCHEDULE, NO_EXECUTE)]), [], 59, NOW) == (
        Plan((), 1)
    )


@pytest.mark.parametrize(
    ("a_node", "expected"),
    [
        (node("False"), [(NOT_READY, NO_SCHEDULE), (NOT_READY, NO_EXECUTE)]),
        (node("Unknown"), [(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)]),
        (node(taints=[taint(UNREACHABLE, NO_SCHEDULE), taint(UNREACHABLE, NO_EXECUTE)]), []),
        (
            node("False", taints=[taint(UNREACHABLE, NO_SCHEDULE), taint("mine", NO_SCHEDULE)]),
            [("mine", NO_SCHEDULE), (NOT_READY, NO_SCHEDULE), (NOT_READY, NO_EXECUTE)],
        ),
        (node(conditions=[("DiskPressure", "True")]), [("node.kubernetes.io/disk-pressure", NO_SCHEDULE)]),
        (node(unschedulable=True), [(UNSCHEDULABLE, NO_SCHEDULE)]),
        (node(taints=[taint(UNSCHEDULABLE, NO_SCHEDULE)]), []),
        (node(taints=[{"key": "mine", "effect": NO_SCHEDULE}]), None),
        (node(unschedulable=True, taints=[{"key": UNSCHEDULABLE, "effect": NO_SCHEDULE}]), None),
    ],
)
def test_taints_follow_conditions_and_leave_others_alone(a_node, expected):
    assert taints_of(plan(a_node, [], 0, NOW)) == expected


def test_a_taint_by_hand_gets_the_age_that_evictions_count_from():
    a_node = node(taints=[{"key": "mine", "effect": NO_EXECUTE}])
    planned = plan(a_node, [pod(tolerations=[waiting(60, "mine")])], 0, NOW)
    assert planned.actions == (SetTaints(({"key": "mine", "effect": NO_EXECUTE, "timeAdded": timestamp(NOW)},)),)
    assert planned.again == 40


@pytest.mark.parametrize(
    ("tolerations", "age", "evicted", "again"),
    [
        ([], 0, True, None),
        ([waiting(300)], 299, False, 1),
        ([waiting(300)], 300, True, None),
        ([waiting(0)], 0, True, None),
        ([waiting(-5)], 0, True, None),
        ([{"operator": "Exists"}], 9999, False, None),
        ([waiting(300), waiting(10)], 10, True, None),
        ([{"operator": "Exists"}, waiting(10)], 10, True, None),
    ],
)
def test_a_pod_leaves_when_its_toleration_ends(tolerations, age, evicted, again):
    a_pod = pod(tolerations=tolerations, ready="False")
    taints = [taint(UNREACHABLE, NO_SCHEDULE, age), taint(UNREACHABLE, NO_EXECUTE, age)]
    a_node = node(
        "Unknown", taints=taints, conditions=[(k, "Unknown") for k in ("MemoryPressure", "DiskPressure", "PIDPressure")]
    )
    planned = plan(a_node, [a_pod], GRACE, NOW)
    assert planned.actions == ((Evict(a_pod),) if evicted else ())
    assert planned.again == again


@pytest.mark.parametrize("a_pod", [pod(leaving=True), pod(phase="Failed")])
def test_a_pod_that_is_leaving_or_has_ended_is_left_alone(a_pod):
    taints = [taint(NOT_READY, NO_SCHEDULE), taint(NOT_READY, NO_EXECUTE)]
    assert plan(node("False", taints=taints), [a_pod], 0, NOW).actions == ()


def carry_out(a_node, pods, action):
    """What an action does to the objects."""
    match action:
        case SetConditions(conditions):
            kept = [c for c in a_node["status"]["conditions"] if c["type"] not in {n["type"] for n in conditions}]
            a_node["status"]["conditions"] = [*kept, *conditions]
        case SetTaints(taints):
            a_node["spec"]["taints"] = list(taints)
        case MarkNotReady(marked):
            next(p for p in pods if p["metadata"] == marked["metadata"])["status"]["conditions"][0]["status"] = "False"
        case Evict(evicted):
            pods[:] = [p for p in pods if p["metadata"] != evicted["metadata"]]


def settle(a_node, pods, cut):
    """Plans and carries out until nothing is left; the first plan is cut after ``cut`` actions."""
    for attempt in range(10):
        actions = plan(a_node, copy.deepcopy(pods), GRACE, NOW).actions
        if not actions:
            return a_node, pods
        for action in actions[: cut if attempt == 0 else None]:
            carry_out(a_node, pods, action)
    raise AssertionError("does not settle")


@pytest.mark.parametrize("cut", range(6))
def test_a_plan_that_is_cut_anywhere_is_finished_by_the_next(cut):
    def start():
        return node(), [pod("a", tolerations=[waiting(300)]), pod("b"), pod("c", tolerations=[waiting(0)])]

    assert settle(*start(), cut) == settle(*start(), None)


# Against the real API server


async def eventually(check):
    async with asyncio.timeout(20):
        while not (result := await check()):  # noqa: ASYNC110 - it becomes true on the server
            await asyncio.sleep(0.01)
        return result


async def test_a_node_is_lost_found_and_its_pods_are_evicted(api_server, clock):
    async with Client.from_kubeconfig(api_server.kubeconfig) as client:
        manager = Manager(client, clock=clock)
        manager.add(NodeLifecycleController())
        task = asyncio.create_task(manager.run())
        try:
            await scenario(client, clock)
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def scenario(client, clock):
    # The default namespace may still be on its way at the server's start.
    await eventually(lambda: namespaces(client))
    await client.create(NODE, {"metadata": {"name": "n1"}})
    await report_ready(client, clock)

    async def keys():
        taints = (await client.get(NODE, "n1")).get("spec", {}).get("taints") or []
        return {(t["key"], t["effect"]) for t in taints}

    async def untainted():
        return not await keys()

    async def lost():
        # A step on every look: whenever the controller last heard of the node, its grace ends.
        clock.advance(GRACE)
        return (await keys()) == {(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)}

    async def ready():
        conditions = (await client.get(POD, "p", "default"))["status"]["conditions"]
        return next(c["status"] for c in conditions if c["type"] == "Ready")

    async def unready():
        return await ready() == "False"

    async def leaving():
        clock.advance(60)
        return "deletionTimestamp" in (await client.get(POD, "p", "default"))["metadata"]

    await eventually(untainted)
    await client.create(POD, bound_pod())
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await client.patch(POD, "p", "default", {"status": status}, subresource="status")
    await eventually(lost)
    await eventually(unready)
    await report_ready(client, clock)
    await eventually(untainted)
    assert "deletionTimestamp" not in (await client.get(POD, "p", "default"))["metadata"]
    await eventually(lost)
    await eventually(leaving)

    async def told():
        listing = await client.list(EVENT, "default", field_selector="involvedObject.name=n1")
        return {"RegisteredNode", "NodeNotReady"} <= {e["reason"] for e in listing.items}

    await eventually(told)


async def namespaces(client):
    return (await client.list(NAMESPACE)).items


async def report_ready(client, clock):
    kinds = {"Ready": "True", "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}
    heard = timestamp(clock.now())
    status = {
        "conditions": [
            {"type": kind, "status": status, "lastHeartbeatTime": heard, "lastTransitionTime": heard}
            for kind, status in kinds.items()
        ]
    }
    await client.patch(NODE, "n1", None, {"status": status}, subresource="status")


def bound_pod():
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {
            "nodeName": "n1",
            "automountServiceAccountToken": False,
            "serviceAccountName": "default",
            "tolerations": [waiting(300)],
            "containers": [{"name": "c", "image": "i"}],
        },
    }
