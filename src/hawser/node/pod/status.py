"""A pod's status from what is observed of it: a pure function.

Source: API reference, PodStatus; Kubernetes documentation, "Pod Lifecycle" (phases, container states, conditions).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hawser.api.types import Obj
from hawser.node.cri.model import Container, ContainerState
from hawser.node.pod import view
from hawser.node.pod.observed import Memory, Observed, Waiting

_OWNED = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


def stamp(seconds: float) -> str:
    """metav1.Time of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def status(
    pod: Obj,
    observed: Observed,
    memory: Memory,
    waiting: Mapping[str, Waiting],
    now: float,
    host_ip: str,
    *,
    ended: bool = False,
) -> Obj:
    """The status to write: everything but qosClass and conditions of others.

    waiting: reasons from the plan. ended: nothing of the pod runs and nothing will be started (deletion, or its end).
    """
    old = pod.get("status") or {}
    reasons = {**memory.waiting, **waiting}
    inits = [
        _container(pod, c, "initContainerStatuses", observed, memory, reasons, init=True)
        for c in view.init_containers(pod)
    ]
    apps = [_container(pod, c, "containerStatuses", observed, memory, reasons) for c in view.containers(pod)]
    phase = _phase(pod, inits, apps, ended)
    result: Obj = {"phase": phase, "hostIP": host_ip, "hostIPs": [{"ip": host_ip}]}
    if memory.evicted:
        result |= {"phase": "Failed", "reason": memory.evicted.reason, "message": memory.evicted.message}
    result["startTime"] = old.get("startTime") or stamp(now)
    ips = _ips(pod, observed, host_ip)
    if ips:
        result["podIP"], result["podIPs"] = ips[0], [{"ip": ip} for ip in ips]
    if inits:
        result["initContainerStatuses"] = inits
    result["containerStatuses"] = apps
    result["conditions"] = _conditions(pod, observed, result["phase"], inits, apps, now)
    if (generation := pod["metadata"].get("generation")) is not None:
        result["observedGeneration"] = generation
    return result


def _ips(pod: Obj, observed: Observed, host_ip: str) -> tuple[str, ...]:
    sandbox = observed.sandbox
    if sandbox is not None and view.host_network(pod):
        return (host_ip,)
    if sandbox is not None and sandbox.ips:
        return sandbox.ips
    # The address of a pod that has ended stays readable.
    return tuple(row["ip"] for row in (pod.get("status") or {}).get("podIPs") or () if row.get("ip"))


def _container(
    pod: Obj,
    spec: Obj,
    field: str,
    observed: Observed,
    memory: Memory,
    reasons: Mapping[str, Waiting],
    *,
    init: bool = False,
) -> Obj:
    name = spec["name"]
    instances = observed.containers.get(name, ())
    before = next((r for r in (pod.get("status") or {}).get(field) or () if r["name"] == name), None)
    row: Obj = {"name": name, "image": spec.get("image") or "", "imageID": "", "restartCount": 0, "ready": False}
    row["started"] = False
    row["state"] = {"waiting": {"reason": "PodInitializing" if _has_inits(pod, init) else "ContainerCreating"}}
    row["lastState"] = {}
    if not instances:
        if before is not None and before.get("containerID"):
            # The runtime lost its record: what the API knows is the best there is.
            row |= {k: before[k] for k in ("image", "imageID", "restartCount", "containerID") if k in before}
            state = before.get("state") or {}
            row["state" if "terminated" in state else "lastState"] = state if "terminated" in state else {}
        if name in reasons:
            row["state"] = {"waiting": _waiting(reasons[name])}
        return row
    newest = instances[0]
    row["containerID"] = f"containerd://{newest.id}"
    row["imageID"] = newest.image_ref
    row["restartCount"] = newest.restart_count
    previous = next((c for c in instances[1:] if c.exited), None)
    if previous is not None:
        row["lastState"] = {"terminated": _terminated(previous, memory)}
    elif before is not None and newest.restart_count and before.get("lastState"):
        row["lastState"] = before["lastState"]
    if newest.running:
        row["state"] = {"running": {"startedAt": stamp(newest.started_at or newest.created_at)}}
        row["started"] = memory.started.get(newest.id, False)
        row["ready"] = row["started"] and memory.ready.get(newest.id, False)
    elif newest.exited:
        terminated = _terminated(newest, memory)
        if name in reasons:
            row["state"], row["lastState"] = {"waiting": _waiting(reasons[name])}, {"terminated": terminated}
        else:
            row["state"] = {"terminated": terminated}
            # An init container that has done its work counts as ready.
            row["ready"] = init and not view.is_sidecar(spec) and newest.exit_code == 0
    if spec.get("resources") and newest.state == ContainerState.RUNNING:
        row["resources"] = spec["resources"]
        if spec["resources"].get("requests"):
            row["allocatedResources"] = spec["resources"]["requests"]
    return row


def _has_inits(pod: Obj, init: bool) -> bool:
    return bool(view.init_containers(pod)) or init


def _waiting(why: Waiting) -> Obj:
    return {"reason": why.reason, "message": why.message} if why.message else {"reason": why.reason}


def _terminated(container: Container, memory: Memory) -> Obj:
    unknown = container.state == ContainerState.UNKNOWN
    row: Obj = {
        "exitCode": 137 if unknown else container.exit_code,
        "reason": "ContainerStatusUnknown"
        if unknown
        else container.reason or ("Completed" if container.exit_code == 0 else "Error"),
        "startedAt": stamp(container.started_at) if container.started_at else None,
        "finishedAt": stamp(container.finished_at) if container.finished_at else None,
        "containerID": f"containerd://{container.id}",
    }
    message = memory.messages.get(container.id) or container.message
    if message:
        row["message"] = message
    return {k: v for k, v in row.items() if v is not None}


def _phase(pod: Obj, inits: list[Obj], apps: list[Obj], ended: bool) -> str:
    policy = view.restart_policy(pod)
    sidecars = {c["name"] for c in view.init_containers(pod) if view.is_sidecar(c)}
    stopped = [row for row in apps if _exit_code(row) is not None]
    if ended:
        codes = [_exit_code(row) for row in (*inits, *apps) if row["name"] not in sidecars]
        return "Succeeded" if apps and all(code == 0 for code in codes) else "Failed"
    pending = False
    for row in inits:
        if row["name"] in sidecars:
            pending = pending or not row["started"]
        elif (code := _exit_code(row)) != 0:
            if code is not None and policy == "Never" and "terminated" in row["state"]:
                return "Failed"
            pending = True
    never = [row for row in apps if not row["state"].get("running") and _exit_code(row) is None]
    running = [row for row in apps if row["state"].get("running")]
    if never and (pending or not (running or stopped)):
        return "Pending"
    if never:
        return "Pending"
    if running or policy == "Always":
        return "Running"
    if all(_exit_code(row) == 0 for row in stopped):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _exit_code(row: Obj) -> int | None:
    """The exit code of the instance that ended last and is not running again; None otherwise."""
    state = row["state"]
    if "running" in state:
        return None
    terminated = state.get("terminated") or (row.get("lastState") or {}).get("terminated")
    return int(terminated["exitCode"]) if terminated else None


def _conditions(pod: Obj, observed: Observed, phase: str, inits: list[Obj], apps: list[Obj], now: float) -> list[Obj]:
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    made: list[Obj] = []

    def add(kind: str, value: bool, reason: str = "", message: str = "") -> None:
        row: dict[str, Any] = {"type": kind, "status": "True" if value else "False"}
        if reason:
            row["reason"] = reason
        if message:
            row["message"] = message
        was = old.get(kind)
        same = was is not None and was.get("status") == row["status"]
        since = was.get("lastTransitionTime") if was is not None and same else None
        row["lastTransitionTime"] = since or stamp(now)
        if (generation := pod["metadata"].get("generation")) is not None:
            row["observedGeneration"] = generation
        made.append(row)

    sandbox = observed.sandbox
    add("PodReadyToStartContainers", sandbox is not None and sandbox.ready)
    sidecars = {c["name"] for c in view.init_containers(pod) if view.is_sidecar(c)}
    undone = [r["name"] for r in inits if not (r["started"] if r["name"] in sidecars else _exit_code(r) == 0)]
    over = phase in ("Succeeded", "Failed")
    if phase == "Succeeded":
        add("Initialized", True, "PodCompleted")
    else:
        text = f"containers with incomplete status: [{' '.join(undone)}]" if undone else ""
        add("Initialized", not undone, "ContainersNotInitialized" if undone else "", text)
    unready = [r["name"] for r in (*inits, *apps) if not r["ready"] and (r["name"] in sidecars or r in apps)]
    reason, message = "", ""
    if over:
        reason = "PodCompleted" if phase == "Succeeded" else "PodFailed"
    elif unready:
        reason, message = "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    containers_ready = not unready and not over
    gates = [g["conditionType"] for g in pod["spec"].get("readinessGates") or ()]
    closed = [g for g in gates if old.get(g, {}).get("status") != "True"]
    if containers_ready and closed:
        lines = [
            f'corresponding condition of pod readiness gate "{g}" does not exist.'
            if g not in old
            else f'the status of pod readiness gate "{g}" is not "True", but {old[g].get("status")}'
            for g in closed
        ]
        add("Ready", False, "ReadinessGatesNotReady", ", ".join(lines))
    else:
        add("Ready", containers_ready, reason, message)
    add("ContainersReady", containers_ready, reason, message)
    add("PodScheduled", True)
    return made


def merged_conditions(pod: Obj, own: list[Obj]) -> list[Obj]:
    """The kubelet's conditions with those of others (readiness gates, DisruptionTarget), in a stable order."""
    others = [c for c in (pod.get("status") or {}).get("conditions") or () if c["type"] not in _OWNED]
    return [*own, *others]
