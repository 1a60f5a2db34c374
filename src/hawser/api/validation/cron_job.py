"""Validation of CronJobs. Source: API reference, CronJobSpec; "CronJob", "Schedule syntax" and "Time zones"."""

from __future__ import annotations

import re
from functools import lru_cache

from hawser.api import cron
from hawser.api.types import Obj
from hawser.api.validation.job import job_spec
from hawser.api.validation.rules import Errors, invalid, not_negative, one_of, required, unsupported

_POLICIES = ("Allow", "Forbid", "Replace")
# Jobs of a CronJob are named after it and the time, in eleven characters more.
_MAX_NAME = 63 - 11
_is_zone_part = re.compile(r"[A-Za-z.\-_0-9+]{1,14}").fullmatch
_EXPLICIT = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"


def cron_job_create(obj: Obj) -> Errors:
    yield from _cron_job(obj.get("spec") or {}, None)
    name = (obj.get("metadata") or {}).get("name", "")
    if len(name) > _MAX_NAME:
        yield invalid("metadata.name", name, f"must be no more than {_MAX_NAME} characters")


def cron_job_update(obj: Obj, old: Obj) -> Errors:
    """A zone in the schedule and a zone that is not known any more may stay as they are."""
    yield from _cron_job(obj.get("spec") or {}, old.get("spec") or {})


def _cron_job(spec: Obj, before: Obj | None) -> Errors:
    schedule, zone = spec.get("schedule", ""), spec.get("timeZone")
    if not schedule:
        yield required("spec.schedule")
    else:
        yield from _schedule(schedule, zone, "TZ" in (before or {}).get("schedule", ""))
    yield from not_negative(spec, "spec", "startingDeadlineSeconds")
    if zone is not None and (before is None or before.get("timeZone") != zone):
        yield from _zone(zone)
    yield from one_of("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), _POLICIES)
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    yield from job_spec(job, "spec.jobTemplate.spec")
    if (selector := job.get("selector")) is not None:
        yield invalid("spec.jobTemplate.spec.selector", selector, "`selector` will be auto-generated")
    if job.get("manualSelector"):
        yield unsupported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false"))
    yield from not_negative(spec, "spec", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")


def _schedule(schedule: str, zone: str | None, zone_allowed: bool) -> Errors:
    try:
        cron.parse(schedule)
    except ValueError as error:
        yield invalid("spec.schedule", schedule, str(error))
    if "TZ" not in schedule:
        return
    if not zone_allowed:
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        yield invalid("spec.schedule", schedule, detail)
    elif zone is not None:
        yield invalid("spec.schedule", schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule")


def _zone(zone: str) -> Errors:
    path = "spec.timeZone"
    if not zone:
        yield invalid(path, zone, "timeZone must be nil or non-empty string")
        return
    unknown = f"unknown time zone {zone}"
    for part in zone.split("/"):
        if part in (".", "..") or part.startswith("-") or not _is_zone_part(part):
            yield invalid(path, zone, unknown)
            return
    if zone.lower() == "local":
        yield invalid(path, zone, _EXPLICIT)
    if zone not in ("UTC", "Local") and not _exists(zone):
        yield invalid(path, zone, unknown)


@lru_cache(maxsize=256)
def _exists(zone: str) -> bool:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(zone)
    except (OSError, ValueError, LookupError):
        return False
    return True
