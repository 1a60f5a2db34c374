"""The scheduler against the real API server: bindings, conditions, events."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import (
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    PRIORITY_CLASS,
    REPLICA_SET,
    STORAGE_CLASS,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
)
from hawser.client.controller import Manager
from hawser.scheduler.scheduler import Scheduler
from hawser.scheduler.simulation import Simulation
from hawser.scheduler.writing import unscheduled

from .conftest import make_pod
from .live import add_node, add_pod, bound, event, eventually, scheduled_condition

ZONE = "topology.kubernetes.io/zone"


@pytest.fixture
async def high(admin):
    """The priority class of that name."""
    await admin.create(PRIORITY_CLASS, {"metadata": {"name": "high"}, "value": 1000})
    yield
    await admin.delete(PRIORITY_CLASS, "high")


async def test_a_pod_is_bound_and_an_event_says_so(admin, scheduler):
    await add_node(admin, "n1")
    await add_pod(admin, "simple")
    assert await eventually(bound(admin, "simple")) == "n1"
    said = await eventually(event(admin, "simple", "Scheduled"))
    assert said["message"] == "Successfully assigned default/simple to n1"
    assert said["source"] == {"component": "default-scheduler"}
    pod = await admin.get(POD, "simple", "default")
    assert [c["status"] for c in pod["status"]["conditions"] if c["type"] == "PodScheduled"] == ["True"]


async def test_a_pod_that_does_not_fit_says_why_and_is_bound_when_a_node_comes(admin, scheduler):
    await add_node(admin, "small", cpu="1")
    await add_pod(admin, "big", cpu="2")
    sentence = (
        "0/1 nodes are available: 1 Insufficient cpu. "
        "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    condition = await eventually(scheduled_condition(admin, "big"))
    assert (condition["reason"], condition["message"]) == ("Unschedulable", sentence)
    assert (await eventually(event(admin, "big", "FailedScheduling")))["message"] == sentence
    await add_node(admin, "large", cpu="4")
    assert await eventually(bound(admin, "big")) == "large"


async def test_room_that_a_deleted_pod_leaves_is_used(admin, scheduler):
    await add_node(admin, "n1", cpu="1")
    await add_pod(admin, "first", cpu="1")
    await eventually(bound(admin, "first"))
    await add_pod(admin, "second", cpu="1")
    await eventually(scheduled_condition(admin, "second"))
    await admin.delete(POD, "first", "default", grace_period=0)
    assert await eventually(bound(admin, "second")) == "n1"


async def test_a_more_important_pod_takes_the_place_of_another(admin, scheduler, high):
    await add_node(admin, "n1", cpu="1")
    await add_pod(admin, "victim", cpu="600m", terminationGracePeriodSeconds=60)
    await eventually(bound(admin, "victim"))
    made = await add_pod(admin, "urgent", cpu="600m", priorityClassName="high")
    refused = await eventually(scheduled_condition(admin, "urgent"))
    assert refused["message"].startswith("0/1 nodes are available: 1 Insufficient cpu.")
    said = await eventually(event(admin, "victim", "Preempted"))
    assert said["message"] == f"Preempted by pod {made['metadata']['uid']} on node n1"
    victim = await admin.get(POD, "victim", "default")
    assert "deletionTimestamp" in victim["metadata"]
    condition = next(c for c in victim["status"]["conditions"] if c["type"] == "DisruptionTarget")
    assert (condition["reason"], condition["message"]) == (
        "PreemptionByScheduler",
        "default-scheduler: preempting to accommodate a higher priority pod",
    )
    assert condition["observedGeneration"] == 1
    assert (await admin.get(POD, "urgent", "default"))["status"]["nominatedNodeName"] == "n1"
    # The room that will be is not for everybody.
    await add_pod(admin, "other", cpu="600m")
    await eventually(scheduled_condition(admin, "other"))
    await admin.delete(POD, "victim", "default", grace_period=0)
    assert await eventually(bound(admin, "urgent")) == "n1"
    assert not await bound(admin, "other")()
    waiting = await scheduled_condition(admin, "other")()
    assert waiting["message"].endswith("1 No preemption victims found for incoming pod.")


async def test_a_promised_place_is_taken_although_others_that_are_alike_wait_longer(admin, scheduler, high):
    await add_node(admin, "n1", cpu="1")
    await add_pod(admin, "victim", cpu="600m", terminationGracePeriodSeconds=60)
    await eventually(bound(admin, "victim"))
    await add_pod(admin, "first", cpu="600m", priorityClassName="high")
    await eventually(event(admin, "victim", "Preempted"))
    await add_pod(admin, "second", cpu="600m", priorityClassName="high")
    await eventually(scheduled_condition(admin, "second"))
    # It is tried in vain, and waits for less long than the other then.
    await admin.patch(NODE, "n1", None, {"metadata": {"labels": {"changed": "yes"}}})

    async def tried_again():
        return "due to a terminating pod" in (await scheduled_condition(admin, "first")())["message"]

    await eventually(tried_again)
    await admin.delete(POD, "victim", "default", grace_period=0)
    assert await eventually(bound(admin, "first")) == "n1"


async def test_room_that_a_pod_was_promised_is_for_others_when_it_goes_elsewhere(admin, scheduler, high):
    await add_node(admin, "n1", cpu="1")
    await add_pod(admin, "victim", cpu="600m", terminationGracePeriodSeconds=60)
    await eventually(bound(admin, "victim"))
    await add_pod(admin, "urgent", cpu="600m", priorityClassName="high")
    await eventually(event(admin, "victim", "Preempted"))
    await add_pod(admin, "other", cpu="300m", nodeSelector={"kubernetes.io/hostname": "n1"})
    await eventually(scheduled_condition(admin, "other"))
    await add_node(admin, "n2", cpu="600m")
    assert await eventually(bound(admin, "urgent")) == "n2"
    assert await eventually(bound(admin, "other")) == "n1"


async def test_a_victim_that_cannot_be_deleted_is_tried_again(admin, scheduler, high):
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["pods"]}
    denied = {"expression": "!oldObject.metadata.name.startsWith('kept')"}
    policy = {"matchConstraints": {"resourceRules": [rule]}, "validations": [denied]}
    binding = {"policyName": "keep", "validationActions": ["Deny"]}
    await admin.create(VALIDATING_ADMISSION_POLICY, {"metadata": {"name": "keep"}, "spec": policy})
    await admin.create(VALIDATING_ADMISSION_POLICY_BINDING, {"metadata": {"name": "keep"}, "spec": binding})
    try:
        await add_node(admin, "n1", cpu="1")

        async def stays():
            await add_pod(admin, "kept", cpu="600m")
            await eventually(bound(admin, "kept"))
            try:
                await admin.delete(POD, "kept", "default", grace_period=0)
            except APIError:
                return True
            return False

        await eventually(stays)
        await add_pod(admin, "urgent", cpu="600m", priorityClassName="high")
        await eventually(scheduled_condition(admin, "urgent"))
    finally:
        await admin.delete(VALIDATING_ADMISSION_POLICY_BINDING, "keep")
        await admin.delete(VALIDATING_ADMISSION_POLICY, "keep")

    async def leaving():
        return "deletionTimestamp" in (await admin.get(POD, "kept", "default"))["metadata"]

    await eventually(leaving)
    await admin.delete(POD, "kept", "default", grace_period=0)
    assert await eventually(bound(admin, "urgent")) == "n1"


async def test_gates_and_other_schedulers_are_respected(admin, scheduler):
    await add_node(admin, "n1")
    await add_pod(admin, "gated", schedulingGates=[{"name": "example.com/wait"}])
    await add_pod(admin, "foreign", schedulerName="mine")
    await add_pod(admin, "last")
    await eventually(bound(admin, "last"))
    assert not await bound(admin, "gated")()
    gated = await scheduled_condition(admin, "gated")()
    assert (gated["reason"], gated["message"]) == (
        "SchedulingGated",
        "Scheduling is blocked due to non-empty scheduling gates",
    )
    assert not await bound(admin, "foreign")()
    await admin.patch(POD, "gated", "default", {"spec": {"schedulingGates": None}})
    assert await eventually(bound(admin, "gated")) == "n1"


async def test_a_burst_is_bound_without_overcommitting_any_node(admin, scheduler):
    for number in range(3):
        await add_node(admin, f"n{number}", cpu="1")
    await asyncio.gather(*(add_pod(admin, f"b{number}", cpu="100m") for number in range(30)))

    async def all_bound():
        nodes = [p["spec"].get("nodeName") for p in (await admin.list(POD, "default")).items]
        return nodes if all(nodes) else None

    nodes = await eventually(all_bound)
    assert sorted(nodes) == ["n0"] * 10 + ["n1"] * 10 + ["n2"] * 10


async def test_a_claim_waits_for_its_pod_and_the_pod_for_its_volume(admin, scheduler):
    await add_node(admin, "n1", cpu="1")
    await add_node(admin, "n2", cpu="4")
    await admin.create(
        STORAGE_CLASS,
        {
            "metadata": {"name": "local"},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
    )
    hostname = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}
    common = {"storageClassName": "local", "accessModes": ["ReadWriteOnce"]}
    volume = {
        **common,
        "capacity": {"storage": "1Gi"},
        "local": {"path": "/data"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}},
    }
    mounted = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    try:
        await add_pod(admin, "user", volumes=mounted)
        refused = await eventually(scheduled_condition(admin, "user"))
        assert refused["message"] == '0/2 nodes are available: persistentvolumeclaim "data" not found. not found'
        made = await admin.create(PERSISTENT_VOLUME, {"metadata": {"name": "disk"}, "spec": volume})
        await admin.patch(PERSISTENT_VOLUME, "disk", None, {"status": {"phase": "Available"}}, subresource="status")
        asked = {**common, "resources": {"requests": {"storage": "500Mi"}}}
        data = await admin.create(
            PERSISTENT_VOLUME_CLAIM, {"metadata": {"name": "data", "namespace": "default"}, "spec": asked}
        )

        async def reserved():
            return (await admin.get(PERSISTENT_VOLUME, "disk"))["spec"].get("claimRef")

        assert (await eventually(reserved))["uid"] == data["metadata"]["uid"]
        assert not await bound(admin, "user")()
        assert (await admin.get(POD, "user", "default"))["status"]["nominatedNodeName"] == "n1"
        # What the PV controller does then.
        completed = {
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": "disk"},
        }
        await admin.patch(PERSISTENT_VOLUME_CLAIM, "data", "default", completed)
        assert await eventually(bound(admin, "user")) == "n1"
        assert made["metadata"]["name"] == "disk"
    finally:
        await admin.delete_collection(POD, "default", grace_period=0)
        for kind, name, namespace in (
            (PERSISTENT_VOLUME_CLAIM, "data", "default"),
            (PERSISTENT_VOLUME, "disk", None),
        ):
            await admin.patch(kind, name, namespace, {"metadata": {"finalizers": None}})
            await admin.delete(kind, name, namespace)
        await admin.delete(STORAGE_CLASS, "local")


async def test_a_simulation_of_a_dump_says_what_the_live_scheduler_does(admin):
    for number, cpu in enumerate("1224"):
        await add_node(admin, f"n{number}", cpu=cpu, labels={ZONE: "ab"[number % 2]})
    spread = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule"}
    spread |= {"labelSelector": {"matchLabels": {"app": "b"}}}
    wishes = [
        *({"cpu": "500m", "labels": {"app": "a"}} for _ in range(8)),
        *({"cpu": "300m", "labels": {"app": "b"}, "topologySpreadConstraints": [spread]} for _ in range(8)),
        {"cpu": "8"},
        {"nodeSelector": {ZONE: "c"}},
    ]
    for number, spec in enumerate(wishes):
        await add_pod(admin, f"s{number:02}", **spec)
    dump = []
    for kind in (NODE, POD):
        dump += [{**item, "kind": kind.kind} for item in (await admin.list(kind)).items]
    said = {result.pod: result.node for result in Simulation(dump, rng=random.Random(5)).run()}
    manager = Manager(admin)
    manager.add(Scheduler(random.Random(5)))
    task = asyncio.create_task(manager.run())
    try:

        async def settled():
            pods = (await admin.list(POD, "default")).items
            decided = all(p["spec"].get("nodeName") or (p.get("status") or {}).get("conditions") for p in pods)
            return (
                {f"default/{p['metadata']['name']}": p["spec"].get("nodeName", "") for p in pods} if decided else None
            )

        live = await eventually(settled)
        assert {name for name, node in live.items() if node} == {name for name, node in said.items() if node}
        # Which of two equal nodes takes which of two equal pods is chance.
        kinds = {f"default/s{number:02}": str(spec) for number, spec in enumerate(wishes)}
        assert Counter((kinds[n], node) for n, node in live.items()) == Counter(
            (kinds[n], node) for n, node in said.items()
        )
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_pods_of_a_replica_set_are_spread_without_asking_for_it(admin, scheduler):
    # Room alone would take all of them to the large node.
    for name, cpu in (("large", "64"), ("small", "4")):
        await add_node(admin, name, cpu=cpu)
    labels = {"app": "spread"}
    template = {"metadata": {"labels": labels}, "spec": make_pod()["spec"]}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    owner = await admin.create(REPLICA_SET, {"metadata": {"name": "rs", "namespace": "default"}, "spec": spec})
    try:
        for number in range(4):
            await add_pod(admin, f"r{number}", cpu="10m", labels=labels, owner=owner["metadata"]["uid"])
            await eventually(bound(admin, f"r{number}"))
        nodes = sorted([await bound(admin, f"r{number}")() for number in range(1, 4)])
        assert nodes != ["large"] * 3
    finally:
        await admin.delete(REPLICA_SET, "rs", "default")


def test_a_condition_that_is_there_is_not_written_again(clock):
    pod = {"metadata": {"generation": 1}, "status": {"conditions": []}}

    def written(message):
        return unscheduled(pod, "Unschedulable", message, clock.now())

    condition = written("m")
    assert (condition["lastTransitionTime"], condition["observedGeneration"]) == ("2026-01-01T00:16:40Z", 1)
    pod["status"]["conditions"] = [condition]
    assert written("m") is None
    clock.advance(60)
    assert written("n")["lastTransitionTime"] == "2026-01-01T00:16:40Z"
    pod["metadata"]["generation"] = 2
    assert written("m")["observedGeneration"] == 2
