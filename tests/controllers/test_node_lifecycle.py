"""What becomes of nodes that go silent, come back, or are tainted, and of the pods on them."""

from __future__ import annotations

import copy
import math
from datetime import UTC, datetime, timedelta

import pytest

from hawser.api.kinds import EVENT, NAMESPACE, NODE, POD
from hawser.api.taints import NO_EXECUTE, NO_SCHEDULE, NOT_READY, UNREACHABLE, UNSCHEDULABLE
from hawser.client.clock import timestamp
from hawser.controllers.node_lifecycle import (
    Grace,
    MarkNotReady,
    NodeLifecycleController,
    Plan,
    SetConditions,
    SetTaints,
    plan,
)
from hawser.controllers.taint_eviction import TaintEvictionController
from hawser.controllers.zones import Rates, State, Zones, state_of

from .running import eventually, running

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GRACE = Grace().monitor
UNKNOWN = [(kind, "Unknown") for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")]


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


def test_a_silent_node_is_unknown_first_and_the_rest_follows_from_that():
    silent = node(conditions=[("MemoryPressure", "False")])
    (conditions,) = plan(silent, [pod()], GRACE, NOW).actions
    assert isinstance(conditions, SetConditions)
    assert {(c["type"], c["status"], c["reason"]) for c in conditions.conditions} == {
        ("Ready", "Unknown", "NodeStatusUnknown"),
        ("MemoryPressure", "Unknown", "NodeStatusUnknown"),
        ("DiskPressure", "Unknown", "NodeStatusNeverUpdated"),
        ("PIDPressure", "Unknown", "NodeStatusNeverUpdated"),
    }
    running, done = pod(), pod("done", phase="Succeeded")
    planned = plan(node("Unknown", conditions=UNKNOWN), [running, done], GRACE, NOW)
    assert taints_of(planned) == [(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)]
    assert planned.actions[1:] == (MarkNotReady(running),)


def test_a_node_that_never_reported_gets_more_time():
    silent = node(ready=None, taints=[taint(NOT_READY, NO_SCHEDULE)])
    assert plan(silent, [], 59, NOW) == Plan((), 1)


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
        (node(taints=[{"key": "mine", "effect": NO_EXECUTE}]), None),
        (node(unschedulable=True, taints=[{"key": UNSCHEDULABLE, "effect": NO_SCHEDULE}]), None),
    ],
)
def test_taints_follow_conditions_and_leave_others_alone(a_node, expected):
    assert taints_of(plan(a_node, [], 0, NOW)) == expected


def test_a_node_waits_its_turn_before_its_pods_have_to_leave():
    planned = plan(node("False"), [], 0, NOW, hold=7)
    assert (taints_of(planned), planned.again) == ([(NOT_READY, NO_SCHEDULE)], 7)
    changed = node("Unknown", taints=[taint(NOT_READY, NO_SCHEDULE), taint(NOT_READY, NO_EXECUTE)])
    assert taints_of(plan(changed, [], 0, NOW, hold=7)) == [(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)]


def test_where_no_node_is_left_no_pod_has_to_leave():
    lost = node("Unknown", taints=[taint(UNREACHABLE, NO_SCHEDULE), taint(UNREACHABLE, NO_EXECUTE)])
    assert taints_of(plan(lost, [], 0, NOW, hold=None)) == [(UNREACHABLE, NO_SCHEDULE)]


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


def settle(a_node, pods, cut):
    """Plans and carries out until nothing is left; every plan is cut after ``cut`` actions."""
    for _ in range(10):
        actions = plan(a_node, copy.deepcopy(pods), GRACE, NOW).actions
        if not actions:
            return a_node, pods
        for action in actions[:cut]:
            carry_out(a_node, pods, action)
    raise AssertionError("does not settle")


@pytest.mark.parametrize("cut", range(1, 4))
def test_a_plan_that_is_cut_anywhere_is_finished_by_the_next(cut):
    def start():
        return node(), [pod("a"), pod("b"), pod("c")]

    assert settle(*start(), cut) == settle(*start(), None)


# Zones


@pytest.mark.parametrize(
    ("ready", "failed", "state"),
    [
        (0, 1, State.FULL),
        (1, 2, State.NORMAL),
        (2, 3, State.PARTIAL),
        (5, 3, State.NORMAL),
        (9, 0, State.NORMAL),
        (0, 9, State.FULL),
    ],
)
def test_a_zone_fails_by_share_but_not_by_two_nodes(ready, failed, state):
    assert state_of(ready, failed, Rates().unhealthy) is state


def in_zone(zone, ready):
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    return {"metadata": {"labels": labels}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def test_nodes_of_a_zone_are_given_up_one_by_one():
    zones = Zones()
    zones.look([in_zone("a", "True"), in_zone("a", "False"), in_zone("b", "False"), in_zone("b", "True")])
    assert [zones.turn(("", "a"), now) for now in (0, 4, 10)] == [0, 6, 0]
    assert zones.turn(("", "b"), 4) == 0
    zones.give_back(("", "b"))
    assert zones.turn(("", "b"), 4) == 0


def test_a_small_unhealthy_zone_gives_up_none_and_a_large_one_fewer():
    small, large = Zones(), Zones(Rates(large=4))
    listed = [in_zone("a", status) for status in ("True", "True", "False", "False", "False")]
    for zones in (small, large):
        assert zones.look(listed)
        assert not zones.look(listed)
    assert math.isinf(small.turn(("", "a"), 0))
    assert [large.turn(("", "a"), now) for now in (0, 10)] == [0, 90]


def test_when_every_zone_is_lost_none_is_given_up():
    zones = Zones()
    zones.look([in_zone("a", "False"), in_zone("b", "Unknown")])
    assert zones.down
    assert math.isinf(zones.turn(("", "a"), 0))
    zones.look([in_zone("a", "False"), in_zone("b", "True")])
    assert not zones.down
    assert zones.turn(("", "a"), 0) == 0


# Against the real API server


async def test_a_node_is_lost_found_and_its_pods_are_evicted(api_server, clock):
    controllers = NodeLifecycleController(), TaintEvictionController()
    async with running(api_server.kubeconfig, *controllers, clock=clock) as client:
        await scenario(client, clock)


async def scenario(client, clock):
    # The default namespace may still be on its way at the server's start.
    await eventually(lambda: namespaces(client))
    # With no other node Ready, none is given up.
    await client.create(NODE, {"metadata": {"name": "other"}})
    await client.create(NODE, {"metadata": {"name": "n1"}})
    await report_ready(client, clock, "other")
    await report_ready(client, clock)

    async def keys():
        taints = (await client.get(NODE, "n1")).get("spec", {}).get("taints") or []
        return {(t["key"], t["effect"]) for t in taints}

    async def untainted():
        return not await keys()

    async def lost():
        # A step on every look: whenever the controller last heard of the node, its grace ends; the other one talks.
        await report_ready(client, clock, "other")
        clock.advance(GRACE / 3)
        return (await keys()) == {(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)}

    async def ready():
        conditions = (await client.get(POD, "p", "default"))["status"]["conditions"]
        return next(c["status"] for c in conditions if c["type"] == "Ready")

    async def unready():
        return await ready() == "False"

    async def leaving():
        await report_ready(client, clock, "other")
        clock.advance(GRACE / 3)
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


async def report_ready(client, clock, name="n1"):
    kinds = {"Ready": "True", "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}
    heard = timestamp(clock.now())
    status = {
        "conditions": [
            {"type": kind, "status": status, "lastHeartbeatTime": heard, "lastTransitionTime": heard}
            for kind, status in kinds.items()
        ]
    }
    await client.patch(NODE, name, None, {"status": status}, subresource="status")


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
