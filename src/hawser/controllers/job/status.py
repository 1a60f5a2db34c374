"""The status of a Job, and when a pod's finalizer may go. Pure; see ``plan`` for the order of things."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.client.clock import timestamp
from hawser.controllers.job import pods
from hawser.controllers.job.plan import MET, TARGET, Outcome, releases
from hawser.controllers.job.policies import judge
from hawser.controllers.job.view import View

MAX_UNCOUNTED = 500
_LAST = {MET: "Complete", TARGET: "Failed"}


def status(view: View, ending: Outcome | None, now: datetime) -> Obj:
    """The status to write next."""
    if view.active:
        ending = None
    made: Obj = dict(view.old)
    _put(made, "active", view.active)
    made["ready"], made["terminating"] = view.ready, len(view.terminating)
    left = _count(view, made, ending)
    if view.indexed:
        _put(made, "completedIndexes", str(view.completed))
        _put(made, "succeeded", len(view.completed))
        failed = view.failed_indexes
        made.pop("failedIndexes", None)
        if failed is not None:
            made["failedIndexes"] = str(failed)
    conditions = list(view.old.get("conditions") or ())
    if not made.get("startTime") and not view.suspended:
        made["startTime"] = timestamp(now)
    if ending is None:
        if not view.deleting:
            _suspension(view, made, conditions, now)
    elif not any(c["type"] == ending.kind and c["status"] == "True" for c in conditions):
        _condition(conditions, ending.kind, "True", ending.reason, ending.message, now)
    elif not left and not view.terminating:
        _finish(made, conditions, ending, now)
    if conditions:
        made["conditions"] = conditions
    return made


def _put(made: Obj, field: str, value: int | str) -> None:
    """What is empty is left out."""
    if value:
        made[field] = value
    else:
        made.pop(field, None)


def _count(view: View, made: Obj, ending: Outcome | None) -> bool:
    """Adds up pods that have lost their finalizer and names those that are about to; whether some are left."""
    held = {pod["metadata"]["uid"] for pod in view.held}
    told = view.old.get("uncountedTerminatedPods") or {}
    uncounted: dict[str, list[str]] = {}
    for field in ("succeeded", "failed"):
        uids: Sequence[str] = told.get(field) or ()
        uncounted[field] = [uid for uid in uids if uid in held]
        if field == "failed" or not view.indexed:
            _put(made, field, int(made.get(field, 0)) + len(uids) - len(uncounted[field]))
    succeeded, failed, others = releases(view, ending)
    if not view.indexed:
        # Of indexed Jobs the index itself tells that a success is counted.
        _name(uncounted, "succeeded", succeeded)
    _name(uncounted, "failed", [pod for pod in failed if counts(view, pod)])
    made["uncountedTerminatedPods"] = {field: uids for field, uids in uncounted.items() if uids}
    return bool(succeeded or failed or others)


def _name(uncounted: dict[str, list[str]], field: str, ended: Sequence[Obj]) -> None:
    known = {uid for uids in uncounted.values() for uid in uids}
    for pod in ended:
        uid = pod["metadata"]["uid"]
        if uid not in known and sum(map(len, uncounted.values())) < MAX_UNCOUNTED:
            uncounted[field].append(uid)


def counts(view: View, failed: Obj) -> bool:
    """Whether a pod that failed counts: not one that the policy ignores or that has no index."""
    if view.indexed and pods.valid_index(failed, view.job) is None:
        return False
    return judge(view.spec.get("podFailurePolicy"), failed).counts


def to_release(view: View, ending: Outcome | None) -> list[Obj]:
    """The pods whose finalizer goes now: the status knows of them, or they do not count."""
    if view.active:
        ending = None
    succeeded, failed, others = releases(view, ending)
    known_succeeded, known_failed = view.uncounted
    if view.indexed:
        told = [p for p in succeeded if (index := pods.valid_index(p, view.job)) is None or index in view.old_completed]
    else:
        told = [p for p in succeeded if p["metadata"]["uid"] in known_succeeded]
    told += [p for p in failed if p["metadata"]["uid"] in known_failed or not counts(view, p)]
    return (told + others)[:MAX_UNCOUNTED]


def _suspension(view: View, made: Obj, conditions: list[Obj], now: datetime) -> None:
    old = condition(view.job, "Suspended")
    was = old is not None and old["status"] == "True"
    if view.suspended:
        if not was:
            _condition(conditions, "Suspended", "True", "JobSuspended", "Job suspended", now)
        made.pop("startTime", None)
    elif was:
        _condition(conditions, "Suspended", "False", "JobResumed", "Job resumed", now)
        made["startTime"] = timestamp(now)


def _finish(made: Obj, conditions: list[Obj], ending: Outcome, now: datetime) -> None:
    kind = _LAST[ending.kind]
    _condition(conditions, kind, "True", ending.reason, ending.message, now)
    made.setdefault("startTime", timestamp(now))
    if kind == "Complete":
        made["completionTime"] = timestamp(now)


def _condition(conditions: list[Obj], kind: str, value: str, reason: str, message: str, now: datetime) -> None:
    at = timestamp(now)
    new = {"type": kind, "status": value, "lastProbeTime": at, "lastTransitionTime": at}
    new |= {name: text for name, text in (("reason", reason), ("message", message)) if text}
    for number, old in enumerate(conditions):
        if old["type"] == kind:
            conditions[number] = new
            return
    conditions.append(new)


def events(job: Obj, wanted: Obj) -> list[tuple[str, str, str]]:
    """What is reported of the Job once a status is written: type, reason and message."""
    before = {c["type"]: c["status"] for c in job.get("status", {}).get("conditions") or ()}
    found = []
    for one in wanted.get("conditions") or ():
        kind = one["type"]
        if before.get(kind) == one["status"]:
            continue
        reason, message = one.get("reason", ""), one.get("message", "")
        if kind == "Suspended":
            word = "Suspended" if one["status"] == "True" else "Resumed"
            found.append(("Normal", word, message))
        elif kind == "Complete":
            if wanted.get("succeeded", 0) > job["spec"].get("completions", wanted.get("succeeded", 0)):
                message = "Too many succeeded pods running after completion count reached"
                found.append(("Warning", "TooManySucceededPods", message))
            found.append(("Normal", "Completed", "Job completed"))
        elif kind == "Failed":
            found.append(("Warning", reason, message))
    return found
