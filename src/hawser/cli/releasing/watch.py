"""Whether what was released runs: the unit's state and the pod's readiness, over time. The decision is pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.cli.context import Failure

_RESTARTS = 3
"""A unit that restarts so often while it is watched does not come up."""


class Replaced(Failure):
    """The container is another one than the one that the release went to: nothing of it is left to undo."""


@dataclass(frozen=True)
class PodState:
    """What of a pod a release must not change, and whether it is ready."""

    container_id: str
    pod_ip: str
    ready: bool
    why: str = ""


def pod_state(pod: Obj, container: str) -> PodState:
    """The state in a pod's status. Raises Failure when the container does not run."""
    status = pod.get("status") or {}
    found: Obj = next((s for s in status.get("containerStatuses") or () if s["name"] == container), {})
    name = pod["metadata"]["name"]
    if pod["metadata"].get("deletionTimestamp"):
        raise Replaced(f"pod {name} is being deleted")
    if "running" not in (found.get("state") or {}):
        ended = (found.get("state") or {}).get("terminated") or (found.get("lastState") or {}).get("terminated") or {}
        how = f": it ended with code {ended['exitCode']}, {ended.get('reason', 'Error')}" if ended else ""
        raise Replaced(f"container {container} of pod {name} does not run{how}")
    ready = condition(pod, "Ready") or {}
    why = ready.get("message") or ready.get("reason") or "no condition Ready"
    return PodState(found.get("containerID", ""), status.get("podIP", ""), ready.get("status") == "True", why)


def settle_seconds(pod: Obj, container: str) -> float:
    """How long a pod has to stay ready: what its readiness probe needs to notice the contrary, at least 3 s."""
    spec = next(c for c in pod["spec"]["containers"] if c["name"] == container)
    probe = spec.get("readinessProbe")
    if not probe:
        return 3.0
    seconds = int(probe.get("periodSeconds") or 10) * int(probe.get("failureThreshold") or 3)
    return float(min(max(seconds + int(probe.get("timeoutSeconds") or 1), 3), 60))


def unit_state(text: str) -> dict[str, str]:
    """What `systemctl show` printed."""
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


@dataclass
class Watch:
    """Follows one unit and its pod until it is clear how the release went.

    unit: its name, "" when none was restarted; before: the pod as it was; settle: seconds that all has to stay well.
    """

    unit: str
    before: PodState
    settle: float
    since: float | None = field(default=None, init=False)
    waiting: str = field(default="", init=False)
    _main: str = field(default="", init=False)
    _first_restarts: int | None = field(default=None, init=False)

    def feed(self, now: float, pod: PodState, unit: dict[str, str]) -> bool:
        """Whether it is well. Raises Failure when it is clear that it is not, Replaced for another container."""
        if pod.container_id != self.before.container_id:
            raise Replaced("the container was restarted: it is made of its image again, and the release is gone")
        trouble = self._of_unit(unit) if self.unit else ""
        trouble = trouble or ("" if pod.ready else f"the pod is not ready: {pod.why}")
        self.waiting = trouble
        if trouble:
            self.since = None
            return False
        if self.since is None or unit.get("MainPID", "") != self._main:
            self.since, self._main = now, unit.get("MainPID", "")
        return now - self.since >= self.settle

    def _of_unit(self, unit: dict[str, str]) -> str:
        state, result = unit.get("ActiveState", "unknown"), unit.get("Result", "")
        restarts = int(unit.get("NRestarts") or 0)
        self._first_restarts = restarts if self._first_restarts is None else min(self._first_restarts, restarts)
        status = f", exit code {unit['ExecMainStatus']}" if unit.get("ExecMainStatus", "0") != "0" else ""
        if unit.get("LoadState") == "not-found":
            raise Failure(f"there is no unit {self.unit} in the container")
        if state == "failed":
            raise Failure(f"unit {self.unit} failed: {result or 'it does not run'}{status}")
        if restarts - self._first_restarts >= _RESTARTS:
            raise Failure(f"unit {self.unit} does not stay up: {restarts - self._first_restarts} restarts{status}")
        if state == "active" or (unit.get("Type") == "oneshot" and state == "inactive" and result == "success"):
            return ""
        return f"unit {self.unit} is {state} ({unit.get('SubState', '')})"
