"""Jobs and their pods for tables of cases."""

from __future__ import annotations

from typing import Any

from hawser.controllers.job.pods import FAILURES, FINALIZER, IGNORED_FAILURES, INDEX

from ..objects import meta

Obj = dict[str, Any]


def job(*, status: Obj | None = None, restarts: str = "Never", **spec: Any) -> Obj:
    metadata = meta("work")
    labels = {"batch.kubernetes.io/controller-uid": metadata["uid"]}
    container = {"name": "main", "image": "a"}
    template = {"metadata": {"labels": labels}, "spec": {"restartPolicy": restarts, "containers": [container]}}
    defaults = {"parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False}
    if "completions" not in spec and "parallelism" not in spec:
        defaults["completions"] = 1
    selector = {"matchLabels": labels}
    made: Obj = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
    made["spec"] = {**defaults, "selector": selector, "template": template, **spec}
    if status is not None:
        made["status"] = status
    return made


def indexed(completions: int, **fields: Any) -> Obj:
    return job(**{"completionMode": "Indexed", "completions": completions, "parallelism": completions, **fields})


def pod(
    name: str,
    phase: str = "Running",
    *,
    index: int | None = None,
    code: int | None = None,
    at: str = "2026-01-01T00:00:00Z",
    deleting: bool = False,
    counted: bool = False,
    failures: int | None = None,
    ignored: int | None = None,
    conditions: tuple[str, ...] = (),
    ready: bool = False,
) -> Obj:
    metadata = meta(name, finalizers=[] if counted else [FINALIZER])
    annotations = {INDEX: index, FAILURES: failures, IGNORED_FAILURES: ignored}
    metadata["annotations"] = {key: str(value) for key, value in annotations.items() if value is not None}
    if deleting:
        metadata["deletionTimestamp"] = at
    status: Obj = {"phase": phase}
    if code is None and phase in ("Succeeded", "Failed"):
        code = int(phase == "Failed")
    if code is not None:
        terminated = {"exitCode": code, "finishedAt": at}
        status["containerStatuses"] = [{"name": "main", "state": {"terminated": terminated}, "restartCount": 0}]
    told = [{"type": kind, "status": "True"} for kind in conditions]
    status["conditions"] = [*told, {"type": "Ready", "status": "True" if ready else "False"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": "n"}, "status": status}
