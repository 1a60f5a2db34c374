"""What a rich container's application does, as its own scripts tell: records, Events, the pod's condition. Pure.

Whatever comes out of a container is a claim of its tenant. It is taken apart strictly, and says nothing of other pods.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from hawser.api.types import Obj

CONDITION = "rich.hawser.dev/ApplicationReady"
STATES = ("activating", "active", "inactive", "failed")
_UNIT = re.compile(r"[A-Za-z0-9@._:-]{1,100}")
_LARGEST = 2**31


@dataclass(frozen=True, slots=True)
class Application:
    """The application's state when it was last heard of."""

    unit: str
    state: str
    code: int | None = None  # how it ended the last time
    signal: int | None = None
    restarts: int = 0  # inside the container, since that started
    limit: int = 0

    @property
    def end(self) -> str:
        """How it ended, in words; "" when it has not."""
        if self.code is None:
            return ""
        return f"exit code {self.code}" + (f" ({_signal_name(self.signal)})" if self.signal else "")


class Told(NamedTuple):
    """An Event to be."""

    type: str
    reason: str
    message: str


def field_path(pod: Obj, name: str) -> str:
    """The part of a pod that is the container of that name, as Events have it; "" when there is none."""
    fields = ("initContainers", "containers")
    found = (field for field in fields for one in pod["spec"].get(field) or () if one["name"] == name)
    return next((f"spec.{field}{{{name}}}" for field in found), "")


def statuses(pod: Obj) -> Iterator[tuple[Obj, bool]]:
    """Rows of a pod's status by container, and whether it is to run as long as the pod: all but init containers that
    are no sidecars."""
    sidecars = {one["name"] for one in pod["spec"].get("initContainers") or () if one.get("restartPolicy") == "Always"}
    status = pod.get("status") or {}
    for row in status.get("initContainerStatuses") or ():
        yield row, row["name"] in sidecars
    for row in status.get("containerStatuses") or ():
        yield row, True


def misnamed(pod: Obj) -> Told | None:
    """A word about names of rich containers that are none of the pod's; who starts a container knows that one alone."""
    annotation = "rich.hawser.dev/container"
    listed = (pod["metadata"].get("annotations") or {}).get(annotation, "")
    names = {one["name"] for field in ("initContainers", "containers") for one in pod["spec"].get(field) or ()}
    lost = [name for name in map(str.strip, listed.split(",")) if name and name not in names]
    if not lost:
        return None
    there = ", ".join(sorted(names))
    text = f"annotation {annotation} names {', '.join(lost)}: the pod has no such container, only {there}"
    return Told("Warning", "RichContainerNotFound", text)


def parse(line: bytes) -> Application | None:
    """The application's state in a line of a journal; None for a line that is anything else."""
    try:
        row: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(row, dict) or row.get("kind") != "app" or row.get("state") not in STATES:
        return None
    unit = row.get("unit")
    if not isinstance(unit, str) or not _UNIT.fullmatch(unit):
        return None
    code, number = _whole(row.get("code"), 255), _whole(row.get("signal"), 64)
    restarts, limit = _whole(row.get("restarts"), _LARGEST), _whole(row.get("limit"), _LARGEST)
    return Application(unit, row["state"], code, number, restarts or 0, limit or 0)


def outlived(lines: Iterable[bytes]) -> bool:
    """Whether nothing was killed for want of memory between the application's last start and the container's end.

    lines: of the journal that is kept of a container that has ended. False where it does not tell.
    """
    before = after = None
    for line in lines:
        try:
            row: Any = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict) and row.get("kind") == "app":
            before = _whole(row.get("oomKills"), _LARGEST)
        elif isinstance(row, dict) and row.get("kind") == "end":
            after = _whole(row.get("oomKills"), _LARGEST)
    return before is not None and after is not None and after <= before


def _whole(value: object, largest: int) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def event(now: Application) -> Told:
    """What the pod's owner is told of a new state."""
    ended = f"{now.unit} ended with {now.end or 'no exit code'}"
    match now.state:
        case "active" if now.restarts:
            return Told("Normal", "ApplicationRestarted", f"{now.unit} is active again, restarts: {now.restarts}")
        case "active":
            return Told("Normal", "ApplicationStarted", f"{now.unit} is active")
        case "activating":
            return Told("Warning", "ApplicationRestarting", f"{ended}; it is started again, restarts: {now.restarts}")
        case "inactive":
            return Told("Normal", "ApplicationStopped", f"{now.unit} was stopped inside the container")
    if now.code == 0:
        return Told("Normal", "ApplicationCompleted", f"{ended}; the container ends with it")
    return Told("Warning", "ApplicationFailed", f"{ended} after {now.restarts} restarts; the container ends with it")


_REASONS = {"active": "Active", "activating": "Restarting", "inactive": "Stopped", "failed": "Failed"}


class Row(NamedTuple):
    """One container of a pod: what the runtime's status and the application itself say of it."""

    name: str
    status: Obj  # its row of containerStatuses
    application: Application | None  # None: it has not said anything


def condition(rows: list[Row]) -> Obj:
    """The pod's condition by its rich containers: True when all of their applications run."""
    words, reason = [], "Active"
    for row in rows:
        why, text = _of_container(row)
        if why != "Active" and reason == "Active":
            reason = why
        words.append(f"container {row.name}: {text}")
    status = "True" if rows and reason == "Active" else "False"
    return {"type": CONDITION, "status": status, "reason": reason, "message": "; ".join(words)}


def _of_container(row: Row) -> tuple[str, str]:
    said, state = row.application, row.status.get("state") or {}
    if "running" not in state:
        terminated = state.get("terminated") or (row.status.get("lastState") or {}).get("terminated")
        unit = said.unit if said else "the application"
        after = f" after {said.restarts} restarts" if said and said.restarts else ""
        if not terminated:
            return "ContainerNotRunning", "it has not started"
        why = terminated.get("reason") or "Error"
        return "ContainerNotRunning", f"{unit} ended with exit code {terminated.get('exitCode')} ({why}){after}"
    if said is None:
        return "Starting", "the application has not started"
    end = f", it ended with {said.end}" if said.end and said.state != "active" else ""
    return _REASONS[said.state], f"{said.unit} is {said.state}{end}, restarts: {said.restarts}"


def changed(pod: Mapping[str, Any], wanted: Obj, now: str) -> Obj | None:
    """The condition to write, with its times; None when the pod has it. now: metav1.Time."""
    rows = (pod.get("status") or {}).get("conditions") or ()
    old: Obj = next((row for row in rows if row["type"] == CONDITION), {})
    if all(old.get(key) == wanted[key] for key in ("status", "reason", "message")):
        return None
    same = old.get("status") == wanted["status"]
    return {**wanted, "lastTransitionTime": (same and old.get("lastTransitionTime")) or now}


def hook_event(row: Mapping[str, Any]) -> Told | None:
    """What the pod's owner is told of a hook, by the node's own record of it; None for other records."""
    if row.get("kind") != "hook":
        return None
    phase, name, problem, output = (str(row.get(key) or "") for key in ("phase", "hook", "problem", "output"))
    subject = f"{phase} hook {name}"
    said = f": {output[-300:]}" if output else ""
    if problem:
        return Told("Warning", f"{phase.capitalize()}HookFailed", f"{subject}: {problem}{said}")
    seconds = row.get("seconds")
    return Told("Normal", f"{phase.capitalize()}HookSucceeded", f"{subject} took {seconds} s{said}")
