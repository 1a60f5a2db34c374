"""The status of one container from what is observed of it: pure.

Source: API reference, ContainerStatus; Kubernetes documentation, "Container states".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from hawser.api.pod_restarts import may_restart_all
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.node.cri.model import Container, ContainerState
from hawser.node.pod import restarts, view
from hawser.node.pod.observed import Memory, Observed, Waiting
from hawser.node.rich import HANDLER

_RESTARTING_ALL = "RestartingAllContainers"
_REMOVED = "The container is removed because RestartAllContainers in place"
_MESSAGES_BYTES = 12 * 1024
_FIELDS = {
    "initContainers": "initContainerStatuses",
    "containers": "containerStatuses",
    "ephemeralContainers": "ephemeralContainerStatuses",
}


def stamp(seconds: float) -> str:
    """metav1.Time of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Rows:
    """Makes the container statuses of one pod. reasons: why containers wait. ended: nothing of it runs any more."""

    def __init__(
        self, pod: Obj, observed: Observed, memory: Memory, reasons: Mapping[str, Waiting], *, ended: bool = False
    ) -> None:
        self._pod = pod
        self._observed = observed
        self._memory = memory
        self._reasons = reasons
        # What has exited is not started again in a pod that ends.
        self._ends = ended or view.deleting(pod)
        status = pod.get("status") or {}
        self._before = {row["name"]: row for field in _FIELDS.values() for row in status.get(field) or ()}
        self._app_created = any(observed.newest(c["name"]) for c in view.containers(pod))
        # Kubernetes gives the messages of a pod 12 KiB in all.
        self._message_bytes = _MESSAGES_BYTES // max(1, sum(1 for _ in view.every_container(pod)))
        self._all_anew = may_restart_all(pod["spec"])
        self._rich = pod["spec"].get("runtimeClassName") == HANDLER

    def of(self, field: str) -> list[Obj]:
        """The rows of all containers in one of the pod's three lists."""
        made = [self._row(container, field) for container in self._pod["spec"].get(field) or ()]
        if field == "ephemeralContainers":
            # Nothing asks whether one of these has started or is ready.
            for row in made:
                del row["started"]
                row["ready"] = False
        return made

    def _row(self, spec: Obj, field: str) -> Obj:
        name = spec["name"]
        row: Obj = {"name": name, "image": spec.get("image") or "", "imageID": "", "restartCount": 0, "ready": False}
        row |= {"started": False, "lastState": {}}
        row["state"] = {"waiting": {"reason": "PodInitializing" if self._inits else "ContainerCreating"}}
        if mounts := spec.get("volumeMounts"):
            row["volumeMounts"] = [_mount(mount) for mount in mounts]
        instances = self._observed.containers.get(name, ())
        if instances:
            self._seen(row, spec, field, instances)
        else:
            self._unseen(row, spec, field)
        return row

    @property
    def _inits(self) -> bool:
        return bool(self._pod["spec"].get("initContainers"))

    def _unseen(self, row: Obj, spec: Obj, field: str) -> None:
        """A container that was never started here, or whose record the runtime lost: then the API knows best."""
        name = spec["name"]
        before = self._before.get(name)
        if before is not None and before.get("containerID"):
            row |= {k: before[k] for k in ("image", "imageID", "restartCount", "containerID") if k in before}
            self._lost(row, before)
        elif before is not None and before.get("lastState"):
            row["lastState"], row["restartCount"] = before["lastState"], before.get("restartCount", 0)
        if name in self._reasons:
            row["state"] = {"waiting": _waiting(self._reasons[name])}
        elif (
            field == "initContainers" and not view.is_sidecar(spec) and self._app_created and "waiting" in row["state"]
        ):
            text = "Unable to get init container status from container runtime and pod has been initialized, "
            ended = {"reason": "Completed", "message": text + "treat it as exited normally", "exitCode": 0}
            row["state"], row["ready"] = {"terminated": ended}, True

    def _lost(self, row: Obj, before: Obj) -> None:
        state = before.get("state") or {}
        if self._all_anew and "waiting" not in state and not has_ended(self._pod):
            row["state"] = {"waiting": {"reason": _RESTARTING_ALL, "message": _REMOVED}}
            row["lastState"] = {"terminated": state.get("terminated") or self._vanished()}
            row["restartCount"] = before.get("restartCount", 0) + 1
            del row["containerID"]
        elif "terminated" in state:
            row["state"], row["ready"] = state, bool(before.get("ready"))
            row["lastState"] = before.get("lastState") or {}
        elif "running" in state:
            row["lastState"] = {"terminated": self._vanished()}
        else:
            row["lastState"] = before.get("lastState") or {}

    def _seen(self, row: Obj, spec: Obj, field: str, instances: tuple[Container, ...]) -> None:
        name, newest, memory = spec["name"], instances[0], self._memory
        row["containerID"] = f"containerd://{newest.id}"
        row["imageID"] = newest.image_ref
        if newest.image and not newest.image.startswith("sha256:"):
            row["image"] = newest.image
        row["restartCount"] = newest.restart_count
        self._last_state(row, instances)
        # An init container that has done its work counts as ready.
        ends = field == "initContainers" and not view.is_sidecar(spec)
        if newest.running and newest.id not in memory.hooking:
            row["state"] = {"running": {"startedAt": stamp(newest.started_at or newest.created_at)}}
            row["started"] = memory.started.get(newest.id, False)
            row["ready"] = row["started"] and not ends and memory.ready.get(newest.id, False)
        elif newest.exited:
            terminated = self._ended(newest)
            if name in self._reasons and self._returns(spec, newest):
                row["state"] = {"waiting": _waiting(self._reasons[name])}
                row["lastState"] = {"terminated": terminated}
            elif newest.id in memory.hooked and self._returns(spec, newest):
                # The node itself ended it to start it anew: that is no end.
                row["lastState"] = {"terminated": terminated}
            else:
                row["state"] = {"terminated": terminated}
                row["ready"] = ends and newest.exit_code == 0
        elif name in self._reasons:
            row["state"] = {"waiting": _waiting(self._reasons[name])}
        if newest.user is not None:
            uid, gid, groups = newest.user
            row["user"] = {"linux": {"uid": uid, "gid": gid, "supplementalGroups": list(groups)}}
        if newest.stop_signal:
            row["stopSignal"] = newest.stop_signal
        given = spec.get("resources") or {}
        row["resources"] = memory.actual.get(newest.id, given)
        if requests := given.get("requests"):
            row["allocatedResources"] = requests

    def _ended(self, container: Container) -> Obj:
        row = ended(container, self._memory, self._message_bytes)
        other = row["exitCode"] != 137 or container.id in self._memory.outlived
        if self._rich and row["reason"] == "OOMKilled" and other:
            # The runtime says so once the kernel has killed anything in there. With an init that is not the end.
            row["reason"] = _reason(row["exitCode"])
        return row

    def _returns(self, spec: Obj, newest: Container) -> bool:
        """Whether a container that has ended only waits to be started again."""
        if self._ends:
            return False
        return newest.id in self._memory.renewed or restarts.again(self._pod, spec, newest.exit_code)

    def _last_state(self, row: Obj, instances: tuple[Container, ...]) -> None:
        newest, before = instances[0], self._before.get(row["name"])
        previous = next((c for c in instances[1:] if c.exited), None)
        if previous is not None:
            row["lastState"] = {"terminated": self._ended(previous)}
        elif before is not None and newest.restart_count:
            # The runtime has forgotten the instance before; the API may not have.
            state = before.get("state") or {}
            if before.get("containerID") == row["containerID"] or not (state.keys() & {"running", "terminated"}):
                row["lastState"] = before.get("lastState") or {}
            else:
                row["lastState"] = {"terminated": state.get("terminated") or self._vanished()}

    def _vanished(self) -> Obj:
        """ContainerStateTerminated of a container whose end nobody saw."""
        if self._all_anew:
            return {"reason": _RESTARTING_ALL, "message": _REMOVED, "exitCode": 137}
        text = "The container could not be located when the pod was deleted.  The container used to be Running"
        return {"reason": "ContainerStatusUnknown", "message": text, "exitCode": 137}


def close(inits: list[Obj], apps: list[Obj]) -> None:
    """Nothing of the pod will run any more: whatever has not come to an end is said to have been lost.

    Containers that the pod never came to, because it was initializing, stay as they were.
    """
    begun = [i for i, row in enumerate(inits) if "waiting" not in row["state"] or row.get("lastState")]
    reached = inits[: begun[-1] + 1] if begun else []
    initialized = all(row["ready"] or row["started"] or (row.get("lastState") or {}) for row in inits)
    for row in (*reached, *(apps if initialized or not inits else ())):
        if "terminated" not in row["state"]:
            text = "The container could not be located when the pod was terminated"
            row["state"] = {"terminated": {"reason": "ContainerStatusUnknown", "message": text, "exitCode": 137}}
            row["ready"] = row["started"] = False


def _mount(mount: Obj) -> Obj:
    row: Obj = {"name": mount["name"], "mountPath": mount["mountPath"]}
    return row | {"readOnly": True, "recursiveReadOnly": "Disabled"} if mount.get("readOnly") else row


def _waiting(why: Waiting) -> Obj:
    return {"reason": why.reason, "message": why.message} if why.message else {"reason": why.reason}


def _reason(code: int) -> str:
    return "Error" if code else "Completed"


def ended(container: Container, memory: Memory, message_bytes: int) -> Obj:
    """ContainerStateTerminated of an instance that has exited."""
    unknown = container.state == ContainerState.UNKNOWN
    reason = container.reason or _reason(container.exit_code)
    row: Obj = {
        "exitCode": 137 if unknown else container.exit_code,
        "reason": "ContainerStatusUnknown" if unknown else reason,
        "startedAt": stamp(container.started_at) if container.started_at else None,
        "finishedAt": stamp(container.finished_at) if container.finished_at else None,
        "containerID": f"containerd://{container.id}",
    }
    message = memory.messages.get(container.id) or container.message
    if message:
        row["message"] = message.encode()[:message_bytes].decode(errors="ignore")
    return {k: v for k, v in row.items() if v is not None}
