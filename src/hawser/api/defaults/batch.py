"""Defaults of Jobs and CronJobs. Source: API reference, JobSpec and CronJobSpec (batch/v1)."""

from __future__ import annotations

from hawser.api.defaults.apps import own_labels
from hawser.api.defaults.pod import pod_spec
from hawser.api.types import Obj

_MAX_INT32 = 2**31 - 1


def job(obj: Obj) -> None:
    """One completion, six retries; the labels of the pod template."""
    spec: Obj | None = obj.get("spec")
    if spec is None:
        spec = obj["spec"] = {}
    if spec.get("parallelism") is None:
        if spec.get("completions") is None:
            spec["completions"] = 1
        spec["parallelism"] = 1
    # With a limit for each index, the limit of the whole Job must not come first.
    spec.setdefault("backoffLimit", _MAX_INT32 if "backoffLimitPerIndex" in spec else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    spec.setdefault("manualSelector", False)
    _pods(spec)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels:
        own_labels(obj, labels)


def cron_job(obj: Obj) -> None:
    """Jobs may overlap; three that succeeded and one that failed are kept."""
    spec: Obj | None = obj.get("spec")
    if spec is None:
        spec = obj["spec"] = {}
    if not spec.get("concurrencyPolicy"):
        spec["concurrencyPolicy"] = "Allow"
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    # What a Job gets, it gets when it is made; here only its pods are completed.
    _pods((spec.get("jobTemplate") or {}).get("spec") or {})


def _pods(spec: Obj) -> None:
    template = spec.get("template")
    if template is not None:
        pod_spec(template.setdefault("spec", {}))
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            if not pattern.get("status"):
                pattern["status"] = "True"
