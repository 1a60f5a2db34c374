"""What a Job needs next. Pure: each step follows from what the API has, so that any of them may be the last one done.

Pods are counted once, whatever happens between: a pod that ended is first named in status.uncountedTerminatedPods (or
its index in completedIndexes), then loses its finalizer, and only then is added to the counters (KEP-2307). The Job is
marked as finished when nothing is left to count and no pod of it runs any more (KEP-3939, KEP-4368).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp
from hawser.controllers.job import pods
from hawser.controllers.job.backoff import Record, remaining, remaining_of_index
from hawser.controllers.job.policies import judge, success
from hawser.controllers.job.view import View

BURST = 500
MET = "SuccessCriteriaMet"
TARGET = "FailureTarget"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the Job ends. kind: of the condition that says so before the pods are counted, MET or TARGET."""

    kind: str
    reason: str
    message: str


def is_finished(job: Obj) -> bool:
    """Complete or Failed: nothing is done for it any more."""
    return any(_true(job, kind) is not None for kind in ("Complete", "Failed"))


def _true(job: Obj, kind: str) -> Obj | None:
    found = condition(job, kind)
    return found if found is not None and found.get("status") == "True" else None


def outcome(view: View, now: datetime) -> Outcome | None:
    """How the Job ends, when that is settled."""
    for kind in (MET, TARGET):
        if (told := _true(view.job, kind)) is not None:
            return Outcome(kind, told.get("reason", ""), told.get("message", ""))
    return _failure(view, now) or _success(view)


def _failure(view: View, now: datetime) -> Outcome | None:
    spec = view.spec
    policy = spec.get("podFailurePolicy")
    if policy is not None:
        for pod in view.over:
            if pods.is_failed(pod, view.job) and (message := judge(policy, pod).message):
                return Outcome(TARGET, "PodFailurePolicy", message)
    if view.failed > spec["backoffLimit"] or _restarted_too_often(view):
        return Outcome(TARGET, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if deadline(view, now) == 0:
        return Outcome(TARGET, "DeadlineExceeded", "Job was active longer than specified deadline")
    failed = view.failed_indexes
    if failed is None:
        return None
    most = spec.get("maxFailedIndexes")
    if most is not None and len(failed) > most:
        message = "Job has exceeded the specified maximal number of failed indexes"
        return Outcome(TARGET, "MaxFailedIndexesExceeded", message)
    if len(failed) and len(failed) + len(view.completed) >= spec["completions"]:
        return Outcome(TARGET, "FailedIndexes", "Job has failed indexes")
    return None


def _restarted_too_often(view: View) -> bool:
    """With restartPolicy OnFailure it is containers that are tried again, and counted."""
    if view.spec["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    return view.restarts >= max(int(view.spec["backoffLimit"]), 1)


def deadline(view: View, now: datetime) -> float | None:
    """Seconds until activeDeadlineSeconds are over; None when they do not run."""
    limit, start = view.spec.get("activeDeadlineSeconds"), view.old.get("startTime")
    if limit is None or not start or view.suspended:
        return None
    return max(0.0, float(limit) - (now - parse_timestamp(start)).total_seconds())


def _success(view: View) -> Outcome | None:
    completions = view.spec.get("completions")
    policy = view.spec.get("successPolicy")
    if policy and (message := success(policy, view.completed, int(completions or 0))):
        return Outcome(MET, "SuccessPolicy", message)
    # Without a number of completions, one pod that succeeds says that the work is done; the others may end theirs.
    enough = view.succeeded >= completions if completions is not None else view.succeeded > 0
    if enough and not view.active:
        return Outcome(MET, "CompletionsReached", "Reached expected number of succeeded pods")
    return None


@dataclass(frozen=True, slots=True)
class Work:
    """Pods to make and to delete.

    delete: these pods. uncounted: they lose their finalizer before, since they do not count. create: how many, or of
    which indexes. look_again: seconds until back-off lets more be made.
    """

    delete: tuple[Obj, ...] = ()
    uncounted: bool = False
    create: tuple[int | None, ...] = ()
    look_again: float | None = None


def work(view: View, ending: Outcome | None, record: Record, now: datetime) -> Work:
    """Which pods to make or to delete; never both at once."""
    if ending is not None:
        return Work(delete=tuple(view.active_pods))
    if view.deleting:
        return Work()
    if view.suspended:
        return Work(delete=tuple(view.active_pods), uncounted=True)
    wanted = _wanted(view)
    if surplus := _surplus(view, wanted):
        return Work(delete=tuple(surplus[:BURST]), uncounted=True)
    ending_pods = len(view.terminating) if pods.only_failed_are_replaced(view.job) else 0
    missing = min(wanted - ending_pods - view.active, BURST)
    if missing <= 0:
        return Work()
    if not (view.indexed and view.by_index) and (wait := remaining(record, now)):
        return Work(look_again=wait)
    if not view.indexed:
        return Work(create=(None,) * missing)
    waits = [(remaining_of_index(view.delayed.get(i), now), i) for i in islice(_pending(view), missing)]
    later = min((wait for wait, _ in waits if wait), default=None)
    return Work(create=tuple(i for wait, i in waits if not wait), look_again=later)


def _wanted(view: View) -> int:
    """How many pods are to be active."""
    completions, parallelism = view.spec.get("completions"), int(view.spec["parallelism"])
    if completions is None:
        return view.active if view.succeeded else parallelism
    return max(0, min(parallelism, int(completions) - view.succeeded))


def _surplus(view: View, wanted: int) -> list[Obj]:
    """Too many pods; of indexed Jobs first those whose index is missing, too large or there twice."""
    if not view.indexed:
        return pods.first_to_go(view.active_pods)[: view.active - wanted] if view.active > wanted else []
    if view.orderly and view.active <= wanted:
        return []
    of_index: dict[int | None, list[Obj]] = {}
    for pod in view.active_pods:
        of_index.setdefault(pods.valid_index(pod, view.job), []).append(pod)
    gone = of_index.pop(None, [])
    left = []
    for same in of_index.values():
        *more, last = pods.first_to_go(same) if len(same) > 1 else same
        gone += more
        left.append(last)
    return gone + (pods.first_to_go(left)[: len(left) - wanted] if len(left) > wanted else [])


def _pending(view: View) -> Iterator[int]:
    """Indexes that have neither ended nor a pod, in order."""
    busy = view.active_pods
    if pods.only_failed_are_replaced(view.job):
        busy = [*busy, *view.terminating]
    indexes = (pods.index_of(pod) for pod in busy)
    taken = view.completed.plus(index for index in indexes if index is not None)
    if view.failed_indexes is not None:
        taken |= view.failed_indexes
    return taken.missing(view.spec["completions"])


def releases(view: View, ending: Outcome | None) -> tuple[list[Obj], list[Obj], list[Obj]]:
    """The held pods that may lose their finalizer: those that count as succeeded, as failed, and not at all."""
    succeeded: list[Obj] = []
    failed: list[Obj] = []
    others: list[Obj] = []
    settled = ending is not None and not view.active
    for pod in view.held:
        uid = pod["metadata"]["uid"]
        # Once it is settled that the Job succeeds, pods that are deleted for that reason are no failures.
        met = settled and ending is not None and ending.kind == MET
        fails = pods.phase(pod) == "Failed" if met else pods.is_failed(pod, view.job)
        if pods.phase(pod) == "Succeeded" and uid not in view.uncounted[1]:
            succeeded.append(pod)
        elif not _may_be_released(view, pod, fails, settled):
            continue
        elif fails or uid in view.uncounted[1] or (settled and not met):
            failed.append(pod)
        else:
            others.append(pod)
    return succeeded, failed, others


def _may_be_released(view: View, pod: Obj, fails: bool, settled: bool) -> bool:
    if view.deleting or settled:
        return True
    if not fails:
        return pod["metadata"]["uid"] in view.uncounted[1]
    index = pods.index_of(pod)
    return index is None or view.delayed.get(index) is not pod
