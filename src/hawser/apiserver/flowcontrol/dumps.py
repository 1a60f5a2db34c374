"""What waits where, for whoever wonders why requests are slow: /debug/api_priority_and_fairness/*.

Source: kube-apiserver's dumps (apf_controller_debug.go): tables for people, a comma before each tab stop. Here a
queue is a flow's own, as long as it waits, and requests that are being served are counted, but not listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from hawser.apiserver.flowcontrol.control import FlowControl
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
    lines = (
        (level.name, str(index), str(count), "0", "0", "0.00000000ss", str(count), str(count), "0.00000000ss")
        for level in flow.levels
        for index, (_, count) in enumerate(level.flows)
    )
    return _table([_QUEUE_COLUMNS, *lines])


def requests(flow: FlowControl, details: bool) -> Reply:
    """A line for each request that waits."""
    return _table([_REQUEST_COLUMNS + (_DETAILS if details else ()), *_requests(flow, details)])


def _requests(flow: FlowControl, details: bool) -> Iterator[tuple[str, ...]]:
    places: dict[str, int] = {}
    for waiting in flow.waiting.values():
        target, level = waiting.target, waiting.level
        schema, _, distinguisher = waiting.flow.partition("/")
        index = next((at for at, (name, _) in enumerate(level.flows) if name == waiting.flow), -1)
        place = places[waiting.flow] = places.get(waiting.flow, -1) + 1
        arrived = datetime.fromtimestamp(waiting.arrived, UTC).isoformat().replace("+00:00", "Z")
        line: tuple[str, ...] = (level.name, schema, str(index), str(place), distinguisher, arrived, "1", "0", "0s")
        line += ("0001-01-01T00:00:00Z",)
        if details:
            kind = target.kind
            version = kind.api_version if kind is not None else ""
            line += (target.user.name, target.verb, target.path, target.namespace, target.name, version)
            line += (target.resource, target.subresource)
        yield line


def _table(cells: Iterable[tuple[str, ...]]) -> Reply:
    """Columns as Go's tabwriter sets them."""
    rows = [tuple(f"{cell}," for cell in line[:-1]) + line[-1:] for line in cells]
    widths = [max(_NARROWEST, *(len(row[at]) + 1 for row in rows)) for at in range(len(rows[0]) - 1)]
    lines = ("".join(f"{cell:<{width}}" for cell, width in zip(row, (*widths, 0), strict=True)) for row in rows)
    return Reply("".join(f"{line}\n" for line in lines).encode(), 200, "text/plain; charset=utf-8")
