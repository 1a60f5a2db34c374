"""When a CronJob's next Job is due, and what becomes of those that it has. Pure.

Source: "CronJob" (time zones, deadline for delayed Job start, concurrency policy, Job history limits, limitations).
Reasons and messages are kube-controller-manager's.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from hawser.api import cron
from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp, timestamp
from hawser.controllers import pods
from hawser.controllers.job.plan import is_finished

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
# A run is looked for this much after its time, so that no clock is too early.
_LATE = 0.1
_MANY = 100

Event = tuple[str, str, str]
"""Type, reason and message."""


@dataclass(frozen=True, slots=True)
class Due:
    """start: the run to make a Job for. wait: seconds until the next one. events: what is reported."""

    start: datetime | None = None
    wait: float | None = None
    events: tuple[Event, ...] = ()


def settle(cron_job: Obj, jobs: Sequence[Obj], gone: Collection[str]) -> tuple[Obj, list[Event]]:
    """The status after what its Jobs have become. gone: uids of active Jobs that do not exist any more."""
    status: Obj = dict(cron_job.get("status") or {})
    active = list(status.get("active") or ())
    events: list[Event] = []
    listed = {reference.get("uid") for reference in active}
    for job in jobs:
        metadata = job["metadata"]
        if metadata["uid"] in listed and is_finished(job):
            active = [r for r in active if r.get("uid") != metadata["uid"]]
            message = f"Saw completed job: {metadata['name']}, condition: {_end(job)}"
            events.append(("Normal", "SawCompletedJob", message))
        elif metadata["uid"] not in listed and not is_finished(job):
            message = f"Saw a job that the controller did not create or forgot: {metadata['name']}"
            events.append(("Warning", "UnexpectedJob", message))
        ended = (job.get("status") or {}).get("completionTime")
        if _end(job) == "Complete" and ended and ended > status.get("lastSuccessfulTime", ""):
            status["lastSuccessfulTime"] = ended
    missing = (r.get("name") for r in active if r.get("uid") in gone)
    events += (("Normal", "MissingJob", f"Active job went missing: {name}") for name in missing)
    put_active(status, [r for r in active if r.get("uid") not in gone])
    return status, events


def put_active(status: Obj, active: list[Obj]) -> None:
    """Sets the list of active Jobs; an empty one is left out."""
    status.pop("active", None)
    if active:
        status["active"] = active


def _end(job: Obj) -> str:
    for kind in ("Complete", "Failed"):
        found = condition(job, kind)
        if found is not None and found.get("status") == "True":
            return kind
    return ""


def due(cron_job: Obj, status: Obj, now: datetime, local: tzinfo) -> Due:
    """Whether a Job is due. status: as ``settle`` made it. local: the zone of schedules that name none."""
    spec = cron_job["spec"]
    if pods.is_terminating(cron_job):
        return Due()
    try:
        zone = _zone(spec.get("timeZone") or "", local)
    except ValueError:
        name = spec["timeZone"]
        return Due(events=(("Warning", "UnknownTimeZone", f'invalid timeZone: "{name}": unknown time zone {name}'),))
    if spec.get("suspend"):
        return Due()
    text = spec["schedule"]
    events: tuple[Event, ...] = ()
    try:
        schedule = cron.parse(text)
        if "TZ" in text:
            message = (
                f'CRON_TZ or TZ used in schedule "{text}" is not officially supported, see '
                "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
            )
            events = (("Warning", "UnsupportedSchedule", message),)
            zone = _zone(schedule.zone, local)
    except ValueError as error:
        return Due(events=(("Warning", "UnparseableSchedule", f'unparseable schedule: "{text}" : {error}'),))
    found = _due(_Runs(cron_job, status, now, schedule, zone))
    return Due(found.start, found.wait, (*events, *found.events))


def _zone(name: str, local: tzinfo) -> tzinfo:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name) if name else local
    except (OSError, KeyError) as error:
        raise ValueError(f"unknown time zone {name}") from error


def is_rescheduled(old: Obj, new: Obj) -> bool:
    """Whether a change is one of when it runs: then the runs that the new schedule would have had are no longer due."""
    return any(old["spec"].get(field) != new["spec"].get(field) for field in ("schedule", "timeZone"))


@dataclass(frozen=True, slots=True)
class _Runs:
    cron_job: Obj
    status: Obj
    now: datetime
    schedule: cron.Schedule
    zone: tzinfo

    def since(self) -> datetime:
        """Runs before this are over."""
        return parse_timestamp(self.status.get("lastScheduleTime") or self.cron_job["metadata"]["creationTimestamp"])

    def deadline(self) -> timedelta | None:
        seconds = self.cron_job["spec"].get("startingDeadlineSeconds")
        return None if seconds is None else timedelta(seconds=seconds)

    def latest(self) -> datetime | None:
        """The last run that has come and not been made, as far back as the deadline lets it."""
        since, deadline = self.since(), self.deadline()
        if deadline is not None:
            since = max(since, self.now - deadline)
        return self.schedule.last(since, self.now, self.zone)

    def missed_many(self) -> bool:
        """Whether more than a hundred runs, as far apart as the first two, have passed."""
        first = self.schedule.next(self.since(), self.zone)
        second = self.schedule.next(first, self.zone) if first else None
        if first is None or second is None or self.now < second:
            return False
        return (self.now - first) // (second - first) + 1 > _MANY

    def wait(self) -> float | None:
        """Seconds until the next run."""
        base = self.now
        if self.schedule.every:
            since = self.since()
            base = self.schedule.last(since, self.now, self.zone) or since
        following = self.schedule.next(base, self.zone)
        return None if following is None else (following - self.now).total_seconds() + _LATE


def _due(runs: _Runs) -> Due:
    start, wait = runs.latest(), runs.wait()
    if start is None:
        return Due(wait=wait)
    spec, status = runs.cron_job["spec"], runs.status
    events: tuple[Event, ...] = ()
    if runs.missed_many():
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        events = (("Warning", "TooManyMissedTimes", message),)
    deadline = runs.deadline()
    if deadline is not None and start + deadline < runs.now:
        at = start.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
        return Due(None, wait, (*events, ("Warning", "MissSchedule", f"Missed scheduled time to start a job: {at}")))
    active = status.get("active") or ()
    name = job_name(runs.cron_job, start)
    if any(reference.get("name") == name for reference in active) or status.get("lastScheduleTime") == timestamp(start):
        return Due(None, wait, events)
    if spec.get("concurrencyPolicy") == "Forbid" and active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        return Due(None, wait, (*events, ("Normal", "JobAlreadyActive", message)))
    return Due(start, wait, events)


def job_name(cron_job: Obj, start: datetime) -> str:
    """The same for the same run, so that nobody makes its Job twice."""
    return f"{cron_job['metadata']['name']}-{int(start.timestamp()) // 60}"


def job(cron_job: Obj, start: datetime) -> Obj:
    """The Job of a run."""
    template = cron_job["spec"]["jobTemplate"]
    given = template.get("metadata") or {}
    zone = _zone(cron_job["spec"].get("timeZone") or "", UTC)
    at = start.astimezone(zone).isoformat(timespec="seconds").replace("+00:00", "Z")
    metadata: Obj = {
        "name": job_name(cron_job, start),
        "namespace": cron_job["metadata"]["namespace"],
        "annotations": {**(given.get("annotations") or {}), SCHEDULED: at},
        "ownerReferences": [pods.owner_reference(cron_job)],
    }
    if given.get("labels"):
        metadata["labels"] = dict(given["labels"])
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}


def expired(cron_job: Obj, jobs: Sequence[Obj]) -> list[Obj]:
    """The oldest finished Jobs beyond the history limits."""
    spec, found = cron_job["spec"], []
    for kind, field in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
        limit = spec.get(field)
        if limit is None:
            continue
        ended = [j for j in jobs if _end(j) == kind and not pods.is_terminating(j)]
        ended.sort(key=lambda j: (j["status"].get("startTime", "~"), j["metadata"]["name"]))
        found += ended[: max(0, len(ended) - limit)]
    return found
