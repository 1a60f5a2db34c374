"""Priority levels: how many requests are served at once, and who goes next.

Source: Kubernetes documentation, "API Priority and Fairness", and KEP-1040. A level has a share of the seats; what it
does not use it lends, up to a limit. Who does not get a seat waits in a queue, and flows take turns. The original deals
flows into a fixed number of queues; here each flow that waits has one of its own, as long as it waits.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterable, Iterator

from hawser.api.errors import APIError
from hawser.api.types import Obj

WAIT_SECONDS = 15.0
"""The longest wait for a seat: a quarter of the request timeout, as in the original."""


class Level:
    """One priority level. seats: its own share. waiting, executing: requests."""

    __slots__ = (
        "_flows",
        "_turns",
        "borrows",
        "executing",
        "exempt",
        "lends",
        "longest",
        "most",
        "name",
        "queues",
        "seats",
        "shares",
        "uid",
        "waiting",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.uid = ""
        self.exempt = False
        self.queues = False
        self.shares = self.seats = self.lends = self.longest = self.most = 0
        self.borrows: float = math.inf
        self.executing = self.waiting = 0
        self._flows: dict[str, deque[asyncio.Future[None]]] = {}
        self._turns: deque[str] = deque()

    def configure(self, obj: Obj) -> None:
        """Take over a (defaulted, valid) PriorityLevelConfiguration; seats come from ``share``."""
        spec = obj["spec"]
        self.uid = obj["metadata"]["uid"]
        self.exempt = spec["type"] == "Exempt"
        limited = spec.get("limited") or spec.get("exempt") or {}
        self.shares = limited.get("nominalConcurrencyShares", 0)
        self.lends = limited.get("lendablePercent", 0)
        borrowing = limited.get("borrowingLimitPercent")
        self.borrows = math.inf if borrowing is None else borrowing / 100
        response = limited.get("limitResponse") or {}
        queuing = response.get("queuing") or {}
        self.queues = response.get("type") == "Queue"
        # One flow may fill its hand of queues; all of them together every queue.
        self.longest = queuing.get("handSize", 0) * queuing.get("queueLengthLimit", 0)
        self.most = queuing.get("queues", 0) * queuing.get("queueLengthLimit", 0)

    @property
    def flows(self) -> list[tuple[str, int]]:
        """The flows that wait, and how many requests of each."""
        return [(flow, len(queue)) for flow, queue in self._flows.items()]

    @property
    def lendable(self) -> int:
        """Seats of its own that others may use now."""
        return max(0, min(round(self.seats * self.lends / 100), self.seats - self.executing))

    def push(self, flow: str) -> asyncio.Future[None]:
        """Stand in the queue of a flow. APIError 429 when there is no place."""
        queue = self._flows.get(flow)
        if not self.queues or self.waiting >= self.most or (queue is not None and len(queue) >= self.longest):
            raise too_many()
        if queue is None:
            queue = self._flows[flow] = deque()
            self._turns.append(flow)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(future)
        self.waiting += 1
        return future

    def pop(self) -> asyncio.Future[None] | None:
        """Whose turn it is, out of the queue; None when nobody waits."""
        while self._turns:
            flow = self._turns.popleft()
            queue = self._flows[flow]
            future = queue.popleft()
            if queue:
                self._turns.append(flow)
            else:
                del self._flows[flow]
            self.waiting -= 1
            if not future.done():
                return future
        return None


class Levels:
    """All of them, and the seats that they share."""

    def __init__(self, seats: int) -> None:
        self._total = seats
        self._levels: dict[str, Level] = {}
        self._crowded: dict[str, Level] = {}

    def __getitem__(self, name: str) -> Level:
        return self._levels[name]

    def __contains__(self, name: str) -> bool:
        return name in self._levels

    def __iter__(self) -> Iterator[Level]:
        return iter(self._levels.values())

    def configure(self, objects: Iterable[Obj]) -> None:
        """These levels and no others; requests of a level that is gone end in it, and nobody waits for ever."""
        kept = {}
        for obj in objects:
            name = obj["metadata"]["name"]
            level = kept[name] = self._levels.get(name) or Level(name)
            level.configure(obj)
        for gone in self._levels.keys() - kept.keys():
            self._crowded.pop(gone, None)
            while (future := self._levels[gone].pop()) is not None:
                future.set_exception(too_many())
        self._levels = kept
        shares = sum(level.shares for level in kept.values()) or 1
        for level in kept.values():
            level.seats = math.ceil(self._total * level.shares / shares)
        self._serve_waiting()

    def enter(self, level: Level, flow: str) -> asyncio.Future[None] | None:
        """Take a seat (None), or wait for one: the seat is taken when the future is done. APIError 429."""
        if level.exempt or (not level.waiting and self._has_seat(level)):
            level.executing += 1
            return None
        future = level.push(flow)
        self._crowded[level.name] = level
        return future

    def leave(self, level: Level) -> None:
        """Give a seat back."""
        level.executing -= 1
        if self._crowded:
            self._serve_waiting()

    def _has_seat(self, level: Level) -> bool:
        if level.executing < level.seats:
            return True
        borrowed = level.executing - level.seats
        if borrowed >= level.seats * level.borrows:
            return False
        lendable = sum(other.lendable for other in self._levels.values() if other is not level and not other.exempt)
        lent = sum(max(0, other.executing - other.seats) for other in self._levels.values() if not other.exempt)
        return lent < lendable

    def _serve_waiting(self) -> None:
        for level in list(self._crowded.values()):
            while self._has_seat(level):
                future = level.pop()
                if future is None:
                    break
                level.executing += 1
                future.set_result(None)
            if not level.waiting:
                self._crowded.pop(level.name, None)


def too_many() -> APIError:
    """The 429 of a server that is asked too much."""
    details = {"retryAfterSeconds": 1}
    return APIError(429, "TooManyRequests", "Too many requests, please try again later.", details=details)
