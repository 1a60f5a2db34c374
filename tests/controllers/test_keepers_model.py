"""Small controllers through random histories: accounts come back, what is used stays, finished Jobs go in time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import CLUSTER_ROLE, JOB, NAMESPACE, PERSISTENT_VOLUME_CLAIM, POD, SERVICE_ACCOUNT
from hawser.client.clock import timestamp
from hawser.controllers.clusterrole_aggregation import ClusterRoleAggregationController
from hawser.controllers.serviceaccount import ServiceAccountController
from hawser.controllers.storage_protection import ClaimProtection
from hawser.controllers.ttl_after_finished import TTLAfterFinishedController, expires_in

from .living import FakeClock, Living, interrupted
from .objects import Obj
from .world import Fault, World

CONTROLLERS = (
    ServiceAccountController,
    ClaimProtection,
    TTLAfterFinishedController,
    ClusterRoleAggregationController,
)
PROTECTION = "kubernetes.io/pvc-protection"


def user_of(claim: str, name: str) -> Obj:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "a"}], "volumes": volumes}}


def users(world: World, claim: str) -> list[str]:
    """The pods on nodes that have a claim."""
    return [
        pod["metadata"]["name"]
        for pod in world.objects(POD)
        if pod["spec"].get("nodeName")
        and pod["status"].get("phase") != "Failed"
        and pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim
    ]


def role(name: str, verbs: list[str]) -> Obj:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}] if verbs else []
    return {"metadata": {"name": name, "labels": {"part": "yes"}}, "rules": rules}


NUMBERS = st.integers(0, 2)
ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["space", "no space", "no account", "claim", "no claim", "no role"]), NUMBERS),
    st.tuples(st.just("use"), NUMBERS),
    st.tuples(st.just("job"), st.tuples(NUMBERS, st.sampled_from([0, 50, 90]))),
    st.tuples(st.sampled_from(["ends", "longer"]), NUMBERS),
    st.tuples(st.just("role"), st.tuples(NUMBERS, st.lists(st.sampled_from(["get", "list"]), unique=True))),
    st.tuples(st.sampled_from(["pods", "fail", "delete pod", "deliver"]), st.integers(0, 4)),
    st.tuples(st.sampled_from(["wait", "restart", "stale", "expire"]), st.integers(1, 60)),
)


async def act(living: Living, what: str, value: Any) -> None:
    world = living.world

    def missing(kind: Any, name: str) -> bool:
        return world.find(kind, name) is None

    match what:
        case "space" if missing(NAMESPACE, f"s{value}"):
            world.create(NAMESPACE, {"metadata": {"name": f"s{value}"}})
        case "no space" if not missing(NAMESPACE, f"s{value}"):
            world.remove(NAMESPACE, f"s{value}")
            if world.find(SERVICE_ACCOUNT, "default", f"s{value}"):
                world.remove(SERVICE_ACCOUNT, "default", f"s{value}")
        case "no account" if world.find(SERVICE_ACCOUNT, "default", f"s{value}"):
            world.delete(SERVICE_ACCOUNT, "default", f"s{value}")
        case "claim" if missing(PERSISTENT_VOLUME_CLAIM, f"c{value}"):
            spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
            world.create(PERSISTENT_VOLUME_CLAIM, {"metadata": {"name": f"c{value}"}, "spec": spec})
        case "no claim" if not missing(PERSISTENT_VOLUME_CLAIM, f"c{value}"):
            world.delete(PERSISTENT_VOLUME_CLAIM, f"c{value}")
        case "use":
            world.create(POD, user_of(f"c{value}", f"p{world.revision}"))
        case "job" if missing(JOB, f"j{value[0]}"):
            spec = {"ttlSecondsAfterFinished": value[1], "template": {"spec": {"containers": []}}}
            world.create(JOB, {"metadata": {"name": f"j{value[0]}"}, "spec": spec})
        case "ends":
            now = timestamp(world.clock.now())
            ended = {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": now}]}
            living.change(JOB, f"j{value}", lambda new: new["status"] or new.update(status=ended))
        case "longer":
            living.change(JOB, f"j{value}", lambda new: new["spec"].update(ttlSecondsAfterFinished=100))
        case "role":
            name = f"r{value[0]}"
            if missing(CLUSTER_ROLE, name):
                world.create(CLUSTER_ROLE, role(name, value[1]))
            else:
                living.change(CLUSTER_ROLE, name, lambda new: new.update(rules=role(name, value[1])["rules"]))
        case "no role" if not missing(CLUSTER_ROLE, f"r{value}"):
            world.delete(CLUSTER_ROLE, f"r{value}")
        case "pods" | "fail" | "delete pod" | "deliver" | "wait" | "restart" | "stale":
            await living.happens(what, value)
    await living.turn()


def keeps_its_word(world: World) -> None:
    """At every write: no claim goes that a pod has, and no Job before its time."""

    def check(verb: str, obj: Obj) -> None:
        name = obj["metadata"]["name"]
        if obj["kind"] == "PersistentVolumeClaim" and world.find(PERSISTENT_VOLUME_CLAIM, name) is None:
            assert users(world, name) == [], "it is used"
        if verb == "DELETE" and obj["kind"] == "Job":
            whole = {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "deletionTimestamp"}}
            assert expires_in(whole, world.clock.now()) == 0, "it goes too soon"

    world.on_write = check


def check_final(world: World) -> None:
    spaces = {space["metadata"]["name"] for space in world.objects(NAMESPACE)}
    accounts = [(a["metadata"]["namespace"], a["metadata"]["name"]) for a in world.objects(SERVICE_ACCOUNT)]
    assert sorted(accounts) == [(space, "default") for space in sorted(spaces)]
    for claim in world.objects(PERSISTENT_VOLUME_CLAIM):
        metadata = claim["metadata"]
        assert metadata["finalizers"] == [PROTECTION]
        assert "deletionTimestamp" not in metadata or users(world, metadata["name"]), "nobody uses it"
    for job in world.objects(JOB):
        done = bool(job["status"].get("conditions"))
        assert not done or "deletionTimestamp" in job["metadata"], "its time is over"
    every = world.find(CLUSTER_ROLE, "all")
    assert every is not None
    parts = [r for r in world.objects(CLUSTER_ROLE) if (r["metadata"].get("labels") or {}).get("part")]
    wanted = {tuple(rule["verbs"]) for part in parts for rule in part["rules"]}
    assert {tuple(rule["verbs"]) for rule in every.get("rules") or ()} == wanted


async def live(world: World, history: list[tuple[str, Any]], seed: int = 0) -> None:
    rule = {"clusterRoleSelectors": [{"matchLabels": {"part": "yes"}}]}
    world.create(CLUSTER_ROLE, {"metadata": {"name": "all"}, "aggregationRule": rule, "rules": []})
    keeps_its_word(world)
    await Living(world, *CONTROLLERS, nodes=1, seed=seed).live(act, history)
    check_final(world)


@settings(max_examples=60)
@given(st.lists(ACTIONS, max_size=16), st.lists(st.sampled_from(Fault), max_size=20), st.integers(0, 2**16))
def test_any_history_ends_as_it_should(history: list[tuple[str, Any]], faults: list[Fault], seed: int) -> None:
    asyncio.run(live(World(FakeClock(), faults), history, seed))


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
def test_they_may_be_interrupted_at_every_write(fault: Fault) -> None:
    history: list[tuple[str, Any]] = [
        *(("space", 0), ("no account", 0), ("claim", 1), ("use", 1), ("pods", 9), ("no claim", 1), ("pods", 9)),
        *(("job", (0, 50)), ("ends", 0), ("wait", 60), ("role", (0, ["get"])), ("no role", 0), ("delete pod", 0)),
    ]
    assert interrupted(fault, lambda world: live(world, history)) > 6
