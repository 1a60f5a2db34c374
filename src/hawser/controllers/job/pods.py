"""What the Job controller reads of a pod: its index, how often its index failed, when it ended, whether it is counted.

Source: "Jobs" (completion modes, pod replacement policy); API reference, JobStatus.uncountedTerminatedPods; KEP-2307
(finalizers), KEP-3850 (failures of an index), KEP-3939 (pod replacement).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from hawser.api.kinds import JOB
from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp
from hawser.client.controller import controller_of
from hawser.controllers import pods

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
OWN_NAME = "kubernetes.io/job-controller"
"""What spec.managedBy says of Jobs that are this controller's."""

_MAX_INT32 = 2**31 - 1
_DIGITS = 19
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def is_counted(pod: Obj) -> bool:
    """Whether the pod's end is in the Job's status already: it has lost the finalizer that held it until then."""
    return FINALIZER not in (pod["metadata"].get("finalizers") or ())


def is_over(pod: Obj) -> bool:
    """Whether a pod's end may still say something to its Job: not that of a success that is counted."""
    return not pods.is_active(pod) and not (is_counted(pod) and phase(pod) == "Succeeded")


def phase(pod: Obj) -> str:
    return str((pod.get("status") or {}).get("phase", "Pending"))


def over_of(pod: Obj) -> list[str]:
    """An informer's index function: the uid of the controlling owner of a pod that ``is_over``."""
    return pods.owner_uids(pod) if is_over(pod) else []


def active_index_of(pod: Obj) -> list[tuple[str, int]]:
    """For ``Informer.add_tally``: the uid of the controlling owner and the index, of an active pod that has one."""
    index = index_of(pod)
    return [(uid, index) for uid in pods.owner_uids(pod)] if index is not None and pods.is_active(pod) else []


def restarts_of(pod: Obj) -> list[tuple[str, int]]:
    """For ``Informer.add_tally``: the uid of the Job that controls a pod, and how often its containers were restarted;
    nothing of pods that have ended or were not restarted."""
    if (controller_of(pod) or {}).get("kind") != JOB.kind:
        return []
    count = restarts(pod)
    return [(uid, count) for uid in pods.owner_uids(pod)] if count else []


def restarts(pod: Obj) -> int:
    """How often the containers of a pod were restarted, while it has not ended: what an OnFailure Job counts."""
    if phase(pod) not in ("Running", "Pending"):
        return 0
    status = pod.get("status") or {}
    fields = ("initContainerStatuses", "containerStatuses")
    return sum(int(c.get("restartCount") or 0) for field in fields for c in status.get(field) or ())


def is_indexed(job: Obj) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def only_failed_are_replaced(job: Obj) -> bool:
    """Whether a pod that is being deleted is replaced, and counted as failed, only when it has ended."""
    spec = job["spec"]
    return spec.get("podReplacementPolicy") == "Failed" or spec.get("podFailurePolicy") is not None


def is_failed(pod: Obj, job: Obj) -> bool:
    """Whether a pod counts as failed; one that is being deleted may never get to say so itself."""
    if phase(pod) == "Failed":
        return True
    return not only_failed_are_replaced(job) and pods.is_terminating(pod) and phase(pod) != "Succeeded"


def index_of(pod: Obj) -> int | None:
    """The completion index in the pod's annotations."""
    return _number(pod, INDEX)


def valid_index(pod: Obj, job: Obj) -> int | None:
    """The pod's index, when the Job has that many."""
    index = index_of(pod)
    return index if index is not None and index < job["spec"]["completions"] else None


def failures(pod: Obj) -> int:
    """How many pods of its index failed before this one."""
    return _count(pod, FAILURES)


def all_failures(pod: Obj) -> int:
    """The same with those that a failure policy ignored: what back-off counts."""
    return _count(pod, FAILURES) + _count(pod, IGNORED_FAILURES)


def ignored_failures(pod: Obj) -> int:
    return _count(pod, IGNORED_FAILURES)


def _count(pod: Obj, annotation: str) -> int:
    number = _number(pod, annotation) or 0
    return number if number <= _MAX_INT32 else 0


def _number(pod: Obj, annotation: str) -> int | None:
    """An annotation's number. Anybody may write there what they like: what Go would not read as one is none."""
    text = (pod["metadata"].get("annotations") or {}).get(annotation) or ""
    return int(text) if len(text) <= _DIGITS and text.isascii() and text.isdecimal() else None


def ended_at(pod: Obj) -> datetime:
    """When the pod ended: its last container, else when it became unready, else when it was deleted."""
    metadata, status = pod["metadata"], pod.get("status", {})
    init = pod.get("spec", {}).get("initContainers") or ()
    sidecars = {c["name"] for c in init if c.get("restartPolicy") == "Always"}
    containers = list(status.get("containerStatuses") or ())
    containers += (c for c in status.get("initContainerStatuses") or () if c["name"] in sidecars)
    times = [c.get("state", {}).get("terminated", {}).get("finishedAt") for c in containers]
    if times and all(times):
        return parse_timestamp(max(times))
    ready = condition(pod, "Ready")
    if ready is not None and ready.get("status") == "False" and ready.get("lastTransitionTime"):
        return parse_timestamp(ready["lastTransitionTime"])
    if metadata.get("deletionTimestamp"):
        grace = timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
        return parse_timestamp(metadata["deletionTimestamp"]) - grace
    return parse_timestamp(metadata["creationTimestamp"])


def first_to_go(active: Sequence[Obj]) -> list[Obj]:
    """The pods in the order in which too many are deleted: those that got least far first, then the youngest."""

    def rank(pod: Obj) -> tuple[object, ...]:
        ready = condition(pod, "Ready") or {}
        is_ready = ready.get("status") == "True"
        since = parse_timestamp(ready["lastTransitionTime"]) if is_ready and ready.get("lastTransitionTime") else None
        statuses = pod.get("status", {}).get("containerStatuses") or ()
        return (
            bool(pod["spec"].get("nodeName")),
            _PHASES.get(phase(pod), 0),
            is_ready,
            -since.timestamp() if since else 0.0,
            -max((int(c.get("restartCount", 0)) for c in statuses), default=0),
            -parse_timestamp(pod["metadata"]["creationTimestamp"]).timestamp(),
            pod["metadata"]["uid"],
        )

    return sorted(active, key=rank)
