"""The texts of conditions and events of ordinary lives, word for word as Kubernetes' users know them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from hawser.api.kinds import DEPLOYMENT, NODE, POD, REPLICA_SET, STATEFUL_SET
from hawser.client.controller import Controller
from hawser.controllers.autoscaler.behavior import Bounds, History, normalize
from hawser.controllers.deployment import DeploymentController
from hawser.controllers.node_lifecycle import NodeLifecycleController
from hawser.controllers.replicaset import ReplicaSetController
from hawser.controllers.statefulset import StatefulSetController

from .living import FakeClock, Living
from .test_words import image, told, workload
from .world import World

NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)
RULES = {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}
BEHAVIOR = {
    "scaleUp": {**RULES, "stabilizationWindowSeconds": 60},
    "scaleDown": {**RULES, "stabilizationWindowSeconds": 300},
}
SAME = ("ReadyForNewScale", "recommended size matches current size")
WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")


@pytest.mark.parametrize(
    ("before", "current", "asked", "rules", "able", "limited"),
    [
        (3, 3, 3, False, SAME, WITHIN),
        (
            4,
            4,
            2,
            False,
            (
                "ScaleDownStabilized",
                "recent recommendations were higher than current one, applying the highest recent recommendation",
            ),
            WITHIN,
        ),
        (
            3,
            3,
            9,
            True,
            (
                "ScaleUpStabilized",
                "recent recommendations were lower than current one, applying the lowest recent recommendation",
            ),
            WITHIN,
        ),
        (
            1,
            8,
            20,
            False,
            SAME,
            ("TooManyReplicas", "the desired replica count is more than the maximum replica count"),
        ),
        (0, 2, 1, False, SAME, ("TooFewReplicas", "the desired replica count is less than the minimum replica count")),
        (
            1,
            2,
            9,
            False,
            SAME,
            ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"),
        ),
        (
            None,
            8,
            3,
            True,
            SAME,
            ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"),
        ),
    ],
)
def test_an_autoscaler_says_why_it_sets_what_it_sets(
    before: int | None,
    current: int,
    asked: int,
    rules: bool,
    able: tuple[str, str],
    limited: tuple[str, str],
) -> None:
    history = History()
    if before is not None:
        history.recommend(before, NOW - timedelta(seconds=30))
    _, can, bound = normalize(BEHAVIOR if rules else None, history, current, asked, Bounds(2, 10), NOW)
    assert (can.reason, can.message) == able
    assert (bound.reason, bound.message) == limited


def all_said(world: World) -> set[tuple[str, str, str, str]]:
    """Type, status, reason and message of all conditions that Deployments have had."""
    found = [c for one in world.states(DEPLOYMENT) for c in one["status"].get("conditions") or ()]
    return {(c["type"], c["status"], c["reason"], c["message"]) for c in found}


def test_a_deployments_conditions() -> None:
    world = World(FakeClock())

    async def run() -> None:
        living = Living(world, DeploymentController, ReplicaSetController)
        world.create(DEPLOYMENT, workload(replicas=1, progressDeadlineSeconds=300))
        await living.start()
        await living.settle()
        living.change(DEPLOYMENT, "web", lambda new: new["spec"].update(paused=True))
        await living.settle()
        living.change(DEPLOYMENT, "web", lambda new: new["spec"].update(paused=False))
        await living.settle()
        image(living, "b")
        await living.turn()
        living.clock.advance(600)
        await living.turn()
        await living.stop()

    asyncio.run(run())
    sets = dict.fromkeys(rs["metadata"]["name"] for rs in world.states(REPLICA_SET))
    first, second = sets
    assert all_said(world) == {
        ("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        ("Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
        ("Progressing", "True", "NewReplicaSetCreated", f'Created new replica set "{first}"'),
        ("Progressing", "True", "ReplicaSetUpdated", f'ReplicaSet "{first}" is progressing.'),
        ("Progressing", "True", "NewReplicaSetAvailable", f'ReplicaSet "{first}" has successfully progressed.'),
        ("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused"),
        ("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed"),
        ("Progressing", "True", "NewReplicaSetCreated", f'Created new replica set "{second}"'),
        ("Progressing", "True", "ReplicaSetUpdated", f'ReplicaSet "{second}" is progressing.'),
        ("Progressing", "False", "ProgressDeadlineExceeded", f'ReplicaSet "{second}" has timed out progressing.'),
    }


def test_a_stateful_set_names_itself_and_its_pods() -> None:
    world = World(FakeClock())

    async def run() -> None:
        living = Living(world, StatefulSetController)
        world.create(STATEFUL_SET, workload(replicas=1))
        await living.start()
        await living.settle()
        living.change(STATEFUL_SET, "web", lambda new: new["spec"].update(replicas=0))
        await living.settle()
        await living.stop()

    asyncio.run(run())
    assert told(world, "SuccessfulCreate") == ["create Pod web-0 in StatefulSet web successful"]
    assert told(world, "SuccessfulDelete") == ["delete Pod web-0 in StatefulSet web successful"]


def test_silent_nodes() -> None:
    world = World(FakeClock())

    def make() -> Controller:
        return NodeLifecycleController()

    async def run() -> None:
        living = Living(world, make, nodes=2)
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}
        world.change(NODE, "n0", lambda new: new.update(status={"conditions": [ready]}))
        spec = {"nodeName": "n0", "containers": [{"name": "main", "image": "a"}]}
        world.create(POD, {"metadata": {"name": "p"}, "spec": spec})
        await living.start()
        living.run_pods()
        await living.settle()
        await living.stop()

    asyncio.run(run())
    said = {}
    for name in ("n0", "n1"):
        node = world.find(NODE, name)
        assert node is not None
        said[name] = {(c["reason"], c["message"]) for c in node["status"]["conditions"] if c["type"] == "Ready"}
    assert said["n0"] == {("NodeStatusUnknown", "Kubelet stopped posting node status.")}
    assert said["n1"] == {("NodeStatusNeverUpdated", "Kubelet never posted node status.")}
    assert set(told(world, "NodeNotReady")) == {"Node n0 status is now: NodeNotReady", "Node is not ready"}
