"""ReplicaSet: how many pods to create or delete, and which."""

from datetime import UTC, datetime

import pytest

from hawser.controllers.replicaset import BURST, Plan, first_to_go, plan, status

from .objects import pod, replica_set

NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("replicas", "existing", "create", "delete"),
    [(3, 0, 3, 0), (3, 3, 0, 0), (3, 5, 0, 2), (0, 2, 0, 2), (1000, 0, BURST, 0)],
)
def test_the_difference_is_created_or_deleted(replicas: int, existing: int, create: int, delete: int) -> None:
    todo = plan(replica_set("rs", replicas), [pod(f"p{n}") for n in range(existing)], NOW)
    assert (todo.create, len(todo.delete)) == (create, delete)


@pytest.mark.parametrize("gone", [{"phase": "Failed"}, {"phase": "Succeeded"}, {"deletionTimestamp": "x"}])
def test_ended_and_terminating_pods_are_replaced(gone: dict[str, str]) -> None:
    assert plan(replica_set("rs", 1), [pod("p", **gone)], NOW).create == 1


def test_a_replica_set_under_deletion_does_nothing() -> None:
    rs = replica_set("rs", 3)
    rs["metadata"]["deletionTimestamp"] = "x"
    assert plan(rs, [pod("p")], NOW) == Plan()


def test_the_pod_with_the_most_restarts_of_one_container_goes_first() -> None:
    many, few = pod("many"), pod("few")
    for one, counts in ((many, [4, 0]), (few, [3, 3])):
        one["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        one["status"]["containerStatuses"] = [{"restartCount": n} for n in counts]
    assert first_to_go([few, many], NOW) == [many, few]


def test_among_pods_of_about_the_same_age_the_uid_decides() -> None:
    older, newer = (
        pod("older", uid="a", since="2026-01-01T00:00:00Z"),
        pod("newer", uid="b", since="2026-01-01T00:05:00Z"),
    )
    assert first_to_go([newer, older], NOW) == [older, newer]


def test_pods_go_in_the_documented_order() -> None:
    unassigned = pod("unassigned", node="", phase="Pending", ready=False)
    pending = pod("pending", phase="Pending", ready=False)
    unready = pod("unready", ready=False)
    cheap = pod("cheap", annotations={"controller.kubernetes.io/pod-deletion-cost": "-5"})
    crowded_new = pod("crowded-new", since="2026-01-01T00:30:00Z")
    crowded_old = pod("crowded-old")
    alone = pod("alone", node="n2")
    dear = pod("dear", annotations={"controller.kubernetes.io/pod-deletion-cost": "5"})
    expected = [unassigned, pending, unready, cheap, crowded_new, crowded_old, alone, dear]
    got = first_to_go(expected[::-1], NOW)
    assert [p["metadata"]["name"] for p in got] == [p["metadata"]["name"] for p in expected]


def test_status_counts_pods_and_waits_for_min_ready_seconds() -> None:
    rs = replica_set("rs", 4)
    rs["spec"]["minReadySeconds"] = 60
    owned = [
        pod("a"),
        pod("b", since="2026-01-01T00:59:30Z"),
        pod("c", ready=False),
        pod("d", deletionTimestamp="x"),
        pod("e", phase="Failed", ready=False),
        pod("f", phase="Failed", ready=False, deletionTimestamp="x"),
    ]
    got = status(rs, owned, None, NOW)
    counts = {"replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 2, "availableReplicas": 1}
    assert got == {**counts, "terminatingReplicas": 1, "observedGeneration": 1}
    assert plan(rs, owned, NOW).look_again == 30


def test_conditions_of_others_stay() -> None:
    rs = replica_set("rs")
    rs["status"]["conditions"] = [{"type": "example.test/Mine", "status": "True"}]
    assert status(rs, [], None, NOW)["conditions"] == rs["status"]["conditions"]


def test_a_failure_is_a_condition_that_keeps_its_time() -> None:
    rs, failure = replica_set("rs"), {"reason": "FailedCreate", "message": "quota"}
    first = status(rs, [], failure, NOW)
    rs["status"] = first
    again = status(rs, [], failure, datetime(2026, 1, 1, 2, tzinfo=UTC))
    assert again["conditions"] == first["conditions"]
    assert status(rs, [], None, NOW).get("conditions") is None
