"""What waits and is served where, for whoever wonders why requests are slow: /debug/api_priority_and_fairness/*.

Source: kube-apiserver's dumps (apf_controller_debug.go): tables for people, a comma before each tab stop. Here a
queue is a flow's own, as long as it waits; requests without one have the index -1, as those without queues there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from hawser.apiserver.flowcontrol.control import FlowControl
from hawser.apiserver.flowcontrol.levels import Level
from hawser.apiserver.paths import Target
from hawser.apiserver.reply import Reply

_NARROWEST = 8
_LEVEL_COLUMNS = (
    *("PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests"),
    *("DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests"),
)
_QUEUE_COLUMNS = (
    *("PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR"),
    *("InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum"),
)
_REQUEST_COLUMNS = (
    *("PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime"),
    *("InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime"),
)
_DETAILS = ("UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")


def levels(flow: FlowControl) -> Reply:
    """A line for each priority level."""
    return _table([_LEVEL_COLUMNS, *_levels(flow)])


def _levels(flow: FlowControl) -> Iterator[tuple[str, ...]]:
    for level in sorted(flow.levels, key=lambda level: level.name):
        counts = [found for (name, _), found in flow.counts.items() if name == level.name]
        rejected: dict[str, int] = {}
        for found in counts:
            for reason, count in found.rejected.items():
                rejected[reason] = rejected.get(reason, 0) + count
        late, gone = rejected.pop("time-out", 0), rejected.pop("cancelled", 0)
        idle = not level.waiting and not level.executing
        numbers = (level.waiting, level.executing, sum(found.dispatched for found in counts))
        yield (
            *(level.name, str(len(level.flows)), str(idle).lower(), "false", *map(str, numbers)),
            *map(str, (sum(rejected.values()), late, gone)),
        )


def queues(flow: FlowControl) -> Reply:
    """A line for each queue."""
    served = Counter(place.flow for place, _, _ in flow.executing.values())
    lines = (
        (level.name, str(index), str(waiting), *[str(served[name])] * 2, _NO_TIME, *[str(waiting)] * 2, _NO_TIME)
        for level in flow.levels
        for index, (name, waiting) in enumerate(level.flows)
    )
    return _table([_QUEUE_COLUMNS, *lines])


_NO_TIME = "0.00000000ss"


def requests(flow: FlowControl, details: bool) -> Reply:
    """A line for each request that waits or is served."""
    lines = (
        line + (_details(target) if details else ())
        for level in flow.levels
        for target, line in (*_waiting(flow, level), *_executing(flow, level))
    )
    return _table([_REQUEST_COLUMNS + (_DETAILS if details else ()), *lines])


def _waiting(flow: FlowControl, level: Level) -> Iterator[tuple[Target, tuple[str, ...]]]:
    places: Counter[str] = Counter()
    for waiting in flow.waiting.values():
        if waiting.level is level:
            place = places[waiting.flow]
            places[waiting.flow] += 1
            yield waiting.target, _line(level, waiting.flow, place, _moment(waiting.arrived), "0001-01-01T00:00:00Z")


def _executing(flow: FlowControl, level: Level) -> Iterator[tuple[Target, tuple[str, ...]]]:
    ago = time.time() - time.perf_counter()
    for target, (place, began, waited) in flow.executing.items():
        if place.level is level:
            began += ago
            yield target, _line(level, place.flow, -1, _moment(began - waited), _moment(began))


def _line(level: Level, flow: str, place: int, arrived: str, started: str) -> tuple[str, ...]:
    schema, _, distinguisher = flow.partition("/")
    index = next((at for at, (name, _) in enumerate(level.flows) if name == flow), -1)
    return (level.name, schema, str(index), str(place), distinguisher, arrived, "1", "0", "0s", started)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _details(target: Target) -> tuple[str, ...]:
    version = target.kind.api_version if target.kind is not None else ""
    who = (target.user.name, target.verb, target.path, target.namespace, target.name)
    return (*who, version, target.resource, target.subresource)


def _table(cells: Iterable[tuple[str, ...]]) -> Reply:
    """Columns as Go's tabwriter sets them."""
    rows = [tuple(f"{cell}," for cell in line[:-1]) + line[-1:] for line in cells]
    widths = [max(_NARROWEST, *(len(row[at]) + 1 for row in rows)) for at in range(len(rows[0]) - 1)]
    lines = ("".join(f"{cell:<{width}}" for cell, width in zip(row, (*widths, 0), strict=True)) for row in rows)
    return Reply("".join(f"{line}\n" for line in lines).encode(), 200, "text/plain; charset=utf-8")
