"""The words that Kubernetes' users search for: reasons and texts of events and conditions through ordinary lives."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from hawser.api.kinds import DAEMON_SET, DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, POD, REPLICA_SET, SERVICE, Kind
from hawser.controllers.autoscaler.controller import AutoscalerController
from hawser.controllers.daemonset import DaemonSetController
from hawser.controllers.deployment import DeploymentController
from hawser.controllers.endpointslice import EndpointSliceController
from hawser.controllers.replicaset import ReplicaSetController

from .living import FakeClock, Living
from .objects import Obj
from .world import Fault, World

LABELS = {"app": "web"}


def workload(**spec: Any) -> Obj:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "main", "image": "a"}]}}
    return {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": LABELS}, "template": template, **spec}}


def told(world: World, reason: str) -> list[str]:
    """What events of a reason have said."""
    return [event["message"] for event in world.told if event["reason"] == reason]


def said(world: World, kind: Kind, condition: str) -> list[str]:
    """The reasons that a condition has had, each when it became another."""
    reasons: list[str] = []
    for obj in world.states(kind):
        found = [c["reason"] for c in (obj["status"].get("conditions") or ()) if c["type"] == condition]
        if found and found != reasons[-1:]:
            reasons += found
    return reasons


def image(living: Living, value: str) -> None:
    living.change(DEPLOYMENT, "web", lambda new: new["spec"]["template"]["spec"]["containers"][0].update(image=value))


def test_a_deployment_says_how_it_gets_on() -> None:
    world = World(FakeClock())

    async def run() -> None:
        living = Living(world, DeploymentController, ReplicaSetController)
        world.create(DEPLOYMENT, workload(replicas=2))
        await living.start()
        await living.settle()
        for value in ("b", "a"):
            image(living, value)
            await living.turn()
            await living.settle()
        living.change(DEPLOYMENT, "web", lambda new: new["spec"].update(paused=True))
        await living.settle()
        living.change(DEPLOYMENT, "web", lambda new: new["spec"].update(paused=False))
        await living.settle()
        await living.stop()

    asyncio.run(run())
    progress = said(world, DEPLOYMENT, "Progressing")
    assert progress[:3] == ["NewReplicaSetCreated", "ReplicaSetUpdated", "NewReplicaSetAvailable"]
    # The first template again: there is a ReplicaSet of it, and nothing is created.
    assert progress[3:] == [
        *("NewReplicaSetCreated", "ReplicaSetUpdated", "NewReplicaSetAvailable", "ReplicaSetUpdated"),
        *("NewReplicaSetAvailable", "DeploymentPaused", "DeploymentResumed", "NewReplicaSetAvailable"),
    ]
    assert said(world, DEPLOYMENT, "Available")[:2] == ["MinimumReplicasUnavailable", "MinimumReplicasAvailable"]
    scaled = told(world, "ScalingReplicaSet")
    assert re.fullmatch(r"Scaled up replica set web-[0-9a-z]+ from 0 to 2", scaled[0])
    assert re.fullmatch(r"Scaled up replica set web-[0-9a-z]+ from 0 to 1", scaled[1])
    assert re.fullmatch(r"Scaled down replica set web-[0-9a-z]+ from 2 to 1", scaled[2])
    assert all(re.fullmatch(r"Created pod: web-\S+", text) for text in told(world, "SuccessfulCreate"))
    assert all(re.fullmatch(r"Deleted pod: web-\S+", text) for text in told(world, "SuccessfulDelete"))


def test_a_daemon_set_says_whose_pod_has_ended() -> None:
    world = World(FakeClock())

    async def run() -> None:
        living = Living(world, DaemonSetController, nodes=1)
        world.create(DAEMON_SET, workload())
        await living.start()
        await living.settle()
        for phase in ("Failed", "Succeeded"):
            (pod,) = world.objects(POD)
            world.change(POD, pod["metadata"]["name"], lambda new, to=phase: new["status"].update(phase=to))  # type: ignore[misc]
            await living.settle()
        await living.stop()

    asyncio.run(run())
    name = r"default/web-\S+ on node n0"
    (failed,), (succeeded,) = told(world, "FailedDaemonPod"), told(world, "SucceededDaemonPod")
    assert re.fullmatch(rf"Found failed daemon pod {name}, will try to kill it", failed)
    assert re.fullmatch(rf"Found succeeded daemon pod {name}, will try to delete it", succeeded)


def test_an_autoscaler_says_what_it_has_done() -> None:
    world = World(FakeClock())
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"}
    spec = {"scaleTargetRef": reference, "minReplicas": 2, "maxReplicas": 4, "metrics": []}

    async def run() -> None:
        living = Living(world, AutoscalerController, ReplicaSetController)
        world.create(REPLICA_SET, workload(replicas=1))
        world.create(HORIZONTAL_POD_AUTOSCALER, {"metadata": {"name": "web"}, "spec": spec})
        await living.start()
        await living.turn()
        living.change(REPLICA_SET, "web", lambda new: new["spec"].update(replicas=9))
        await living.settle()
        await living.stop()

    asyncio.run(run())
    assert said(world, HORIZONTAL_POD_AUTOSCALER, "AbleToScale")[:1] == ["SucceededRescale"]
    assert told(world, "SuccessfulRescale") == [
        "New size: 2; reason: Current number of replicas below Spec.MinReplicas",
        "New size: 4; reason: Current number of replicas above Spec.MaxReplicas",
    ]


def test_a_service_says_that_its_slices_cannot_be_written() -> None:
    world = World(FakeClock(), [Fault.REFUSED])

    async def run() -> None:
        living = Living(world, EndpointSliceController)
        world.create(SERVICE, {"metadata": {"name": "web"}, "spec": {"selector": LABELS}})
        await living.start()
        await living.settle()
        await living.stop()

    asyncio.run(run())
    (text,) = told(world, "FailedToUpdateEndpointSlices")
    cause = "failed to create EndpointSlice for Service default/web: the answer is refused"
    assert text == f"Error updating Endpoint Slices for Service default/web: {cause}"
