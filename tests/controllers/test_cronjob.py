"""CronJobs: when a Job is due, which Jobs go, and what is reported."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.kinds import CRON_JOB, EVENT, JOB, NAMESPACE
from hawser.client.client import Client
from hawser.client.clock import SystemClock
from hawser.controllers import cronjob_plan
from hawser.controllers.cronjob import CronJobController

from .objects import Obj, meta
from .running import eventually, running

NOW = datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)


def cron_job(schedule: str = "* * * * *", *, created: str = "2026-05-01T12:00:10Z", **spec: Any) -> Obj:
    template = {"metadata": {"labels": {"app": "x"}, "annotations": {"a": "b"}}, "spec": {"template": {}}}
    status = spec.pop("status", {})
    made: Obj = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta("tick", creationTimestamp=created)}
    made["spec"] = {"schedule": schedule, "concurrencyPolicy": "Allow", "jobTemplate": template, **spec}
    made["status"] = status
    return made


def job(name: str, end: str = "", started: str = "2026-05-01T11:00:00Z", completed: str = "") -> Obj:
    status: Obj = {"startTime": started}
    if end:
        status["conditions"] = [{"type": end, "status": "True"}]
    if completed:
        status["completionTime"] = completed
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta(name), "status": status}


def reference(made: Obj) -> Obj:
    return {"name": made["metadata"]["name"], "uid": made["metadata"]["uid"], "namespace": "default"}


def due(made: Obj, now: datetime = NOW) -> cronjob_plan.Due:
    return cronjob_plan.due(made, made["status"], now, UTC)


def reasons(found: cronjob_plan.Due) -> list[str]:
    return [reason for _, reason, _ in found.events]


def test_a_run_is_due_once_its_time_has_come() -> None:
    made = cron_job(created="2026-05-01T11:59:10Z")
    found = due(made)
    assert (found.start, found.wait) == (NOW.replace(second=0), 30.1)
    assert due(cron_job(created="2026-05-01T12:00:01Z")).start is None
    done = cron_job(created="2026-05-01T11:59:10Z", status={"lastScheduleTime": "2026-05-01T12:00:00Z"})
    assert due(done).start is None


def test_of_many_missed_runs_the_last_is_made_up_for() -> None:
    found = due(cron_job(created="2026-05-01T00:00:00Z"))
    assert (found.start, reasons(found)) == (NOW.replace(second=0), ["TooManyMissedTimes"])
    few = due(cron_job("0 * * * *", created="2026-05-01T00:30:00Z"))
    assert (few.start, reasons(few)) == (NOW.replace(minute=0, second=0), [])


def test_a_run_that_is_too_late_is_missed() -> None:
    early = cron_job("0 11 * * *", created="2026-05-01T00:00:00Z", startingDeadlineSeconds=60)
    assert due(early).start is None, "it is not even looked for"
    edge = cron_job("0 12 * * *", created="2026-05-01T00:00:00Z", startingDeadlineSeconds=31)
    assert due(edge).start == NOW.replace(second=0)
    assert due(edge, NOW + timedelta(seconds=2)).start is None


def test_intervals_are_counted_from_the_last_run() -> None:
    made = cron_job("@every 1m", created="2026-05-01T11:00:20Z")
    found = due(made)
    assert (found.start, found.wait) == (NOW.replace(second=20), 50.1)


@pytest.mark.parametrize(
    ("fields", "reason", "message"),
    [
        ({"timeZone": "Mars/North"}, "UnknownTimeZone", 'invalid timeZone: "Mars/North": unknown time zone Mars/North'),
        (
            {"schedule": "x"},
            "UnparseableSchedule",
            'unparseable schedule: "x" : expected exactly 5 fields, found 1: [x]',
        ),
        (
            {"schedule": "TZ=Asia/Tokyo 0 1 * * *"},
            "UnsupportedSchedule",
            (
                'CRON_TZ or TZ used in schedule "TZ=Asia/Tokyo 0 1 * * *" is not officially supported, see '
                "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
            ),
        ),
    ],
)
def test_what_cannot_be_followed_is_reported(fields: Obj, reason: str, message: str) -> None:
    assert due(cron_job(**fields)).events == (("Warning", reason, message),)


def test_zones_and_suspension_are_honoured() -> None:
    tokyo = cron_job("0 21 * * *", created="2026-05-01T11:00:00Z", timeZone="Asia/Tokyo")
    assert due(tokyo).start == NOW.replace(second=0)
    local = cronjob_plan.due(cron_job("0 21 * * *", created="2026-05-01T11:00:00Z"), {}, NOW, ZoneInfo("Asia/Tokyo"))
    assert local.start == NOW.replace(second=0)
    assert due(cron_job(created="2026-05-01T11:00:00Z", suspend=True)) == cronjob_plan.Due()


def test_a_job_that_still_runs_may_forbid_the_next() -> None:
    running_job = reference(job("before"))
    made = cron_job(created="2026-05-01T11:59:10Z", concurrencyPolicy="Forbid", status={"active": [running_job]})
    found = due(made)
    assert (found.start, reasons(found)) == (None, ["JobAlreadyActive"])


def test_a_job_is_named_by_its_minute_and_says_its_time() -> None:
    made = cronjob_plan.job(cron_job(timeZone="Asia/Tokyo"), NOW.replace(second=0))
    metadata = made["metadata"]
    assert metadata["name"] == f"tick-{int(NOW.timestamp()) // 60}"
    scheduled = {"a": "b", "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-05-01T21:00:00+09:00"}
    assert (metadata["annotations"], metadata["labels"]) == (scheduled, {"app": "x"})
    assert metadata["ownerReferences"][0]["kind"] == "CronJob"
    utc = cronjob_plan.job(cron_job(), NOW)["metadata"]["annotations"]
    assert utc["batch.kubernetes.io/cronjob-scheduled-timestamp"] == "2026-05-01T12:00:30Z"


def test_the_status_follows_the_jobs() -> None:
    done, lost, going = job("a", "Complete", completed="2026-05-01T11:30:00Z"), job("b"), job("c")
    made = cron_job(status={"active": [reference(done), reference(lost), reference(going)]})
    stranger = job("d")
    status, events = cronjob_plan.settle(made, [done, going, stranger], {lost["metadata"]["uid"]})
    assert status == {"active": [reference(going)], "lastSuccessfulTime": "2026-05-01T11:30:00Z"}
    assert events == [
        ("Normal", "SawCompletedJob", "Saw completed job: a, condition: Complete"),
        ("Warning", "UnexpectedJob", "Saw a job that the controller did not create or forgot: d"),
        ("Normal", "MissingJob", "Active job went missing: b"),
    ]


def test_the_oldest_finished_jobs_go() -> None:
    jobs = [
        job(name, end, f"2026-05-01T0{hour}:00:00Z")
        for name, end, hour in [
            ("a", "Complete", 3),
            ("b", "Complete", 1),
            ("c", "Complete", 2),
            ("d", "Failed", 1),
            ("e", "", 1),
        ]
    ]
    made = cron_job(successfulJobsHistoryLimit=1, failedJobsHistoryLimit=0)
    assert [j["metadata"]["name"] for j in cronjob_plan.expired(made, jobs)] == ["b", "c", "d"]


_SCHEDULES = st.sampled_from(["* * * * *", "*/5 * * * *", "0 * * * *", "@every 7m", "30 2 * * *"])


@given(_SCHEDULES, st.lists(st.tuples(st.integers(1, 3 * 86400), st.booleans()), max_size=20))
def test_every_run_is_made_at_most_once_whatever_crashes(schedule: str, history: list[tuple[int, bool]]) -> None:
    """Crashes come between the creation of a Job and the status that tells of it; names are the lock."""
    made = cron_job(schedule, created="2026-05-01T00:00:00Z")
    now, created = datetime(2026, 5, 1, tzinfo=UTC), set()
    runs = []
    for seconds, crashes in history:
        now += timedelta(seconds=seconds)
        found = due(made, now)
        if found.start is None:
            continue
        assert found.start <= now
        name = cronjob_plan.job_name(made, found.start)
        if name not in created:
            created.add(name)
            runs.append(found.start)
        if not crashes:
            made["status"]["lastScheduleTime"] = found.start.isoformat().replace("+00:00", "Z")
    assert runs == sorted(set(runs))


class Ahead(SystemClock):
    """A minute later than it is, so that runs are due."""

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=61)


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[Client]:
    async with running(api_server.kubeconfig, CronJobController(), clock=Ahead()) as made:
        yield made


async def test_a_cron_job_makes_jobs_and_cleans_up(client: Client) -> None:
    await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cron"}})
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "a"}]}}
    spec = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": pod}}, "successfulJobsHistoryLimit": 0}
    metadata = {"name": "tick", "namespace": "cron"}
    await client.create(CRON_JOB, {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec})

    async def active() -> Obj | None:
        status: Obj = (await client.get(CRON_JOB, "tick", "cron")).get("status", {})
        return status if status.get("active") else None

    status = await eventually(active)
    (listed,) = status["active"]
    assert status["lastScheduleTime"]
    made = await client.get(JOB, listed["name"], "cron")
    assert listed == {
        "kind": "Job", "apiVersion": "batch/v1", "namespace": "cron",
        **{field: made["metadata"][field] for field in ("name", "uid", "resourceVersion")},
    }  # fmt: skip
    await client.patch(CRON_JOB, "tick", "cron", {"spec": {"suspend": True}})
    at = made["metadata"]["creationTimestamp"]
    met = [{"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")]
    done = {"startTime": at, "completionTime": at, "conditions": met, "uncountedTerminatedPods": {}}
    await client.patch(JOB, listed["name"], "cron", {"status": done}, subresource="status")

    async def cleaned() -> bool:
        status = (await client.get(CRON_JOB, "tick", "cron"))["status"]
        finished = "active" not in status and status.get("lastSuccessfulTime") == at
        return finished and not (await client.list(JOB, "cron")).items

    await eventually(cleaned)

    async def reported() -> bool:
        found = {e["reason"] for e in (await client.list(EVENT, "cron")).items}
        return found >= {"SuccessfulCreate", "SawCompletedJob", "SuccessfulDelete"}

    await eventually(reported)
