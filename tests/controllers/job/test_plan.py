"""Tables of what a Job needs next and what its status says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.job_indexes import Indexes
from hawser.controllers.job import template
from hawser.controllers.job.backoff import Record, latest, remaining
from hawser.controllers.job.plan import Outcome, Work, outcome, work
from hawser.controllers.job.pods import FAILURES, FINALIZER, IGNORED_FAILURES, INDEX, ended_at
from hawser.controllers.job.policies import Verdict, judge
from hawser.controllers.job.status import events, status, to_release
from hawser.controllers.job.view import View, is_orderly

from .objects import Obj, indexed, job, pod

NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)
LIMIT = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")


def view(made: Obj, *pods: Obj) -> View:
    return View.of(made, pods)


def ending(made: Obj, *pods: Obj) -> tuple[str, str] | None:
    found = outcome(view(made, *pods), NOW)
    return None if found is None else (found.reason, found.message)


def rule(action: str, *codes: int, operator: str = "In", container: str | None = None) -> Obj:
    made: Obj = {"operator": operator, "values": list(codes)}
    if container:
        made["containerName"] = container
    return {"action": action, "onExitCodes": made}


def on_condition(action: str, kind: str = "DisruptionTarget") -> Obj:
    return {"action": action, "onPodConditions": [{"type": kind, "status": "True"}]}


@pytest.mark.parametrize(
    ("made", "pods", "expected"),
    [
        (job(backoffLimit=0), [pod("a", "Failed")], LIMIT),
        (job(backoffLimit=1), [pod("a", "Failed")], None),
        (job(backoffLimit=1, status={"failed": 1}), [pod("a", "Failed")], LIMIT),
        (job(status={"failed": 7}), [], LIMIT),
        (
            job(activeDeadlineSeconds=60, status={"startTime": "2026-01-01T00:58:59Z"}),
            [pod("a")],
            ("DeadlineExceeded", "Job was active longer than specified deadline"),
        ),
        (job(activeDeadlineSeconds=60, status={"startTime": "2026-01-01T00:59:01Z"}), [pod("a")], None),
        (job(activeDeadlineSeconds=60, suspend=True, status={"startTime": "2026-01-01T00:00:00Z"}), [], None),
        (
            job(completions=1),
            [pod("a", "Succeeded")],
            ("CompletionsReached", "Reached expected number of succeeded pods"),
        ),
        (job(completions=2), [pod("a", "Succeeded")], None),
        (job(parallelism=2), [pod("a", "Succeeded"), pod("b")], None),
        (
            job(parallelism=2),
            [pod("a", "Succeeded")],
            ("CompletionsReached", "Reached expected number of succeeded pods"),
        ),
        (
            indexed(3, successPolicy={"rules": [{"succeededCount": 3}, {"succeededIndexes": "0,2"}]}),
            [pod("a", "Succeeded", index=0), pod("b", index=1), pod("c", "Succeeded", index=2)],
            ("SuccessPolicy", "Matched rules at index 1"),
        ),
        (
            indexed(3, successPolicy={"rules": [{"succeededIndexes": "0-2", "succeededCount": 1}]}),
            [pod("a", index=0), pod("b", "Succeeded", index=1)],
            ("SuccessPolicy", "Matched rules at index 0"),
        ),
        (
            indexed(2, backoffLimitPerIndex=0),
            [pod("a", "Failed", index=0), pod("b", "Succeeded", index=1)],
            ("FailedIndexes", "Job has failed indexes"),
        ),
        (indexed(2, backoffLimitPerIndex=0), [pod("a", "Failed", index=0), pod("b", index=1)], None),
        (
            indexed(3, backoffLimitPerIndex=0, maxFailedIndexes=1),
            [pod("a", "Failed", index=0), pod("b", "Failed", index=1), pod("c", index=2)],
            ("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"),
        ),
        (
            job(podFailurePolicy={"rules": [rule("FailJob", 42)]}),
            [pod("a", "Failed", code=42)],
            (
                "PodFailurePolicy",
                "Container main for pod default/a failed with exit code 42 matching FailJob rule at index 0",
            ),
        ),
        (
            job(podFailurePolicy={"rules": [rule("Ignore", 1), on_condition("FailJob", "ConfigIssue")]}),
            [pod("a", "Failed", code=2, conditions=("ConfigIssue",))],
            ("PodFailurePolicy", "Pod default/a has condition ConfigIssue matching FailJob rule at index 1"),
        ),
        (
            job(backoffLimit=0, podFailurePolicy={"rules": [on_condition("Ignore")]}),
            [pod("a", "Failed", conditions=("DisruptionTarget",))],
            None,
        ),
        (
            indexed(2, backoffLimitPerIndex=3, podFailurePolicy={"rules": [rule("FailIndex", 7)]}, maxFailedIndexes=0),
            [pod("a", "Failed", index=0, code=7), pod("b", index=1)],
            ("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"),
        ),
    ],
)
def test_a_job_ends_for_the_reason_that_kubernetes_gives(made: Obj, pods: list[Obj], expected: Any) -> None:
    assert ending(made, *pods) == expected


def test_containers_that_start_again_count_towards_the_limit() -> None:
    again = pod("a")
    again["status"]["containerStatuses"] = [{"name": "main", "restartCount": 2}]
    assert ending(job(restarts="OnFailure", backoffLimit=2), again) == LIMIT
    assert ending(job(restarts="OnFailure", backoffLimit=3), again) is None
    assert ending(job(restarts="Never", backoffLimit=2), again) is None


@pytest.mark.parametrize(
    ("policy", "failed", "expected"),
    [
        (None, pod("a", "Failed"), Verdict()),
        ([rule("Ignore", 3)], pod("a", "Failed", code=3), Verdict(False, "Ignore")),
        ([rule("Count", 3)], pod("a", "Failed", code=3), Verdict(True, "Count")),
        ([rule("Ignore", 3, operator="NotIn")], pod("a", "Failed", code=4), Verdict(False, "Ignore")),
        ([rule("Ignore", 3, operator="NotIn")], pod("a", "Failed", code=0), Verdict()),
        ([rule("Ignore", 3, container="other")], pod("a", "Failed", code=3), Verdict()),
        ([on_condition("FailIndex")], pod("a", "Failed", conditions=("DisruptionTarget",)), Verdict(True, "FailIndex")),
    ],
)
def test_the_first_rule_that_matches_decides(policy: list[Obj] | None, failed: Obj, expected: Verdict) -> None:
    assert judge(None if policy is None else {"rules": policy}, failed) == expected


def todo(made: Obj, *pods: Obj, record: Record | None = None) -> Work:
    seen = view(made, *pods)
    return work(seen, outcome(seen, NOW), record or Record(), NOW)


def names(found: Work) -> list[str]:
    return [p["metadata"]["name"] for p in found.delete]


def test_as_many_pods_are_made_as_may_run_at_once_and_are_left_to_do() -> None:
    assert todo(job(parallelism=3, completions=2)).create == (None, None)
    assert todo(job(parallelism=3, completions=5), pod("a")).create == (None, None)
    assert todo(job(parallelism=3, completions=2), pod("a", "Succeeded"), pod("b")).create == ()
    assert todo(job(parallelism=3)).create == (None,) * 3
    assert todo(job(parallelism=3), pod("a", "Succeeded"), pod("b")).create == (), "one success is enough"
    assert todo(job(suspend=True)).create == ()


def test_indexes_that_have_neither_ended_nor_a_pod_get_one() -> None:
    made = indexed(5, parallelism=3, status={"completedIndexes": "1"})
    assert todo(made, pod("a", index=0)).create == (2, 3)
    failed = pod("f", "Failed", index=2)
    assert todo(indexed(4, backoffLimitPerIndex=0), failed).create == (0, 1, 3), "its only try is over"


def test_an_index_waits_for_its_own_back_off() -> None:
    failed = pod("f", "Failed", index=0, failures=1, at="2026-01-01T00:59:50Z")
    made = indexed(2, backoffLimitPerIndex=5)
    assert todo(made, failed) == Work(create=(1,), look_again=10.0)
    body = template.pod(made, 0, failed)
    assert body["metadata"]["annotations"] == {INDEX: "0", FAILURES: "2"}


def test_an_ignored_failure_of_an_index_is_carried_on_apart() -> None:
    policy = {"rules": [on_condition("Ignore")]}
    made = indexed(2, backoffLimitPerIndex=5, podFailurePolicy=policy)
    failed = pod("f", "Failed", index=0, failures=1, ignored=1, conditions=("DisruptionTarget",))
    annotations = template.pod(made, 0, failed)["metadata"]["annotations"]
    assert annotations == {INDEX: "0", FAILURES: "1", IGNORED_FAILURES: "2"}


def test_pods_too_many_go_and_are_not_counted() -> None:
    assert names(todo(job(parallelism=1, completions=4), pod("a"), pod("b", "Pending"))) == ["b"]
    found = todo(indexed(2), pod("a", index=0), pod("b", "Pending", index=0), pod("c", index=7), pod("d"))
    assert (sorted(names(found)), found.uncounted) == (["b", "c", "d"], True)
    suspended = todo(job(suspend=True), pod("a"))
    assert (names(suspended), suspended.uncounted) == (["a"], True)


def test_pods_of_a_job_that_ends_go_and_are_counted() -> None:
    found = todo(job(backoffLimit=0, parallelism=2, completions=2), pod("a"), pod("b", "Failed"))
    assert (names(found), found.uncounted) == (["a"], False)


def test_a_pod_that_is_being_deleted_is_replaced_at_once_or_when_it_has_failed() -> None:
    at = "2026-01-01T00:00:00Z"
    going = pod("a", deleting=True, at=at)
    assert todo(job()).create == (None,)
    assert todo(job(), going).create == (None,)
    assert todo(job(podReplacementPolicy="Failed"), going).create == ()
    assert todo(indexed(2, podReplacementPolicy="Failed"), pod("a", index=0, deleting=True)).create == (1,)


def test_failed_pods_are_replaced_after_a_back_off() -> None:
    record = Record(2, NOW - timedelta(seconds=5))
    assert todo(job(), record=record) == Work(look_again=15.0)
    assert [remaining(Record(n, NOW), NOW) for n in (0, 1, 2, 3, 7, 30)] == [0, 10, 20, 40, 600, 600]


def test_failures_in_a_row_end_with_a_success() -> None:
    first, second, third = (f"2026-01-01T00:00:{n:02}Z" for n in (1, 2, 3))
    failed = [pod("a", "Failed", at=first), pod("b", "Failed", at=third)]
    success = pod("s", "Succeeded", at=second)
    assert latest(Record(), [], failed) == Record(2, ended_at(failed[1]))
    since = Record(1, ended_at(failed[1]), ended_at(success))
    assert latest(Record(3), [success], failed) == since
    assert latest(since, [], failed) == since, "the success is remembered when its pod is not asked any more"
    assert latest(Record(2, ended_at(failed[1])), [], failed[1:]) == Record(2, ended_at(failed[1])), "one pod is gone"
    assert latest(Record(4, ended_at(failed[0])), [], failed[1:]) == Record(5, ended_at(failed[1]))
    assert latest(Record(4, ended_at(failed[0])), [success], []) == Record(success=ended_at(success))


def step(made: Obj, *pods: Obj) -> tuple[Obj, list[str]]:
    seen = view(made, *pods)
    ends = outcome(seen, NOW)
    return status(seen, ends, NOW), sorted(p["metadata"]["name"] for p in to_release(seen, ends))


def test_a_pod_is_named_then_let_go_then_added_up() -> None:
    done = pod("a", "Succeeded")
    uid = done["metadata"]["uid"]
    made = job(completions=2, status={"startTime": "2026-01-01T00:00:00Z"})
    told, released = step(made, done)
    assert (told["uncountedTerminatedPods"], released) == ({"succeeded": [uid]}, [])
    made["status"] = told
    assert step(made, done) == (told, ["a"])
    done["metadata"]["finalizers"] = []
    told, released = step(made, done)
    assert (told["uncountedTerminatedPods"], told["succeeded"], released) == ({}, 1, [])


def test_how_a_job_ends_is_said_before_its_pods_are_counted() -> None:
    made = job(backoffLimit=0)
    failed = pod("a", "Failed")
    told, _ = step(made, failed)
    assert [c["type"] for c in told["conditions"]] == ["FailureTarget"]
    made["status"] = told
    assert step(made, failed)[1] == ["a"]
    failed["metadata"]["finalizers"] = []
    going = pod("b", deleting=True, counted=True)
    assert len(step(made, failed, going)[0]["conditions"]) == 1, "a pod still runs"
    last, _ = step(made, failed)
    assert [(c["type"], c["reason"], c["message"]) for c in last["conditions"]] == [
        ("FailureTarget", *LIMIT),
        ("Failed", *LIMIT),
    ]
    assert "completionTime" not in last
    assert events(made, last) == [("Warning", *LIMIT)]


def test_pods_that_success_ends_are_no_failures() -> None:
    made = indexed(2, successPolicy={"rules": [{"succeededIndexes": "0"}]})
    done, other = pod("a", "Succeeded", index=0), pod("b", index=1, deleting=True)
    told, _ = step(made, done, other)
    assert (told["completedIndexes"], "failed" in told, told["uncountedTerminatedPods"]) == ("0", False, {})
    made["status"] = told
    assert step(made, done, other)[1] == ["a", "b"]


def test_a_failed_pod_of_an_index_stays_until_it_is_replaced() -> None:
    made = indexed(1, backoffLimitPerIndex=2, status={"startTime": "2026-01-01T00:00:00Z"})
    failed = pod("a", "Failed", index=0, failures=0)
    assert step(made, failed)[0]["uncountedTerminatedPods"] == {}
    told, _ = step(made, failed, pod("b", index=0, failures=1))
    assert told["uncountedTerminatedPods"] == {"failed": [failed["metadata"]["uid"]]}
    assert told["failedIndexes"] == ""


def test_a_job_is_suspended_and_resumed() -> None:
    made = job(suspend=True, status={"startTime": "2026-01-01T00:00:00Z"})
    told, _ = step(made)
    (condition,) = told["conditions"]
    assert (condition["reason"], condition["message"]) == ("JobSuspended", "Job suspended")
    assert "startTime" not in told
    assert events(made, told) == [("Normal", "Suspended", "Job suspended")]
    made = {**made, "status": told, "spec": {**made["spec"], "suspend": False}}
    again, _ = step(made)
    assert (again["conditions"][0]["reason"], again["startTime"]) == ("JobResumed", "2026-01-01T01:00:00Z")
    assert events(made, again) == [("Normal", "Resumed", "Job resumed")]


def test_a_pod_of_an_index_knows_it() -> None:
    made = indexed(12)
    made["metadata"]["name"] = "n" * 60
    made["spec"]["template"]["spec"]["initContainers"] = [{"name": "i", "env": [{"name": "JOB_COMPLETION_INDEX"}]}]
    body = template.pod(made, 11)
    assert body["metadata"]["generateName"] == "n" * 54 + "-11-"
    assert body["spec"]["hostname"] == "n" * 60 + "-11"
    assert body["metadata"]["labels"][INDEX] == body["metadata"]["annotations"][INDEX] == "11"
    assert body["metadata"]["finalizers"] == [FINALIZER]
    (variable,) = body["spec"]["containers"][0]["env"]
    assert variable["valueFrom"]["fieldRef"]["fieldPath"] == f"metadata.labels['{INDEX}']"
    assert body["spec"]["initContainers"][0]["env"] == [{"name": "JOB_COMPLETION_INDEX"}], "it has its own"
    assert "env" not in made["spec"]["template"]["spec"]["containers"][0]


def test_what_is_settled_stays_so() -> None:
    target = {"type": "FailureTarget", "status": "True", "reason": "PodFailurePolicy", "message": "m"}
    made = job(completions=1, status={"conditions": [target]})
    assert outcome(view(made, pod("a", "Succeeded")), NOW) == Outcome("FailureTarget", "PodFailurePolicy", "m")


@given(st.lists(st.integers(0, 6) | st.none(), max_size=6), st.integers(0, 6), st.integers(0, 6), st.booleans())
def test_what_is_known_of_indexes_and_restarts_changes_no_plan(
    indexes: list[int | None], completions: int, parallelism: int, often: bool
) -> None:
    made = indexed(completions, parallelism=parallelism)
    made["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    listed = [pod(f"p{number}", index=index) for number, index in enumerate(indexes)]
    for one in listed[:1] if often else ():
        one["status"]["containerStatuses"] = [{"name": "main", "restartCount": 6}]
    plain = view(made, *listed)
    told = Counter(index for index in indexes if index is not None)
    known = replace(plain, orderly=is_orderly(made, told, plain.active), restarted=6 if often and listed else 0)
    assert known.orderly == (
        len({*indexes}) == len(indexes) and all(i is not None and i < completions for i in indexes)
    )
    ends = outcome(plain, NOW)
    assert outcome(known, NOW) == ends
    assert work(known, ends, Record(), NOW) == work(plain, ends, Record(), NOW)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1,3-4", "1,3,4"),
        ("x,2", "2"),
        ("²,2", "2"),
        ("9" * 5000 + ",2", "2"),
        ("2-" + "9" * 5000, ""),
        ("3-99", "3-9"),
    ],
)
def test_of_completed_indexes_what_cannot_be_read_is_passed_over(text: str, told: str) -> None:
    assert str(Indexes.read(text, 10)) == told
