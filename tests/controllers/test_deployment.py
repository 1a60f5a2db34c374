"""Deployment: rollouts keep their promises whatever happens in which order."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.controllers import deployment_status, rollout
from hawser.controllers.deployment_plan import HASH_LABEL, REVISION, Plan, plan, replica_set

from .objects import Obj, deployment, meta

NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)


class World:
    """ReplicaSets and their pods as counts: applies plans, lets pods start and stop in any order."""

    def __init__(self, deployment: Obj) -> None:
        self.deployment = deployment
        self.sets: dict[str, Obj] = {}
        self.pods: dict[str, list[bool]] = {}

    def reconcile(self) -> Plan:
        owned = list(self.sets.values())
        todo = plan(copy.deepcopy(self.deployment), copy.deepcopy(owned), 0)
        if todo.create is not None:
            made = copy.deepcopy(todo.create)
            made["metadata"] |= {k: v for k, v in meta("x").items() if k not in made["metadata"]}
            made["status"] = {"replicas": 0}
            self.sets[made["metadata"]["name"]] = made
            self.pods[made["metadata"]["name"]] = []
        if todo.update is not None:
            assert todo.new is not None
            mine = self.sets[todo.new["metadata"]["name"]]
            mine["metadata"].setdefault("annotations", {}).update(
                todo.update.get("metadata", {}).get("annotations", {})
            )
            mine["spec"].update(todo.update.get("spec", {}))
        bounds = rollout.limits(self.deployment)
        for scale in todo.scale:
            mine = self.sets[scale.rs["metadata"]["name"]]
            mine["spec"]["replicas"] = scale.replicas
            mine["metadata"].setdefault("annotations", {}).update(rollout.sizes_annotations(bounds))
        for rs in todo.delete:
            del self.sets[rs["metadata"]["name"]], self.pods[rs["metadata"]["name"]]
        return todo

    def sync_pods(self) -> None:
        """What the ReplicaSet controller does: unready pods go first, new ones start unready."""
        for name, rs in self.sets.items():
            mine = sorted(self.pods[name], reverse=True)
            size = rs["spec"]["replicas"]
            self.pods[name] = mine[:size] + [False] * (size - len(mine))
            rs["status"] = {"replicas": size, "availableReplicas": sum(self.pods[name]), "observedGeneration": 1}

    def become_ready(self, name: str, how_many: int) -> None:
        mine = self.pods[name]
        for index, ready in enumerate(mine):
            if not ready and how_many:
                mine[index] = True
                how_many -= 1
        self.sets[name]["status"]["availableReplicas"] = sum(mine)

    @property
    def total(self) -> int:
        return sum(rs["spec"]["replicas"] for rs in self.sets.values())

    @property
    def available(self) -> int:
        return sum(sum(p) for p in self.pods.values())

    def settle(self) -> None:
        for _ in range(200):
            before = copy.deepcopy((self.sets, self.pods))
            self.reconcile()
            self.sync_pods()
            for name in self.sets:
                self.become_ready(name, 10**6)
            if (self.sets, self.pods) == before:
                return
        raise AssertionError("the rollout does not end")


sizes = st.integers(1, 12)
amounts = st.one_of(st.integers(0, 4), st.integers(0, 100).map(lambda n: f"{n}%"))


@settings(max_examples=150, deadline=None)
@given(sizes, amounts, amounts, st.lists(st.integers(0, 3), max_size=40))
def test_a_rolling_update_keeps_its_bounds_and_ends(
    replicas: int, surge: int | str, unavailable: int | str, steps: list[int]
) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    world = World(deployment(replicas, "a", strategy=strategy))
    world.settle()
    assert world.available == replicas
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "b"
    bounds = rollout.limits(world.deployment)
    for ready in steps:
        world.reconcile()
        assert world.total <= bounds.most
        world.sync_pods()
        assert world.available >= bounds.least
        for name in world.sets:
            world.become_ready(name, ready)
    world.settle()
    assert world.available == world.total == replicas
    current = plan(world.deployment, list(world.sets.values()), 0).new
    assert current is not None
    assert current["spec"]["replicas"] == replicas


@settings(max_examples=80, deadline=None)
@given(sizes, sizes, st.integers(0, 6))
def test_scaling_in_the_middle_of_a_rollout_ends_right(first: int, second: int, steps: int) -> None:
    world = World(deployment(first, "a"))
    world.settle()
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "b"
    for _ in range(steps):
        world.reconcile()
        world.sync_pods()
        for name in world.sets:
            world.become_ready(name, 1)
    world.deployment["spec"]["replicas"] = second
    world.settle()
    assert world.available == world.total == second
    images = {
        rs["spec"]["template"]["spec"]["containers"][0]["image"] for rs in world.sets.values() if rs["spec"]["replicas"]
    }
    assert images == {"b"}


def test_undo_uses_the_old_replica_set_again_with_a_new_revision() -> None:
    world = World(deployment(2, "a"))
    world.settle()
    first = next(iter(world.sets))
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "b"
    world.settle()
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "a"
    world.settle()
    assert len(world.sets) == 2
    annotations = world.sets[first]["metadata"]["annotations"]
    assert annotations[REVISION] == "3"
    assert annotations["deployment.kubernetes.io/revision-history"] == "1"


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    world = World(deployment(2, "a"))
    world.settle()
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "b"
    world.deployment["spec"]["paused"] = True
    world.deployment["spec"]["replicas"] = 5
    world.settle()
    assert len(world.sets) == 1
    assert world.available == 5


def test_recreate_waits_for_the_last_old_pod() -> None:
    world = World(deployment(2, "a", strategy={"type": "Recreate"}))
    world.settle()
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "b"
    assert [s.replicas for s in world.reconcile().scale] == [0]
    world.sync_pods()
    owned = list(world.sets.values())
    assert plan(world.deployment, owned, 1).create is None
    made = plan(world.deployment, owned, 0).create
    assert made is not None
    assert made["spec"]["replicas"] == 2


def test_recreate_waits_for_old_pods_also_when_it_goes_back() -> None:
    world = World(deployment(2, "a", strategy={"type": "Recreate"}))
    world.settle()
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "b"
    world.settle()
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "a"
    world.reconcile()
    world.sync_pods()
    owned = list(world.sets.values())
    assert plan(world.deployment, owned, 1).scale == ()
    assert [s.replicas for s in plan(world.deployment, owned, 0).scale] == [2]


def test_min_ready_seconds_reach_the_new_replica_set() -> None:
    world = World(deployment(2))
    world.settle()
    world.deployment["spec"]["minReadySeconds"] = 30
    assert plan(world.deployment, list(world.sets.values()), 0).update == {"spec": {"minReadySeconds": 30}}
    world.settle()
    assert next(iter(world.sets.values()))["spec"]["minReadySeconds"] == 30


def test_a_revision_is_not_announced_before_its_replica_set_exists() -> None:
    world = World(deployment(2, "a"))
    world.settle()
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "b"
    world.deployment["spec"]["paused"] = True
    assert plan(world.deployment, list(world.sets.values()), 0).revision == ""


def test_history_of_very_many_rollbacks_is_cut_at_its_start() -> None:
    world = World(deployment(1, "a"))
    world.settle()
    rs = next(iter(world.sets.values()))
    rs["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] = ",".join(map(str, range(1000, 1400)))
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "b"
    world.settle()
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "a"
    world.settle()
    history = rs["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"]
    assert len(history) <= 2000
    assert history.endswith(",1399,1")


def test_a_status_older_than_the_size_does_not_cost_availability() -> None:
    """The old ReplicaSet was cut to 8 already, and its status still tells of 10."""
    world = World(deployment(10, "a"))
    world.settle()
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "b"
    world.reconcile()
    new, old = plan(world.deployment, list(world.sets.values()), 0).new, next(iter(world.sets.values()))
    assert new is not None
    old["spec"]["replicas"], old["status"] = 8, {"replicas": 10, "availableReplicas": 10}
    new["spec"]["replicas"], new["status"] = 3, {"replicas": 3, "availableReplicas": 3}
    bounds = rollout.limits(world.deployment)
    assert bounds.least == 8
    assert rollout.old_replicas(bounds, new, [old]) == {old["metadata"]["name"]: 5}


def test_no_history_goes_while_a_rollout_is_under_way() -> None:
    world = World(deployment(2, "v0", revisionHistoryLimit=0))
    world.settle()
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "v1"
    world.settle()
    assert len(world.sets) == 1
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "v2"
    for _ in range(5):
        assert world.reconcile().delete == ()
        world.sync_pods()


def test_old_replica_sets_beyond_the_limit_are_deleted() -> None:
    world = World(deployment(1, "v0", revisionHistoryLimit=2))
    for number in range(6):
        world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = f"v{number}"
        world.settle()
    assert len(world.sets) == 3


def test_a_new_replica_set_carries_hash_owner_and_revision() -> None:
    made = replica_set(deployment(3), 1, "1")
    digest = made["metadata"]["labels"][HASH_LABEL]
    assert made["metadata"]["name"] == f"web-{digest}"
    assert made["spec"]["selector"]["matchLabels"][HASH_LABEL] == digest
    assert made["spec"]["template"]["metadata"]["labels"][HASH_LABEL] == digest
    assert made["metadata"]["ownerReferences"][0]["kind"] == "Deployment"
    assert made["metadata"]["annotations"][REVISION] == "1"


def test_a_name_clash_changes_the_hash() -> None:
    wanted = deployment(1)
    first = replica_set(wanted, 1, "1")["metadata"]["name"]
    wanted["status"] = {"collisionCount": 1}
    assert replica_set(wanted, 1, "1")["metadata"]["name"] != first


def finished(world: World) -> tuple[Obj, list[Obj]]:
    todo = plan(world.deployment, list(world.sets.values()), 0)
    assert todo.new is not None
    for rs in world.sets.values():
        ready = rs["status"]["availableReplicas"]
        rs["status"] |= {"readyReplicas": ready}
    return world.sets[todo.new["metadata"]["name"]], [world.sets[o["metadata"]["name"]] for o in todo.old]


def conditions(status: Obj) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def test_status_tells_a_rollout_from_start_to_end() -> None:
    world = World(deployment(2))
    world.reconcile()
    new = next(iter(world.sets.values()))
    started = deployment_status.status(world.deployment, new, [], NOW, created=new["metadata"]["name"])
    assert conditions(started)["Progressing"] == ("True", "NewReplicaSetCreated")
    assert conditions(started)["Available"] == ("False", "MinimumReplicasUnavailable")
    assert started["unavailableReplicas"] == 2
    world.deployment["status"] = started
    world.settle()
    new, old = finished(world)
    ended = deployment_status.status(world.deployment, new, old, NOW)
    assert conditions(ended) == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    counts = {k: v for k, v in ended.items() if k.endswith("eplicas")}
    assert counts == {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    world.deployment["status"] = ended
    assert deployment_status.status(world.deployment, new, old, NOW + timedelta(hours=1)) == ended


def test_a_rollout_without_progress_times_out() -> None:
    world = World(deployment(2, progressDeadlineSeconds=60))
    world.reconcile()
    world.sync_pods()
    new = next(iter(world.sets.values()))
    world.deployment["status"] = deployment_status.status(world.deployment, new, [], NOW)
    left = deployment_status.deadline_in(world.deployment, NOW + timedelta(seconds=50))
    assert left == pytest.approx(10.1)
    late = deployment_status.status(world.deployment, new, [], NOW + timedelta(seconds=61))
    assert conditions(late)["Progressing"] == ("False", "ProgressDeadlineExceeded")
    world.deployment["status"] = late
    later = deployment_status.status(world.deployment, new, [], NOW + timedelta(seconds=90))
    assert conditions(later)["Progressing"] == ("False", "ProgressDeadlineExceeded")


def test_scaling_a_finished_deployment_is_no_rollout() -> None:
    world = World(deployment(2))
    world.settle()
    new, old = finished(world)
    world.deployment["status"] = deployment_status.status(world.deployment, new, old, NOW)
    world.deployment["spec"]["replicas"] = 5
    world.deployment["metadata"]["generation"] = 2
    new["spec"]["replicas"] = new["status"]["replicas"] = 5
    got = deployment_status.status(world.deployment, new, old, NOW + timedelta(hours=1))
    assert conditions(got)["Progressing"] == ("True", "NewReplicaSetAvailable")
    assert deployment_status.deadline_in({**world.deployment, "status": got}, NOW) is None


def test_pausing_and_resuming_is_told_and_starts_the_deadline_anew() -> None:
    world = World(deployment(2, progressDeadlineSeconds=60))
    world.reconcile()
    world.sync_pods()
    new = next(iter(world.sets.values()))
    world.deployment["status"] = deployment_status.status(world.deployment, new, [], NOW)
    world.deployment["spec"]["paused"] = True
    world.deployment["status"] = deployment_status.status(world.deployment, new, [], NOW)
    assert conditions(world.deployment["status"])["Progressing"] == ("Unknown", "DeploymentPaused")
    assert deployment_status.deadline_in(world.deployment, NOW) is None
    world.deployment["spec"]["paused"] = False
    later = NOW + timedelta(hours=1)
    world.deployment["status"] = deployment_status.status(world.deployment, new, [], later)
    assert conditions(world.deployment["status"])["Progressing"] == ("Unknown", "DeploymentResumed")
    assert deployment_status.deadline_in(world.deployment, later) == pytest.approx(60.1)
    late = deployment_status.status(world.deployment, new, [], later + timedelta(seconds=61))
    assert conditions(late)["Progressing"] == ("False", "ProgressDeadlineExceeded")


def test_conditions_of_others_stay() -> None:
    world = World(deployment(1))
    world.settle()
    new, old = finished(world)
    world.deployment["status"] = {"conditions": [{"type": "example.test/Mine", "status": "True"}]}
    got = deployment_status.status(world.deployment, new, old, NOW)
    assert conditions({"conditions": [{"reason": "", **c} for c in got["conditions"]]})["example.test/Mine"] == (
        "True",
        "",
    )


def test_a_finished_rollout_stays_finished_when_a_pod_fails() -> None:
    world = World(deployment(2))
    world.settle()
    new, old = finished(world)
    world.deployment["status"] = deployment_status.status(world.deployment, new, old, NOW)
    new["status"] |= {"readyReplicas": 1, "availableReplicas": 1}
    got = deployment_status.status(world.deployment, new, old, NOW)
    assert conditions(got)["Progressing"] == ("True", "NewReplicaSetAvailable")
    assert got["unavailableReplicas"] == 1
