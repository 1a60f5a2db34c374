"""The columns of StatefulSets, DaemonSets, ReplicationControllers, Jobs, CronJobs, their revisions and templates."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hawser.api.errors import APIError
from hawser.api.printers.base import (
    AGE,
    NAME,
    NONE,
    UNSET,
    Column,
    Printer,
    age,
    containers,
    human_duration,
    labels,
    name,
    parse_time,
    part,
    since,
    wide,
)
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj

_CONTAINERS = wide("Containers", "The names of the template's containers.")
_IMAGES = wide("Images", "The images of the template's containers.")
_SELECTOR = wide("Selector", "The labels of the pods that are managed.")
_TEMPLATE = (_CONTAINERS, _IMAGES, _SELECTOR)
# What a Job's status is, by the first of its conditions that is true.
_JOB_ENDS = ("Complete", "Failed")
_JOB_STATES = ("Suspended", "FailureTarget", "SuccessCriteriaMet")


def selector(found: Obj | None) -> str:
    """A label selector as text; an absent one selects nothing and is shown as none."""
    try:
        return str(LabelSelector.from_object(found)) or NONE
    except APIError:
        return "<error>"


def _template(spec: Obj) -> tuple[str, str]:
    return containers(part(part(spec, "template"), "spec"))


def _stateful_set(obj: Obj, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    ready = f"{status.get('readyReplicas') or 0}/{spec.get('replicas', 1)}"
    return [name(obj), ready, age(obj, now), *_template(spec)]


def _daemon_set(obj: Obj, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled")
    return [
        name(obj),
        *(status.get(count) or 0 for count in (*counts, "numberAvailable")),
        labels(part(part(spec, "template"), "spec").get("nodeSelector")),
        age(obj, now),
        *_template(spec),
        selector(spec.get("selector")),
    ]


def _replication_controller(obj: Obj, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    return [
        name(obj),
        spec.get("replicas", 1),
        status.get("replicas") or 0,
        status.get("readyReplicas") or 0,
        age(obj, now),
        *_template(spec),
        labels(spec.get("selector")),
    ]


def _job(obj: Obj, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    start, end = parse_time(status.get("startTime")), parse_time(status.get("completionTime"))
    duration = human_duration(((end or now) - start).total_seconds()) if start is not None else ""
    return [
        name(obj),
        _job_status(obj),
        _completions(spec, status.get("succeeded") or 0),
        duration,
        age(obj, now),
        *_template(spec),
        selector(spec.get("selector")),
    ]


def _job_status(obj: Obj) -> str:
    conditions = part(obj, "status").get("conditions") or []
    true = {condition.get("type") for condition in conditions if condition.get("status") == "True"}
    for state in _JOB_ENDS:
        if state in true:
            return state
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((state for state in _JOB_STATES if state in true), "Running")


def _completions(spec: Obj, succeeded: int) -> str:
    if spec.get("completions") is not None:
        return f"{succeeded}/{spec['completions']}"
    parallel = spec.get("parallelism") or 0
    return f"{succeeded}/1 of {parallel}" if parallel > 1 else f"{succeeded}/1"


def _cron_job(obj: Obj, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    suspend, last = spec.get("suspend"), status.get("lastScheduleTime")
    job = part(part(spec, "jobTemplate"), "spec")
    return [
        name(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        UNSET if suspend is None else str(suspend),
        len(status.get("active") or []),
        since(last, now) if last else NONE,
        age(obj, now),
        *_template(job),
        selector(job.get("selector")) if job.get("selector") is not None else NONE,
    ]


def _controller_revision(obj: Obj, now: datetime) -> list[Any]:
    owners = obj["metadata"].get("ownerReferences") or []
    owner = next((reference for reference in owners if reference.get("controller")), None)
    shown = NONE
    if owner is not None:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        kind = owner.get("kind", "") + (f".{group}" if group else "")
        shown = f"{kind.lower()}/{owner.get('name', '')}"
    return [name(obj), shown, obj.get("revision", 0), age(obj, now)]


def _pod_template(obj: Obj, now: datetime) -> list[Any]:
    template = part(obj, "template")
    return [name(obj), *containers(part(template, "spec")), labels(part(template, "metadata").get("labels"))]


STATEFUL_SET = Printer(
    (
        NAME,
        Column("Ready", description="How many pods are ready, of how many that are wanted."),
        AGE,
        _CONTAINERS,
        _IMAGES,
    ),
    _stateful_set,
)
DAEMON_SET = Printer(
    (
        NAME,
        Column("Desired", "integer", description="How many nodes should run the pod."),
        Column("Current", "integer", description="How many of them run it."),
        Column("Ready", "integer", description="How many of them have it ready."),
        Column("Up-to-date", "integer", description="How many of them have the newest template."),
        Column("Available", "integer", description="How many of them have had it ready for long enough."),
        Column("Node Selector", description="The labels of the nodes that run the pod."),
        AGE,
        *_TEMPLATE,
    ),
    _daemon_set,
)
REPLICATION_CONTROLLER = Printer(
    (
        NAME,
        Column("Desired", "integer", description="How many pods are wanted."),
        Column("Current", "integer", description="How many pods there are."),
        Column("Ready", "integer", description="How many pods are ready."),
        AGE,
        *_TEMPLATE,
    ),
    _replication_controller,
)
JOB = Printer(
    (
        NAME,
        Column("Status", description="How the job is going."),
        Column("Completions", description="How many pods have succeeded, of how many that are wanted."),
        Column("Duration", description="How long the job has taken so far, or took."),
        AGE,
        *_TEMPLATE,
    ),
    _job,
)
CRON_JOB = Printer(
    (
        NAME,
        Column("Schedule", description="When jobs are made, as cron writes it."),
        Column("Timezone", description="The time zone of the schedule."),
        Column("Suspend", "boolean", description="Whether no more jobs are made."),
        Column("Active", "integer", description="How many jobs are running."),
        Column("Last Schedule", description="The time since a job was last due."),
        AGE,
        *_TEMPLATE,
    ),
    _cron_job,
)
CONTROLLER_REVISION = Printer(
    (
        NAME,
        Column("Controller", description="What the revision is of."),
        Column("Revision", description="The number of the revision."),
        AGE,
    ),
    _controller_revision,
)
POD_TEMPLATE = Printer(
    (
        NAME,
        Column("Containers", description="The names of the template's containers."),
        Column("Images", description="The images of the template's containers."),
        Column("Pod Labels", description="The labels of pods made of the template."),
    ),
    _pod_template,
)
