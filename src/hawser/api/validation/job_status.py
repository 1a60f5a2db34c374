"""Validation of a Job's status: it only moves on, and what it says fits together.

Only what a write changes is held against it, so that a status from before a rule can still be written.
Source: API reference, JobStatus; KEP-4368 (Jobs that other controllers manage) lists the rules.
"""

from __future__ import annotations

from hawser.api.errors import Cause, FieldError
from hawser.api.job_indexes import count_indexes, overlap
from hawser.api.types import Obj
from hawser.api.validation.rules import Errors, duplicate, invalid, not_negative, required

_CONDITIONS = "status.conditions"


def _is(status: Obj, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or ())


def _finished(status: Obj) -> bool:
    return _is(status, "Complete") or _is(status, "Failed")


def _wrong(detail: str) -> FieldError:
    return FieldError(Cause.INVALID, _CONDITIONS, detail)


def job_status_update(obj: Obj, old: Obj) -> Errors:
    spec, status, before = obj.get("spec") or {}, obj.get("status") or {}, old.get("status") or {}
    yield from not_negative(status, "status", "active", "succeeded", "failed", "ready", "terminating")
    yield from _uncounted(status.get("uncountedTerminatedPods") or {})
    yield from _together(spec, status, before)
    yield from _times(status, before)
    yield from _at_the_end(status, before)
    yield from _indexes(spec, status, before)
    yield from _onwards(spec, status, before)


def _uncounted(pods: Obj) -> Errors:
    seen = set()
    for field in ("succeeded", "failed"):
        for i, uid in enumerate(pods.get(field) or ()):
            path = f"status.uncountedTerminatedPods.{field}[{i}]"
            if not uid:
                yield invalid(path, uid, "must not be empty")
            elif uid in seen:
                yield duplicate(path, uid)
            seen.add(uid)


def _together(spec: Obj, status: Obj, before: Obj) -> Errors:
    """Conditions that exclude or need each other."""
    complete, failed, target = (_is(status, kind) for kind in ("Complete", "Failed", "FailureTarget"))
    met = _is(status, "SuccessCriteriaMet")
    ended = complete != _is(before, "Complete")
    if complete and failed and (ended or not _is(before, "Failed")):
        yield _wrong("cannot set Complete=True and Failed=true conditions")
    if complete and target and (ended or not _is(before, "FailureTarget")):
        yield _wrong("cannot set Complete=True and FailureTarget=true conditions")
    if failed and not target and not _is(before, "Failed"):
        yield _wrong("cannot set Failed=True condition without the FailureTarget=true condition")
    if complete and not met and ended:
        yield _wrong("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
    if met and failed:
        yield _wrong("cannot set SuccessCriteriaMet=True and Failed=true conditions")
    if met and target:
        yield _wrong("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
    if spec.get("successPolicy") is not None and not met and complete:
        yield _wrong("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")


def _times(status: Obj, before: Obj) -> Errors:
    complete = _is(status, "Complete")
    start, end = status.get("startTime"), status.get("completionTime")
    changed = end != before.get("completionTime")
    if changed or complete != _is(before, "Complete"):
        if end and not complete:
            detail = "cannot set completionTime when there is no Complete=True condition"
            yield invalid("status.completionTime", end, detail)
        if complete and not end:
            yield required("status.completionTime", "completionTime is required for Complete jobs")
    if (changed or start != before.get("startTime")) and start and end and end < start:
        yield invalid("status.completionTime", end, "completionTime cannot be set before startTime")


def _at_the_end(status: Obj, before: Obj) -> Errors:
    """A finished Job has no pods left."""
    if not _finished(status):
        return
    now = not _finished(before)
    active, terminating = status.get("active", 0), status.get("terminating", 0)
    uncounted = status.get("uncountedTerminatedPods") or {}
    if active > 0 and (now or active != before.get("active", 0)):
        yield invalid("status.active", active, "active>0 is invalid for finished job")
    if not status.get("startTime") and (now or before.get("startTime")):
        yield required("status.startTime", "startTime is required for finished job")
    if (uncounted.get("succeeded") or uncounted.get("failed")) and (
        now or uncounted != (before.get("uncountedTerminatedPods") or {})
    ):
        detail = "uncountedTerminatedPods needs to be empty for finished job"
        yield invalid("status.uncountedTerminatedPods", uncounted, detail)
    if terminating > 0 and (now or terminating != before.get("terminating", 0)):
        yield invalid("status.terminating", terminating, "terminating>0 is invalid for finished job")


def _indexes(spec: Obj, status: Obj, before: Obj) -> Errors:
    completed, failed = status.get("completedIndexes", ""), status.get("failedIndexes")
    completions = spec.get("completions")
    new_completed = completed != before.get("completedIndexes", "")
    new_failed = failed != before.get("failedIndexes")
    if new_completed and completions is not None:
        yield from _readable(completed, completions, "completedIndexes")
    if new_failed and failed is not None and completions is not None and "backoffLimitPerIndex" in spec:
        yield from _readable(failed, completions, "failedIndexes")
    if new_completed and completed and spec.get("completionMode") != "Indexed":
        detail = "cannot set non-empty completedIndexes when non-indexed completion mode"
        yield invalid("status.completedIndexes", completed, detail)
    if new_failed and failed is not None and "backoffLimitPerIndex" not in spec:
        detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        yield invalid("status.failedIndexes", failed, detail)
    if (new_completed or new_failed) and failed and completions is not None:
        shared = overlap(completed, failed, completions)
        if shared is not None:
            detail = f"failedIndexes and completedIndexes overlap at index: {shared}"
            yield invalid("status.failedIndexes", failed, detail)


def _readable(text: str, completions: int, field: str) -> Errors:
    try:
        count_indexes(text, completions)
    except ValueError as error:
        yield invalid(f"status.{field}", text, f"error parsing {field}: {error}")


def _onwards(spec: Obj, status: Obj, before: Obj) -> Errors:
    """What does not go back: ends, counts, times."""
    ready, active = status.get("ready"), status.get("active", 0)
    if ready is not None and ready > active and (ready != before.get("ready") or active != before.get("active", 0)):
        yield invalid("status.ready", ready, "cannot set more ready pods than active")
    for kind in ("Failed", "Complete", "FailureTarget"):
        if _is(before, kind) and not _is(status, kind):
            yield _wrong(f"cannot disable the terminal {kind}=True condition")
    if status.get("failed", 0) < before.get("failed", 0):
        yield invalid("status.failed", status.get("failed", 0), "cannot decrease the failed counter")
    # Indexed Jobs may shrink, and then fewer have succeeded.
    shrinks = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    if not shrinks and status.get("succeeded", 0) < before.get("succeeded", 0):
        yield invalid("status.succeeded", status.get("succeeded", 0), "cannot decrease the succeeded counter")
    end, was = status.get("completionTime"), before.get("completionTime")
    if end and was and end != was:
        yield invalid("status.completionTime", end, "completionTime cannot be mutated")
    began = before.get("startTime")
    if began and began != status.get("startTime") and not spec.get("suspend"):
        yield required("status.startTime", "startTime cannot be removed for unsuspended job")
    met = _is(status, "SuccessCriteriaMet")
    if _is(before, "SuccessCriteriaMet") and not met:
        yield _wrong("cannot disable the SuccessCriteriaMet=True condition")
    if _is(before, "Complete") and not _is(before, "SuccessCriteriaMet") and met:
        yield _wrong("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
