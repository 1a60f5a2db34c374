"""The columns of pods; STATUS is what the containers are doing, not only the phase.

Source: Kubernetes documentation, "Pod Lifecycle" and "Debug Init Containers" (the texts of STATUS).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hawser.api.printers.base import AGE, NAME, NONE, Column, Printer, age, human_duration, name, parse_time, part, wide
from hawser.api.types import Obj

_TERMINAL = ("Succeeded", "Failed")
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_FINISHED = {
    "Succeeded": {
        "type": "Completed",
        "status": "True",
        "reason": "Succeeded",
        "message": "The pod has completed successfully.",
    },
    "Failed": {"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."},
}


class _Restarts:
    """Counts restarts and remembers when the last container before a restart ended."""

    def __init__(self) -> None:
        self.count = 0
        self.last = _LONG_AGO

    def add(self, container: Obj) -> None:
        self.count += container.get("restartCount") or 0
        ended = parse_time(part(part(container, "lastState"), "terminated").get("finishedAt"))
        self.last = max(self.last, ended or _LONG_AGO)

    def text(self, now: datetime) -> str:
        if not self.count or self.last == _LONG_AGO:
            return str(self.count)
        return f"{self.count} ({human_duration((now - self.last).total_seconds())} ago)"


def _exit(terminated: Obj) -> str:
    """How a container ended, by reason, signal or exit code."""
    if reason := terminated.get("reason"):
        return str(reason)
    if signal := terminated.get("signal"):
        return f"Signal:{signal}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _condition(status: Obj, kind: str) -> Obj:
    return next((c for c in status.get("conditions") or [] if c.get("type") == kind), {})


def _initialization(spec: Obj, status: Obj, restarts: _Restarts, sidecars: _Restarts) -> tuple[str, int]:
    """What the init containers wait for ("" when they are done), and how many sidecars are ready."""
    listed = spec.get("initContainers") or []
    restartable = {c["name"] for c in listed if c.get("restartPolicy") == "Always"}
    ready = 0
    for index, container in enumerate(status.get("initContainerStatuses") or []):
        restarts.add(container)
        is_sidecar = container.get("name") in restartable
        if is_sidecar:
            sidecars.add(container)
        state = part(container, "state")
        terminated, waiting = state.get("terminated"), part(state, "waiting")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if is_sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if terminated is not None:
            return f"Init:{_exit(terminated)}", ready
        if waiting.get("reason") and waiting["reason"] != "PodInitializing":
            return f"Init:{waiting['reason']}", ready
        return f"Init:{index}/{len(listed)}", ready
    return "", ready


def _containers(status: Obj, reason: str, restarts: _Restarts) -> tuple[str, int]:
    """What the containers do (reason when nothing stands out), and how many are ready. The first container wins."""
    ready, running = 0, False
    for container in reversed(status.get("containerStatuses") or []):
        restarts.add(container)
        state = part(container, "state")
        terminated, waiting = state.get("terminated"), part(state, "waiting")
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif terminated is not None:
            reason = _exit(terminated)
        elif container.get("ready") and "running" in state:
            running = True
            ready += 1
    if reason == "Completed" and running:
        reason = "Running" if _condition(status, "Ready").get("status") == "True" else "NotReady"
    return reason, ready


def _summary(pod: Obj, now: datetime) -> tuple[str, str, str]:
    """READY, STATUS and RESTARTS."""
    spec, status = part(pod, "spec"), part(pod, "status")
    phase = status.get("phase") or ""
    reason = status.get("reason") or phase
    if _condition(status, "PodScheduled").get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    restarts, sidecars = _Restarts(), _Restarts()
    initializing, ready = _initialization(spec, status, restarts, sidecars)
    if not initializing or _condition(status, "Initialized").get("status") == "True":
        # Restarts of init containers that are done say nothing about the pod that runs now.
        restarts = sidecars
        reason, ready_containers = _containers(status, initializing or reason, restarts)
        ready += ready_containers
    else:
        reason = initializing
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif phase not in _TERMINAL:
            reason = "Terminating"
    total = len(spec.get("containers") or [])
    total += sum(c.get("restartPolicy") == "Always" for c in spec.get("initContainers") or [])
    return f"{ready}/{total}", reason, restarts.text(now)


def _gates(pod: Obj) -> str:
    gates = part(pod, "spec").get("readinessGates") or []
    status = part(pod, "status")
    passed = sum(_condition(status, gate.get("conditionType", "")).get("status") == "True" for gate in gates)
    return f"{passed}/{len(gates)}" if gates else NONE


def _row(pod: Obj, now: datetime) -> list[Any]:
    spec, status = part(pod, "spec"), part(pod, "status")
    addresses = status.get("podIPs") or []
    return [
        name(pod),
        *_summary(pod, now),
        age(pod, now),
        (addresses[0].get("ip") if addresses else status.get("podIP")) or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _gates(pod),
    ]


def _conditions(pod: Obj) -> list[Obj]:
    finished = _FINISHED.get(part(pod, "status").get("phase", ""))
    return [dict(finished)] if finished else []


POD = Printer(
    (
        NAME,
        Column("Ready", description="How many of the pod's containers are ready for traffic."),
        Column("Status", description="What the pod's containers are doing."),
        Column("Restarts", description="How often the pod's containers were restarted, and when last."),
        AGE,
        wide("IP", "The pod's address."),
        wide("Node", "The node the pod is on."),
        wide("Nominated Node", "The node that is being cleared for the pod by preemption."),
        wide("Readiness Gates", "How many of the pod's readiness gates have passed."),
    ),
    _row,
    _conditions,
)
