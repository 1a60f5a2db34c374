"""Deployments, ReplicaSets and ReplicationControllers through random histories: they come to what their spec says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import DEPLOYMENT, POD, REPLICA_SET, REPLICATION_CONTROLLER, Kind
from hawser.api.status import is_ready
from hawser.controllers import pods, rollout
from hawser.controllers.deployment import DeploymentController
from hawser.controllers.replicaset import ReplicaSetController
from hawser.controllers.replicationcontroller import ReplicationControllerController

from .living import Act, FakeClock, Living, interrupted
from .objects import Obj
from .world import Fault, World

LABELS = {"app": "web"}


def workload(kind: Kind, replicas: int = 3, **spec: Any) -> Obj:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "main", "image": "a"}]}}
    selector: Obj = LABELS if kind == REPLICATION_CONTROLLER else {"matchLabels": LABELS}
    return {
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": selector, "template": template, **spec},
    }


def controllers(kind: Kind) -> tuple[Any, ...]:
    if kind == DEPLOYMENT:
        return DeploymentController, ReplicaSetController
    return (ReplicaSetController if kind == REPLICA_SET else ReplicationControllerController,)


def present(world: World) -> list[Obj]:
    return [pod for pod in world.objects(POD) if pods.is_active(pod)]


def keeps_bounds(world: World, least: int, most: int) -> None:
    """Never fewer ready pods than allowed, nor more pods asked for."""

    def check(verb: str, obj: Obj) -> None:
        ready = sum(is_ready(pod) for pod in present(world))
        assert verb != "DELETE" or ready >= least, f"only {ready} are ready"
        asked = sum(rs["spec"]["replicas"] for rs in world.objects(REPLICA_SET))
        assert asked <= most, f"{asked} pods are asked for"

    world.on_write = check


def check_final(world: World, kind: Kind) -> None:
    found = world.find(kind, "web")
    if found is None:
        assert world.objects(POD) == world.objects(REPLICA_SET) == []
        return
    spec, status, running = found["spec"], found["status"], present(world)
    size = spec["replicas"]
    if spec.get("paused"):
        # A rollout stays where it was paused: before its first ReplicaSet came to be, or with what has surged.
        asked = [rs["spec"]["replicas"] for rs in world.objects(REPLICA_SET)]
        recreates = spec["strategy"]["type"] == "Recreate"
        assert not asked or recreates or size <= sum(asked) <= rollout.limits(found).most
        size = sum(asked)
    assert len(running) == size
    counts = [status.get(count, 0) for count in ("replicas", "readyReplicas", "availableReplicas")]
    assert counts == [size] * 3
    assert status["observedGeneration"] == found["metadata"]["generation"]
    if kind == DEPLOYMENT:
        image = spec["template"]["spec"]["containers"][0]["image"]
        if not spec.get("paused"):
            assert {pod["spec"]["containers"][0]["image"] for pod in running} <= {image}
            assert status.get("updatedReplicas", 0) == size
            empty = [rs for rs in world.objects(REPLICA_SET) if not rs["spec"]["replicas"]]
            assert len(empty) <= spec["revisionHistoryLimit"] + (not size)
        reasons = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
        assert not size or size < spec["replicas"] or reasons["Available"] == ("True", "MinimumReplicasAvailable")


ACTIONS = st.one_of(
    st.tuples(st.just("scale"), st.integers(0, 6)),
    st.tuples(st.just("image"), st.sampled_from("abc")),
    st.tuples(st.just("strategy"), st.sampled_from([(1, 0), (0, 1), ("50%", "50%"), None])),
    st.tuples(st.just("history"), st.integers(0, 2)),
    st.tuples(st.just("paused"), st.booleans()),
    st.tuples(st.sampled_from(["pods", "fail", "delete pod", "lose node", "deliver"]), st.integers(0, 6)),
    st.tuples(st.sampled_from(["wait", "restart", "stale", "expire"]), st.integers(1, 40)),
    st.tuples(st.just("delete"), st.just(0)),
)


async def act(living: Living, kind: Kind, what: str, value: Any) -> None:
    def strategy(new: Obj) -> None:
        if value is None:
            new["spec"]["strategy"] = {"type": "Recreate"}
        else:
            rolling = {"maxSurge": value[0], "maxUnavailable": value[1]}
            new["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": rolling}

    changes = {
        "scale": lambda new: new["spec"].update(replicas=value),
        "image": lambda new: new["spec"]["template"]["spec"]["containers"][0].update(image=value),
        "history": lambda new: new["spec"].update(revisionHistoryLimit=value),
        "paused": lambda new: new["spec"].update(paused=value),
        "strategy": strategy,
    }
    if what in changes:
        if kind == DEPLOYMENT or what in ("scale", "image"):
            living.change(kind, "web", changes[what])
    elif what == "delete":
        living.delete(kind, "web")
    else:
        await living.happens(what, value)
    await living.turn()


def acting(kind: Kind) -> Act:
    return lambda living, what, value: act(living, kind, what, value)


@pytest.mark.parametrize("kind", [DEPLOYMENT, REPLICA_SET, REPLICATION_CONTROLLER], ids=lambda kind: kind.kind)
def test_any_history_ends_as_the_spec_says(kind: Kind) -> None:
    @settings(max_examples=60 if kind == DEPLOYMENT else 20)
    @given(
        st.integers(0, 20),
        st.lists(ACTIONS, max_size=12),
        st.lists(st.sampled_from(Fault), max_size=25),
        st.booleans(),
        st.integers(0, 2**16),
    )
    def holds(seconds: int, happened: list[tuple[str, Any]], faults: list[Fault], calm: bool, seed: int) -> None:
        async def run() -> None:
            world = World(FakeClock(), faults)
            living = Living(world, *controllers(kind), seed=seed)
            world.create(kind, workload(kind, minReadySeconds=seconds))
            await living.live(acting(kind), happened, calm=calm)
            check_final(world, kind)

        asyncio.run(run())

    holds()


@settings(max_examples=30)
@given(
    st.sampled_from([(1, 0), (0, 1), (2, 2), ("50%", "25%")]),
    st.lists(st.sampled_from(Fault), max_size=25),
    st.lists(st.integers(0, 3), max_size=20),
)
def test_an_update_keeps_its_bounds(limits: tuple[Any, Any], faults: list[Fault], steps: list[int]) -> None:
    surge, unavailable = limits
    most = 4 + (surge if isinstance(surge, int) else 2)
    least = 4 - (unavailable if isinstance(unavailable, int) else 1)

    async def run() -> None:
        world = World(FakeClock())
        living = Living(world, *controllers(DEPLOYMENT))
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
        world.create(DEPLOYMENT, workload(DEPLOYMENT, 4, strategy=rolling))
        await living.start()
        await living.settle()
        world.faults = iter(faults)
        keeps_bounds(world, least, most)
        await act(living, DEPLOYMENT, "image", "b")
        for step in steps:
            await act(living, DEPLOYMENT, "pods", step)
        await living.settle()
        await living.stop()
        check_final(world, DEPLOYMENT)

    asyncio.run(run())


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
def test_it_may_be_interrupted_at_every_write(fault: Fault) -> None:
    async def live(world: World) -> None:
        world.create(DEPLOYMENT, workload(DEPLOYMENT, revisionHistoryLimit=1))
        happens = [("pods", 9), ("pods", 9), ("image", "b"), ("pods", 9), ("scale", 5), ("image", "a")]
        await Living(world, *controllers(DEPLOYMENT)).live(acting(DEPLOYMENT), happens)
        check_final(world, DEPLOYMENT)

    assert interrupted(fault, live) > 15
