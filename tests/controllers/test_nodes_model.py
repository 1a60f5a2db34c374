"""Nodes that fall silent, come back and go, through random histories: who lives is used, and nobody is there twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import NODE, POD, REPLICA_SET, STATEFUL_SET
from hawser.api.status import condition, has_ended, is_ready
from hawser.client.clock import timestamp
from hawser.controllers.node_lifecycle import NodeLifecycleController
from hawser.controllers.pod_garbage import PodGarbageCollector
from hawser.controllers.pods import is_active
from hawser.controllers.replicaset import ReplicaSetController
from hawser.controllers.statefulset import StatefulSetController
from hawser.controllers.taint_eviction import TaintEvictionController

from .living import FakeClock, Living, interrupted
from .objects import Obj
from .world import Fault, World

UNREACHABLE = "node.kubernetes.io/unreachable"


class Collector(PodGarbageCollector):
    """Looks whenever it is its turn, and not by a clock that stands still."""

    workers = 1

    async def run(self) -> None:
        self._pods.on_change(lambda old, new: self.queue.add("all"))
        self._nodes.on_change(lambda old, new: self.queue.add("all"))

    async def reconcile(self, key: str) -> float | None:
        await self.collect()
        return None


CONTROLLERS = (
    NodeLifecycleController,
    TaintEvictionController,
    Collector,
    ReplicaSetController,
    StatefulSetController,
)


class Cluster(Living):
    """Five nodes that give signs of life, but for silent ones: on these nothing starts, and nothing ends."""

    def __init__(self, world: World, *, seed: int = 0) -> None:
        self.silent: set[str] = set()
        super().__init__(world, *CONTROLLERS, nodes=5, seed=seed)

    def add_node(self, name: str, **spec: object) -> None:
        super().add_node(name, **spec)
        self._beat(name)

    def _beat(self, name: str) -> None:
        now = timestamp(self.clock.now())
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}
        self.world.change(NODE, name, lambda new: new.update(status={"conditions": [ready]}))

    async def turn(self) -> None:
        for node in self.world.objects(NODE):
            if node["metadata"]["name"] not in self.silent:
                self._beat(node["metadata"]["name"])
        await super().turn()

    def run_pods(self, how_many: int = 10**6) -> bool:
        for pod in self.world.objects(POD):
            # A node that is heard again tells that its pods are ready.
            if pod["spec"].get("nodeName") not in self.silent and _is_running(pod) and not is_ready(pod):
                self.world.change(POD, pod["metadata"]["name"], lambda new: new.update(status=self._running()))
        return super().run_pods(how_many)

    def _step(self, pod: Obj) -> bool:
        return pod["spec"].get("nodeName") not in self.silent and self._is_there(pod) and super()._step(pod)

    def _is_there(self, pod: Obj) -> bool:
        node = pod["spec"].get("nodeName")
        return not node or self.world.find(NODE, node) is not None

    def _takes(self, node: Obj, pod: Obj) -> bool:
        return not node["spec"].get("taints") and super()._takes(node, pod)

    async def settle(self) -> None:
        # A world with heartbeats never rests: enough time for graces, tolerations and quarantines goes by instead.
        self.world.stale = False
        self.world.faults = iter(())
        for _ in range(16):
            self.world.deliver()
            await self.turn()
            self.run_pods()
            self.clock.advance(20)
        self.world.deliver()
        await self.turn()
        if self.world.broken:
            raise self.world.broken[0]


def _is_running(pod: Obj) -> bool:
    return pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")


def begin(world: World) -> None:
    leaves = [{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}]
    for kind, name in ((REPLICA_SET, "web"), (STATEFUL_SET, "db")):
        template = {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "main", "image": "a"}], "tolerations": leaves},
        }
        spec = {"replicas": 3, "selector": {"matchLabels": {"app": name}}, "template": template, "serviceName": name}
        world.create(kind, {"metadata": {"name": name}, "spec": {**spec, "podManagementPolicy": "Parallel"}})

    def no_twins(verb: str, obj: Obj) -> None:
        names = [p["metadata"]["name"] for p in world.objects(POD) if p["metadata"]["name"].startswith("db-")]
        assert len(names) == len(set(names)) <= 3, "a member twice"

    world.on_write = no_twins


ACTIONS = st.one_of(
    st.tuples(st.just("silence"), st.integers(1, 4)),
    st.tuples(st.sampled_from(["hear", "remove"]), st.integers(0, 3)),
    st.tuples(st.sampled_from(["pods", "fail", "delete pod", "deliver"]), st.integers(0, 6)),
    st.tuples(st.just("wait"), st.sampled_from([5, 20, 40, 60])),
    st.tuples(st.sampled_from(["restart", "stale", "expire"]), st.integers(1, 40)),
)


async def act(living: Living, what: str, value: Any) -> None:
    assert isinstance(living, Cluster)
    world, listed = living.world, sorted(living.silent)
    match what:
        # Two of five at most, and no more when nodes are gone: else a zone fails, and nobody is evicted.
        case "silence" if len(listed) < 2 and len(world.objects(NODE)) == 5:
            living.silent.add(f"n{value}")
        case "hear" if listed:
            living.silent.discard(listed[value % len(listed)])
        case "remove" if listed:
            # Its machine is gone for good, and somebody says so.
            name = listed[value % len(listed)]
            if world.find(NODE, name) is not None:
                world.remove(NODE, name)
        case "silence" | "hear" | "remove":
            pass
        case _:
            await living.happens(what, value)
    await living.turn()


def check_final(living: Cluster) -> None:
    world = living.world
    pods = world.objects(POD)
    for node in world.objects(NODE):
        name = node["metadata"]["name"]
        effects = {t["effect"] for t in node["spec"].get("taints") or () if t["key"] == UNREACHABLE}
        ready = condition(node, "Ready")
        assert ready is not None
        if name in living.silent:
            assert (ready["status"], effects) == ("Unknown", {"NoSchedule", "NoExecute"})
            left = [p for p in pods if p["spec"].get("nodeName") == name and not has_ended(p)]
            assert all("deletionTimestamp" in p["metadata"] and not is_ready(p) for p in left)
        else:
            assert (ready["status"], effects) == ("True", set())
    there = {node["metadata"]["name"] for node in world.objects(NODE)}
    assert {p["spec"]["nodeName"] for p in pods} <= there, "what is left of lost nodes goes"
    assert sum(is_active(p) for p in pods if p["metadata"]["labels"]["app"] == "web") == 3
    members = {p["metadata"]["name"]: p for p in pods if p["metadata"]["labels"]["app"] == "db"}
    assert members.keys() == {"db-0", "db-1", "db-2"}
    for member in members.values():
        assert is_ready(member) or member["spec"]["nodeName"] in living.silent


async def live(world: World, history: list[tuple[str, Any]], *, seed: int = 0) -> None:
    begin(world)
    living = Cluster(world, seed=seed)
    await living.live(act, history)
    check_final(living)


@settings(max_examples=25)
@given(st.lists(ACTIONS, max_size=12), st.lists(st.sampled_from(Fault), max_size=25), st.integers(0, 2**16))
def test_pods_end_up_on_nodes_that_live(history: list[tuple[str, Any]], faults: list[Fault], seed: int) -> None:
    asyncio.run(live(World(FakeClock(), faults), history, seed=seed))


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
def test_it_may_be_interrupted_at_every_write(fault: Fault) -> None:
    history: list[tuple[str, Any]] = [("pods", 9), ("pods", 9), ("silence", 1), ("wait", 60), ("wait", 40), ("hear", 0)]
    assert interrupted(fault, lambda world: live(world, history)) > 10
