"""StatefulSets through random histories: whatever happens in which order, they come to what their spec says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import CONTROLLER_REVISION, PERSISTENT_VOLUME_CLAIM, POD, STATEFUL_SET
from hawser.api.status import is_ready
from hawser.controllers.statefulset import StatefulSetController

from .living import FakeClock, Living, interrupted
from .objects import Obj
from .world import Fault, World


def stateful_set(replicas: int = 3, image: str = "a", **spec: Any) -> Obj:
    return {
        "metadata": {"name": "db"},
        "spec": {
            "replicas": replicas,
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
            **spec,
        },
    }


def in_order(world: World) -> None:
    """What OrderedReady promises: a pod is made only when all before it are ready, and removed only as the last."""

    def check(verb: str, obj: Obj) -> None:
        if verb != "POST" or obj["kind"] != "Pod":
            return
        number = int(obj["metadata"]["name"].rpartition("-")[2])
        for below in range(number):
            pod = world.find(POD, f"db-{below}")
            assert pod is not None and is_ready(pod), f"db-{number} came before db-{below} was ready"

    world.on_write = check


def check_final(world: World, whole: bool = True) -> None:
    """whole: claims have always been deleted with their pods."""
    sts = world.find(STATEFUL_SET, "db")
    if sts is None:
        assert world.objects(POD) == []
        return
    spec, status = sts["spec"], sts["status"]
    start, size = (spec.get("ordinals") or {}).get("start", 0), spec["replicas"]
    found = {pod["metadata"]["name"]: pod for pod in world.objects(POD)}
    assert set(found) == {f"db-{n}" for n in range(start, start + size)}
    partition = spec["updateStrategy"]["rollingUpdate"]["partition"]
    wanted = spec["template"]["spec"]["containers"][0]["image"]
    for number in range(start + partition, start + size):
        assert found[f"db-{number}"]["spec"]["containers"][0]["image"] == wanted
    assert (status["replicas"], status.get("readyReplicas", 0), status["availableReplicas"]) == (size, size, size)
    assert status["observedGeneration"] == sts["metadata"]["generation"]
    newest = max(world.objects(CONTROLLER_REVISION), key=lambda r: r["revision"])
    assert status["updateRevision"] == newest["metadata"]["name"]
    if not partition:
        assert status["currentRevision"] == status["updateRevision"]
    unused = len(world.objects(CONTROLLER_REVISION)) - len({status["currentRevision"], status["updateRevision"]})
    assert unused <= spec["revisionHistoryLimit"]
    claims = {c["metadata"]["name"]: c for c in world.objects(PERSISTENT_VOLUME_CLAIM)}
    assert {f"data-db-{n}" for n in range(start, start + size)} <= set(claims)
    if whole and spec["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Delete":
        # A claim whose pod has never come to be goes with nobody, as in kube-controller-manager.
        lived = {f"data-{name}" for name in world.past(POD)}
        assert len(claims.keys() & lived) == size
    owners = {r["uid"] for c in claims.values() for r in c["metadata"].get("ownerReferences") or ()}
    assert owners <= {sts["metadata"]["uid"]}


ACTIONS = st.one_of(
    st.tuples(st.just("scale"), st.integers(0, 5)),
    st.tuples(st.just("image"), st.sampled_from("abc")),
    st.tuples(st.just("start"), st.integers(0, 2)),
    st.tuples(st.just("partition"), st.integers(0, 3)),
    st.tuples(st.just("unavailable"), st.sampled_from([1, 2, "50%"])),
    st.tuples(st.sampled_from(["pods", "fail", "delete pod", "lose node", "deliver"]), st.integers(0, 6)),
    st.tuples(st.sampled_from(["wait", "restart", "stale", "expire"]), st.integers(1, 40)),
    st.tuples(st.just("policy"), st.sampled_from(["Retain", "Delete"])),
    st.tuples(st.just("delete set"), st.just(0)),
)


async def act(living: Living, what: str, value: Any) -> None:
    changes = {
        "scale": lambda new: new["spec"].update(replicas=value),
        "image": lambda new: new["spec"]["template"]["spec"]["containers"][0].update(image=value),
        "start": lambda new: new["spec"].update(ordinals={"start": value}),
        "partition": lambda new: new["spec"]["updateStrategy"]["rollingUpdate"].update(partition=value),
        "unavailable": lambda new: new["spec"]["updateStrategy"]["rollingUpdate"].update(maxUnavailable=value),
        "policy": lambda new: new["spec"]["persistentVolumeClaimRetentionPolicy"].update(whenScaled=value),
    }
    if what in changes:
        living.change(STATEFUL_SET, "db", changes[what])
    elif what == "delete set":
        living.delete(STATEFUL_SET, "db")
    else:
        await living.happens(what, value)
    await living.turn()


@settings(max_examples=60)
@given(
    st.sampled_from(["OrderedReady", "Parallel"]),
    st.sampled_from(["Retain", "Delete"]),
    st.integers(0, 20),
    st.lists(ACTIONS, max_size=12),
    st.lists(st.sampled_from(Fault), max_size=25),
    st.booleans(),
    st.integers(0, 2**16),
)
def test_any_history_ends_as_the_spec_says(
    policy: str,
    claims: str,
    seconds: int,
    history: list[tuple[str, Any]],
    faults: list[Fault],
    calm: bool,
    seed: int,
) -> None:
    async def run() -> None:
        world = World(FakeClock(), faults)
        living = Living(world, StatefulSetController, seed=seed)
        world.create(
            STATEFUL_SET,
            stateful_set(
                podManagementPolicy=policy,
                minReadySeconds=seconds,
                persistentVolumeClaimRetentionPolicy={"whenScaled": claims, "whenDeleted": "Delete"},
            ),
        )
        if policy == "OrderedReady" and not any(what in ("start", "stale", "restart") for what, _ in history):
            in_order(world)
        await living.live(act, history, calm=calm)
        check_final(world, whole=not any(what == "policy" for what, _ in history))

    asyncio.run(run())


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
def test_it_may_be_interrupted_at_every_write(policy: str, fault: Fault) -> None:
    async def live(world: World) -> None:
        retention = {"whenScaled": "Delete", "whenDeleted": "Delete"}
        made = stateful_set(podManagementPolicy=policy, persistentVolumeClaimRetentionPolicy=retention)
        world.create(STATEFUL_SET, made)
        happens = [("pods", 9), ("pods", 9), ("pods", 9), ("image", "b"), ("pods", 9), ("scale", 1)]
        await Living(world, StatefulSetController).live(act, happens)
        check_final(world)

    assert interrupted(fault, live) > 10
