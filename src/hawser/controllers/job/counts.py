"""What the Job controller counts, under kube-controller-manager's names.

Source: Kubernetes metrics reference, job_controller_*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hawser.api.types import Obj
from hawser.controllers.job import pods
from hawser.controllers.job.plan import Work, is_finished
from hawser.controllers.job.policies import judge
from hawser.exposition import exponential
from hawser.series import Counters, Histograms

_SYNC = ("completion_mode", "result", "action")
_HANDLED = (
    "The number of failed Pods handled by failure policy with respect to the failure policy action applied based on "
    "the matched rule. Possible values of the action label correspond to the possible values for the failure policy "
    'rule action, which are: "FailJob", "Ignore" and "Count".'
)
_TRACKING = (
    "The number of terminated pods (phase=Failed|Succeeded) that have the finalizer batch.kubernetes.io/job-tracking. "
    'The event label can be "add" or "delete".'
)


class Counts:
    """Of one controller."""

    def __init__(self) -> None:
        edges = exponential(0.004, 2.0, 15)
        prefix = "job_controller_"
        self._seconds = Histograms(f"{prefix}job_sync_duration_seconds", "The time it took to sync a job", _SYNC, edges)
        self._syncs = Counters(f"{prefix}job_syncs_total", "The number of job syncs", _SYNC)
        labels = ("completion_mode", "result", "reason")
        self._finished = Counters(f"{prefix}jobs_finished_total", "The number of finished jobs", labels)
        text = "The number of finished Pods that are fully tracked"
        self._pods = Counters(f"{prefix}job_pods_finished_total", text, ("completion_mode", "result"))
        self._handled = Counters(f"{prefix}pod_failures_handled_by_failure_policy_total", _HANDLED, ("action",))
        self._tracking = Counters(f"{prefix}terminated_pods_tracking_finalizer_total", _TRACKING, ("event",))
        text = "The number of Jobs managed by an external controller"
        self._external = Counters(f"{prefix}jobs_by_external_controller_total", text, ("controller_name",))

    def synced(self, job: Obj, todo: Work | None, error: bool, seconds: float) -> None:
        """A Job was looked at. todo: what was to be done; None when it did not come so far."""
        action = "reconciling" if todo is None else "tracking"
        if todo is not None and (todo.create or todo.delete):
            action = "pods_created" if todo.create else "pods_deleted"
        labels = (_mode(job), "error" if error else "success", action)
        self._seconds.of(*labels).observe(seconds)
        self._syncs.add(*labels)

    def written(self, job: Obj, status: Obj) -> None:
        """A status was written in place of the Job's own."""
        old, mode = job.get("status") or {}, _mode(job)
        for field in ("succeeded", "failed"):
            more = int(status.get(field) or 0) - int(old.get(field) or 0)
            if more > 0:
                key = (mode, field)
                self._pods.values[key] = self._pods.values.get(key, 0) + more
        if is_finished(job):
            return
        for one in status.get("conditions") or ():
            if one["type"] in ("Complete", "Failed") and one["status"] == "True":
                result = "succeeded" if one["type"] == "Complete" else "failed"
                self._finished.add(mode, result, one.get("reason", ""))

    def released(self, job: Obj, ended: Iterable[Obj]) -> None:
        """Pods of the Job are counted and let go."""
        policy = job["spec"].get("podFailurePolicy")
        if policy is None:
            return
        for pod in ended:
            if pods.is_failed(pod, job) and (action := judge(policy, pod).action):
                self._handled.add(action)

    def pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        """Follows which pods have ended and are still held."""
        before, now = _is_held(old), _is_held(new)
        if before != now:
            self._tracking.add("add" if now else "delete")

    def external(self, job: Obj) -> None:
        """There is a Job that another controller manages."""
        self._external.add(job["spec"].get("managedBy", ""))

    def lines(self) -> Iterator[str]:
        """In Prometheus' text format."""
        families = (self._seconds, self._syncs, self._finished, self._pods, self._handled, self._tracking)
        for family in (*families, self._external):
            yield from family.lines()


def _mode(job: Obj) -> str:
    return "Indexed" if pods.is_indexed(job) else "NonIndexed"


def _is_held(pod: Obj | None) -> bool:
    return pod is not None and pods.phase(pod) in ("Succeeded", "Failed") and not pods.is_counted(pod)
