"""The conditions of a pod that its node keeps: pure.

Source: Kubernetes documentation, "Pod conditions", "Pod readiness"; KEP-5532 (AllContainersRestarting).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hawser.api.pod_restarts import may_restart_all
from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.node.pod import resizing, restarts, view
from hawser.node.pod.container_status import stamp
from hawser.node.pod.ending import name_of
from hawser.node.pod.observed import Memory, Observed


def own(
    pod: Obj, observed: Observed, memory: Memory, phase: str, inits: list[Obj], apps: list[Obj], now: float
) -> list[Obj]:
    """The rows to write; those of others in the pod's status stay as they are. now: seconds since the epoch."""
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    sandbox = observed.sandbox
    rows = [
        _row("PodReadyToStartContainers", sandbox is not None and sandbox.ready),
        _initialized(pod, phase, inits, apps),
        *_ready(pod, phase, inits, apps, old),
        _row("PodScheduled", True),
    ]
    if may_restart_all(pod["spec"]):
        rows.append(_all_restarting(pod, observed, phase))
    if (memory.resize or memory.actual) and phase not in ("Succeeded", "Failed"):
        rows += _resizes(pod, observed, memory)
    return [_dated(pod, row, old.get(row["type"]), now) for row in rows]


def disrupted(pod: Obj, reason: str, message: str, now: float) -> Obj:
    """The condition of a pod that is ended for the sake of others."""
    return _dated(pod, _row("DisruptionTarget", True, reason, message), condition(pod, "DisruptionTarget"), now)


def _row(kind: str, value: bool, reason: str = "", message: str = "") -> Obj:
    row: Obj = {"type": kind, "status": "True" if value else "False"}
    if reason:
        row["reason"] = reason
    if message:
        row["message"] = message
    return row


def _dated(pod: Obj, row: Obj, was: Obj | None, now: float) -> Obj:
    same = was is not None and was.get("status") == row["status"]
    since = was.get("lastTransitionTime") if was is not None and same else None
    row["lastTransitionTime"] = since or stamp(now)
    if (generation := pod["metadata"].get("generation")) is not None:
        row["observedGeneration"] = generation
    return row


def _sidecars(pod: Obj) -> set[str]:
    return {c["name"] for c in view.init_containers(pod) if view.is_sidecar(c)}


def _initialized(pod: Obj, phase: str, inits: list[Obj], apps: list[Obj]) -> Obj:
    if phase == "Succeeded":
        return _row("Initialized", True, "PodCompleted")
    sidecars = _sidecars(pod)
    undone = [r["name"] for r in inits if not r["started" if r["name"] in sidecars else "ready"]]
    # Sidecars that are started again do not undo it.
    if not undone or any(_has_started(row) for row in apps):
        return _row("Initialized", True)
    return _row(
        "Initialized", False, "ContainersNotInitialized", f"containers with incomplete status: {_names(undone)}"
    )


def _has_started(row: Obj) -> bool:
    state = row["state"]
    return "running" in state or "terminated" in state or bool((row.get("lastState") or {}).get("terminated"))


def _ready(pod: Obj, phase: str, inits: list[Obj], apps: list[Obj], old: dict[str, Obj]) -> tuple[Obj, Obj]:
    sidecars = _sidecars(pod)
    unready = [r["name"] for r in inits if r["name"] in sidecars and not r["ready"]]
    unready += [r["name"] for r in apps if not r["ready"]]
    reason, message = "", ""
    if phase in ("Succeeded", "Failed"):
        reason = "PodCompleted" if phase == "Succeeded" else "PodFailed"
    elif unready:
        reason, message = "ContainersNotReady", f"containers with unready status: {_names(unready)}"
    containers = _row("ContainersReady", not reason, reason, message)
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()]
    closed = [gate for gate in gates if old.get(gate, {}).get("status") != "True"]
    if reason or not closed:
        return containers | {"type": "Ready"}, containers
    lines = [
        f'the status of pod readiness gate "{gate}" is not "True", but {old[gate].get("status")}'
        if gate in old
        else f'corresponding condition of pod readiness gate "{gate}" does not exist.'
        for gate in closed
    ]
    return _row("Ready", False, "ReadinessGatesNotReady", ", ".join(lines)), containers


def _all_restarting(pod: Obj, observed: Observed, phase: str) -> Obj:
    kind = "AllContainersRestarting"
    if phase in ("Succeeded", "Failed"):
        return _row(kind, False, "PodCompleted" if phase == "Succeeded" else "PodFailed")
    if restarts.restarting_all(pod, observed) is None:
        return _row(kind, False)
    return _row(kind, True, "RestartAllContainersStarted", "container exited with restart policy rule")


def _resizes(pod: Obj, observed: Observed, memory: Memory) -> Iterator[Obj]:
    """How a resize goes on; nothing once it is done."""
    if memory.resize is not None:
        yield _row("PodResizePending", True, memory.resize.reason, memory.resize.message)
    running = {name_of(c): c.id for c in observed.every() if c.running}
    if resizing.unfinished(pod, memory.actual, running):
        yield _row("PodResizeInProgress", True, "Error" if memory.resize_error else "", memory.resize_error)


def _names(names: Iterable[str]) -> str:
    """As Go prints a slice."""
    return f"[{' '.join(names)}]"
