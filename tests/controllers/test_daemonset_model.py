"""DaemonSets through random histories: whatever happens in which order, every node has the pod that it should have."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import CONTROLLER_REVISION, DAEMON_SET, NODE, POD
from hawser.api.status import is_ready
from hawser.controllers import history, pods
from hawser.controllers.daemonset import DaemonSetController

from .living import FakeClock, Living, interrupted
from .objects import Obj
from .world import Fault, World

TAINT = {"key": "example.test/keep-off", "effect": "NoSchedule"}
EVICTING = {"key": "example.test/keep-off", "effect": "NoExecute"}


def daemon_set(image: str = "a", **rolling: Any) -> Obj:
    return {
        "metadata": {"name": "agent"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
        },
    }


def keeps_up(world: World, least: int) -> None:
    """At least so many nodes have a ready pod that is not on its way out."""

    def check(verb: str, obj: Obj) -> None:
        up = {
            pod["spec"].get("nodeName") for pod in world.objects(POD) if is_ready(pod) and not pods.is_terminating(pod)
        }
        assert verb != "DELETE" or len(up) >= least, f"only {sorted(up)} are left"

    world.on_write = check


def check_final(world: World) -> None:
    ds = world.find(DAEMON_SET, "agent")
    if ds is None:
        assert world.objects(POD) == []
        return
    nodes = {node["metadata"]["name"]: node["spec"].get("taints") for node in world.objects(NODE)}
    found: dict[str, list[Obj]] = {}
    for pod in world.objects(POD):
        found.setdefault(pod["spec"]["nodeName"], []).append(pod)
    assert all(len(listed) == 1 for listed in found.values()), "one pod a node"
    free = {name for name, taints in nodes.items() if not taints}
    kept = {name for name, taints in nodes.items() if taints == [TAINT]}
    assert free <= found.keys() <= free | kept
    newest = max(world.objects(CONTROLLER_REVISION), key=lambda r: r["revision"])
    digest = newest["metadata"]["labels"][history.LABEL]
    for name in free:
        (pod,) = found[name]
        assert pod["spec"]["containers"] == ds["spec"]["template"]["spec"]["containers"]
        assert pod["metadata"]["labels"][history.LABEL] == digest
    status, many = ds["status"], len(free)
    for count in ("desiredNumberScheduled", "currentNumberScheduled", "numberReady"):
        assert status[count] == many
    assert status.get("updatedNumberScheduled", 0) == status.get("numberAvailable", 0) == many
    assert status["numberMisscheduled"] == len(found.keys() & kept)
    assert status["observedGeneration"] == ds["metadata"]["generation"]
    assert len(world.objects(CONTROLLER_REVISION)) - 1 <= ds["spec"]["revisionHistoryLimit"]


ACTIONS = st.one_of(
    st.tuples(st.just("image"), st.sampled_from("abc")),
    st.tuples(st.just("rolling"), st.sampled_from([(0, 1), (0, 2), (1, 0), ("50%", 0)])),
    st.tuples(st.sampled_from(["taint", "evict", "clear"]), st.integers(0, 4)),
    st.tuples(st.sampled_from(["pods", "fail", "delete pod", "lose node", "deliver"]), st.integers(0, 6)),
    st.tuples(st.sampled_from(["wait", "restart", "stale", "expire"]), st.integers(1, 40)),
    st.tuples(st.just("history"), st.integers(0, 2)),
    st.tuples(st.just("delete set"), st.just(0)),
)


async def act(living: Living, what: str, value: Any) -> None:
    world = living.world
    changes = {
        "image": lambda new: new["spec"]["template"]["spec"]["containers"][0].update(image=value),
        "rolling": lambda new: new["spec"]["updateStrategy"].update(
            rollingUpdate={"maxSurge": value[0], "maxUnavailable": value[1]}
        ),
        "history": lambda new: new["spec"].update(revisionHistoryLimit=value),
    }
    if what in changes:
        living.change(DAEMON_SET, "agent", changes[what])
    elif what in ("taint", "evict", "clear"):
        taints = {"taint": [TAINT], "evict": [EVICTING], "clear": None}[what]
        nodes = world.objects(NODE)
        world.change(NODE, nodes[value % len(nodes)]["metadata"]["name"], lambda new: new["spec"].update(taints=taints))
    elif what == "delete set":
        living.delete(DAEMON_SET, "agent")
    else:
        await living.happens(what, value)
    await living.turn()


@settings(max_examples=60)
@given(
    st.sampled_from([(0, 1), (1, 0)]),
    st.lists(ACTIONS, max_size=12),
    st.lists(st.sampled_from(Fault), max_size=25),
    st.booleans(),
    st.integers(0, 2**16),
)
def test_any_history_ends_as_the_spec_says(
    limits: tuple[int, int], happened: list[tuple[str, Any]], faults: list[Fault], calm: bool, seed: int
) -> None:
    async def run() -> None:
        world = World(FakeClock(), faults)
        living = Living(world, DaemonSetController, seed=seed)
        world.create(DAEMON_SET, daemon_set(maxSurge=limits[0], maxUnavailable=limits[1]))
        await living.live(act, happened, calm=calm)
        check_final(world)

    asyncio.run(run())


@settings(max_examples=25)
@given(
    st.sampled_from([(0, 1, 4), (0, 2, 3), (1, 0, 5), ("40%", 0, 5), (0, "40%", 3)]),
    st.lists(st.sampled_from(Fault), max_size=25),
    st.lists(st.integers(0, 3), max_size=20),
)
def test_an_update_keeps_its_bounds(limits: tuple[Any, Any, int], faults: list[Fault], steps: list[int]) -> None:
    surge, unavailable, least = limits

    async def run() -> None:
        world = World(FakeClock())
        living = Living(world, DaemonSetController, nodes=5)
        world.create(DAEMON_SET, daemon_set(maxSurge=surge, maxUnavailable=unavailable))
        await living.start()
        await living.settle()
        world.faults = iter(faults)
        keeps_up(world, least)
        await act(living, "image", "b")
        for step in steps:
            await act(living, "pods", step)
        await living.settle()
        await living.stop()
        check_final(world)

    asyncio.run(run())


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
def test_it_may_be_interrupted_at_every_write(fault: Fault) -> None:
    async def live(world: World) -> None:
        world.create(DAEMON_SET, daemon_set(maxSurge=0, maxUnavailable=1))
        happens = [("pods", 9), ("pods", 9), ("image", "b"), ("pods", 9), ("taint", 1), ("evict", 2)]
        await Living(world, DaemonSetController).live(act, happens)
        check_final(world)

    assert interrupted(fault, live) > 10


def test_a_pod_that_becomes_available_while_the_status_is_written_is_not_forgotten() -> None:
    async def run() -> None:
        world = World(FakeClock())
        living = Living(world, DaemonSetController, nodes=1)

        def takes_its_time(verb: str, obj: Obj) -> None:
            if obj["kind"] == "DaemonSet" and obj["status"]["numberReady"]:
                living.clock.advance(2)

        world.on_write = takes_its_time
        made = daemon_set()
        made["spec"]["minReadySeconds"] = 1
        world.create(DAEMON_SET, made)
        await living.start()
        for _ in range(2):
            await living.turn()
            living.run_pods()
        # The answer to its own write comes before the watch tells of it.
        world.stale = True
        await living.turn()
        (ds,) = world.objects(DAEMON_SET)
        assert (ds["status"]["numberReady"], ds["status"].get("numberAvailable", 0)) == (1, 0)
        await living.settle()
        check_final(world)
        await living.stop()

    asyncio.run(run())
