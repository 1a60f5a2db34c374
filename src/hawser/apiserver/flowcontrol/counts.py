"""What priority and fairness counts, by level and schema.

Names, labels and buckets are those of Kubernetes' metrics reference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from hawser.apiserver.flowcontrol.levels import Level
from hawser.exposition import Histogram, family, histogram, labels

_PREFIX = "apiserver_flowcontrol_"
_EDGES = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)


class Counts:
    """Requests of one schema at its level. waited: how long until they ran; gave_up: until they did not."""

    __slots__ = ("dispatched", "executing", "gave_up", "ran", "rejected", "waited", "waiting")

    def __init__(self) -> None:
        self.dispatched = self.executing = self.waiting = 0
        self.rejected: dict[str, int] = {}
        self.waited = Histogram(_EDGES)
        self.gave_up = Histogram(_EDGES)
        self.ran = Histogram(_EDGES)

    def reject(self, reason: str) -> None:
        """Count a request that does not run. reason: queue-full, concurrency-limit, time-out or cancelled."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1


def exposed(levels: Iterable[Level], counts: dict[tuple[str, str], Counts]) -> Iterator[str]:
    """Everything. counts: by level and schema."""
    known = {
        labels({"priority_level": level, "flow_schema": schema}): found for (level, schema), found in counts.items()
    }
    yield from _numbers(known)
    name = _PREFIX + "rejected_requests_total"
    yield family(name, "counter", "Number of requests rejected by API Priority and Fairness subsystem")
    for at, found in known.items():
        yield from (f'{name}{{{at},reason="{reason}"}} {count}' for reason, count in found.rejected.items())
    name = _PREFIX + "request_wait_duration_seconds"
    yield family(name, "histogram", "Length of time a request spent waiting in its queue")
    for at, found in known.items():
        for execute, values in (("true", found.waited), ("false", found.gave_up)):
            if any(values.buckets):
                yield from histogram(name, f'{at},execute="{execute}"', values)
    name = _PREFIX + "request_execution_seconds"
    yield family(name, "histogram", "Duration of request execution in the API Priority and Fairness subsystem")
    for at, found in known.items():
        if any(found.ran.buckets):
            yield from histogram(name, f'{at},type="regular"', found.ran)
    yield from _seats(list(levels))


def _numbers(known: dict[str, Counts]) -> Iterator[str]:
    subsystem = "the API Priority and Fairness subsystem"
    for name, kind, text, attribute in (
        (
            "dispatched_requests_total",
            "counter",
            "Number of requests executed by API Priority and Fairness",
            "dispatched",
        ),
        (
            "current_inqueue_requests",
            "gauge",
            f"Number of requests currently pending in queues of {subsystem}",
            "waiting",
        ),
        ("current_inqueue_seats", "gauge", f"Number of seats currently pending in queues of {subsystem}", "waiting"),
        ("current_executing_requests", "gauge", f"Number of requests in execution in {subsystem}", "executing"),
        ("current_executing_seats", "gauge", f"Concurrency occupied by executing requests in {subsystem}", "executing"),
    ):
        yield family(_PREFIX + name, kind, text)
        yield from (f"{_PREFIX}{name}{{{at}}} {getattr(found, attribute)}" for at, found in known.items())


def _seats(levels: list[Level]) -> Iterator[str]:
    """How many requests of each level may run: its own share, and with what it lends and borrows."""
    limited = [level for level in levels if not level.exempt]
    for name, text, seats in (
        ("nominal_limit_seats", "Nominal number of execution seats configured for each priority level", _own),
        ("lower_limit_seats", "Configured lower bound on number of execution seats available to each level", _least),
        ("upper_limit_seats", "Configured upper bound on number of execution seats available to each level", _most),
    ):
        yield family(_PREFIX + name, "gauge", text)
        for level in limited:
            yield f"{_PREFIX}{name}{{{labels({'priority_level': level.name})}}} {seats(level, limited)}"


def _own(level: Level, all_levels: list[Level]) -> int:
    return level.seats


def _least(level: Level, all_levels: list[Level]) -> int:
    return level.seats - round(level.seats * level.lends / 100)


def _most(level: Level, all_levels: list[Level]) -> int:
    if not math.isinf(level.borrows):
        return level.seats + round(level.seats * level.borrows)
    others = sum(round(other.seats * other.lends / 100) for other in all_levels if other is not level)
    return level.seats + others
