"""The pods that a Job makes. Pure.

Source: "Jobs", "Completion mode"; "Indexed Job for Parallel Processing with Static Work Assignment"; KEP-4017 (label).
"""

from __future__ import annotations

import copy

from hawser.api.types import Obj
from hawser.controllers import pods
from hawser.controllers.job.pods import FAILURES, FINALIZER, IGNORED_FAILURES, INDEX, failures, ignored_failures
from hawser.controllers.job.policies import judge

ENVIRONMENT = "JOB_COMPLETION_INDEX"
_LONGEST = 58


def pod(job: Obj, index: int | None = None, replaced: Obj | None = None) -> Obj:
    """A pod to create. index: of an indexed Job. replaced: the pod of that index that failed last."""
    made = pods.from_template(job, job["spec"]["template"])
    metadata = made["metadata"]
    metadata["finalizers"] = [*(f for f in metadata.get("finalizers") or () if f != FINALIZER), FINALIZER]
    if index is None:
        return made
    name = job["metadata"]["name"]
    ending = f"-{index}-"
    metadata["generateName"] = name[: _LONGEST - len(ending)] + ending
    annotations = {**(metadata.get("annotations") or {}), INDEX: str(index)}
    if job["spec"].get("backoffLimitPerIndex") is not None:
        annotations |= _failures(job, replaced)
    metadata["annotations"] = annotations
    metadata["labels"] = {**(metadata.get("labels") or {}), INDEX: str(index)}
    made["spec"] = {**made["spec"], "hostname": f"{name}-{index}"}
    for field in ("initContainers", "containers"):
        if made["spec"].get(field):
            made["spec"][field] = [_told(container) for container in made["spec"][field]]
    return made


def _failures(job: Obj, replaced: Obj | None) -> dict[str, str]:
    if replaced is None:
        return {FAILURES: "0"}
    counts = judge(job["spec"].get("podFailurePolicy"), replaced).counts
    ignored = ignored_failures(replaced) + (not counts)
    found = {FAILURES: str(failures(replaced) + counts)}
    return {**found, IGNORED_FAILURES: str(ignored)} if ignored else found


def _told(container: Obj) -> Obj:
    """The container with its index in the environment, unless it has a variable of that name."""
    env = container.get("env") or []
    if any(variable["name"] == ENVIRONMENT for variable in env):
        return container
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    return {**copy.copy(container), "env": [*env, {"name": ENVIRONMENT, "valueFrom": source}]}
