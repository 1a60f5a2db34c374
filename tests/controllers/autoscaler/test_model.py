"""Autoscalers through random histories: a steady load ends with the replicas that carry it, within what is allowed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import HORIZONTAL_POD_AUTOSCALER, POD, REPLICA_SET
from hawser.apiserver.paths import Target
from hawser.client.clock import timestamp
from hawser.controllers.autoscaler.controller import AutoscalerController
from hawser.controllers.pods import is_active
from hawser.controllers.replicaset import ReplicaSetController

from ..living import FakeClock, Living, interrupted
from ..objects import Obj
from ..world import Fault, World

REQUEST, TARGET = 100, 50
"""Milli-CPUs that a pod asks for, and the per cent of them that it is to use."""
BOUNDS = [(1, 10), (2, 4), (5, 6), (3, 3)]


class Metered(World):
    """Its pods share a load, in milli-CPUs, that a metrics API tells of unless it is dark."""

    load = 100
    dark = False

    def listing(self, target: Target) -> Obj:
        if target.group != "metrics.k8s.io":
            return super().listing(target)
        names = [] if self.dark else [pod["metadata"]["name"] for pod in self.working()]
        used = f"{self.load // max(len(names), 1)}m"
        items = [
            {
                "metadata": {"name": name, "namespace": target.namespace},
                "timestamp": timestamp(self.clock.now()),
                "window": "1s",
                "containers": [{"name": "main", "usage": {"cpu": used}}],
            }
            for name in names
        ]
        return {"items": items, "metadata": {}}

    def _changed(self, target: Target, method: str, body: Obj, content_type: str, old: Obj) -> Obj:
        """At every change of the replicas: what was allowed at some time, and not more than a step up."""
        new = super()._changed(target, method, body, content_type, old)
        if target.subresource == "scale":
            before, after = old["spec"]["replicas"], new["spec"]["replicas"]
            try:
                assert any(least <= after <= most for least, most in BOUNDS), f"{after} are not allowed"
                assert after <= max(2 * before, before + 4, 5), f"from {before} to {after}"
            except AssertionError as error:
                self.broken.append(error)
        return new

    def working(self) -> list[Obj]:
        return [pod for pod in self.objects(POD) if pod["status"].get("phase") == "Running" and is_active(pod)]


class Scaled(Living):
    """Waits for longer than replicas are kept after a load."""

    rest = 14

    def __init__(self, world: World, *, seed: int = 0) -> None:
        super().__init__(world, AutoscalerController, ReplicaSetController, seed=seed)

    def _running(self) -> Obj:
        return {**super()._running(), "startTime": timestamp(self.clock.now())}


def autoscaler(least: int, most: int) -> Obj:
    metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": TARGET}}
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"}
    spec = {"minReplicas": least, "maxReplicas": most, "metrics": [{"type": "Resource", "resource": metric}]}
    return {"metadata": {"name": "web"}, "spec": {"scaleTargetRef": reference, **spec}}


def replica_set(replicas: int) -> Obj:
    labels = {"app": "web"}
    container = {"name": "main", "image": "a", "resources": {"requests": {"cpu": f"{REQUEST}m"}}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": "web"}, "spec": spec}


ACTIONS = st.one_of(
    st.tuples(st.just("load"), st.integers(0, 700)),
    st.tuples(st.just("dark"), st.booleans()),
    st.tuples(st.just("bounds"), st.sampled_from(BOUNDS)),
    st.tuples(st.just("scale"), st.integers(0, 12)),
    st.tuples(st.sampled_from(["drop", "make"]), st.sampled_from(["autoscaler", "target"])),
    st.tuples(st.sampled_from(["pods", "fail", "delete pod", "lose node", "deliver"]), st.integers(0, 6)),
    st.tuples(st.sampled_from(["wait", "restart", "stale"]), st.sampled_from([1, 15, 60, 400])),
)


async def act(living: Living, what: str, value: Any) -> None:
    world = living.world
    assert isinstance(world, Metered)
    match what:
        case "load":
            world.load = value
        case "dark":
            world.dark = value
        case "bounds":
            made = {"minReplicas": value[0], "maxReplicas": value[1]}
            living.change(HORIZONTAL_POD_AUTOSCALER, "web", lambda new: new["spec"].update(made))
        case "scale":
            living.change(REPLICA_SET, "web", lambda new: new["spec"].update(replicas=value))
        case "drop":
            living.delete(HORIZONTAL_POD_AUTOSCALER if value == "autoscaler" else REPLICA_SET, "web")
        case "make" if value == "autoscaler" and world.find(HORIZONTAL_POD_AUTOSCALER, "web") is None:
            world.create(HORIZONTAL_POD_AUTOSCALER, autoscaler(1, 10))
        case "make" if value == "target" and world.find(REPLICA_SET, "web") is None:
            world.create(REPLICA_SET, replica_set(2))
        case "make":
            pass
        case _:
            await living.happens(what, value)
    await living.turn()


def check_final(world: Metered) -> None:
    found, target = world.find(HORIZONTAL_POD_AUTOSCALER, "web"), world.find(REPLICA_SET, "web")
    if found is None:
        return
    told = {c["type"]: (c["status"], c["reason"]) for c in found["status"]["conditions"]}
    if target is None:
        assert told["AbleToScale"] == ("False", "FailedGetScale")
        return
    size, (least, most) = target["spec"]["replicas"], (found["spec"]["minReplicas"], found["spec"]["maxReplicas"])
    assert len(world.working()) == size
    assert found["status"]["currentReplicas"] == size
    if size == 0:
        assert told["ScalingActive"] == ("False", "ScalingDisabled")
        return
    assert least <= size <= most
    if world.dark:
        assert told["ScalingActive"] == ("False", "FailedGetResourceMetric")
        return
    assert told["ScalingActive"] == ("True", "ValidMetricFound")
    assert told["AbleToScale"][0] == "True" and found["status"]["desiredReplicas"] == size
    used = world.load // size * 100 // REQUEST
    (metric,) = found["status"]["currentMetrics"]
    assert metric["resource"]["current"]["averageUtilization"] == used
    if used > TARGET * 1.1:
        assert size == most and told["ScalingLimited"] == ("True", "TooManyReplicas")
    elif used < TARGET * 0.9:
        # One replica less must not be enough.
        assert size == least or -(-used * size // TARGET) == size


async def live(world: World, history: list[tuple[str, Any]], *, seed: int = 0) -> None:
    assert isinstance(world, Metered)
    world.create(REPLICA_SET, replica_set(2))
    world.create(HORIZONTAL_POD_AUTOSCALER, autoscaler(1, 10))
    await Scaled(world, seed=seed).live(act, history)
    check_final(world)


@settings(max_examples=50)
@given(st.lists(ACTIONS, max_size=14), st.lists(st.sampled_from(Fault), max_size=20), st.integers(0, 2**16))
def test_any_history_ends_with_what_carries_the_load(
    history: list[tuple[str, Any]], faults: list[Fault], seed: int
) -> None:
    asyncio.run(live(Metered(FakeClock(), faults), history, seed=seed))


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
def test_it_may_be_interrupted_at_every_write(fault: Fault) -> None:
    history: list[tuple[str, Any]] = [("pods", 9), ("pods", 9), ("load", 400), ("wait", 15), ("pods", 9), ("load", 60)]

    async def all_of_it(world: World) -> None:
        await live(world, history)
        target = world.find(REPLICA_SET, "web")
        assert target is not None and target["spec"]["replicas"] == 2

    assert interrupted(fault, all_of_it, Metered) > 10
