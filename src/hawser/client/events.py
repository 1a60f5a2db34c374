"""Writing core/v1 Events: aggregated, limited, in the background, and never in the way of who reports them.

Source: API reference, Event v1 core; the limits are those of client-go's event correlator (a burst of 25 events an
object, then one in five minutes; a repeat raises ``count``).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from hawser.api.errors import APIError
from hawser.api.kinds import EVENT
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.clock import Clock, SystemClock, timestamp

log = logging.getLogger(__name__)

BURST = 25.0
REFILL_SECONDS = 300.0
_REMEMBERED = 4096
_PENDING = 5000
# Events yield to the work that they tell of: of many that wait, so many seconds apart.
_PACE = 0.005
# While there is a rush, those that are not urgent are so many seconds late at most, and it is looked at so often.
_LATEST = 2.0
_LOOK = 0.05
_ATTEMPTS = 4
_MESSAGE_LENGTH = 1024

_Key = tuple[str, str, str, str, str, str, str]


@dataclass(slots=True)
class _Series:
    """One event and its repeats: how often it happened, and what of that the server knows."""

    reference: Obj
    type: str
    reason: str
    message: str
    first: datetime
    last: datetime
    count: int = 0
    name: str = ""
    pending: bool = False


@dataclass(slots=True)
class _Bucket:
    tokens: float = BURST
    at: float = field(default=0.0)


class EventRecorder:
    """Reports what happened to objects, for one component.

    component: ``source.component``, for one "default-scheduler". host: ``source.host``; the kubelet gives its node.
    busy: whether there is a rush, so that Normal events wait a little.
    Events are written while ``run`` runs (a Manager does that).
    """

    def __init__(
        self,
        client: Client,
        component: str,
        *,
        host: str = "",
        clock: Clock | None = None,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self.component = component
        self._busy = busy
        self._client = client
        self._host = host
        self._clock = clock or SystemClock()
        self._instance = host or socket.gethostname()
        self._series: OrderedDict[_Key, _Series] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._queue: asyncio.Queue[_Series] = asyncio.Queue()
        # Names only have to differ; the time of day is how everyone else makes them.
        self._numbers = itertools.count(int(self._clock.now().timestamp() * 1e9))

    def event(self, obj: Obj, type: str, reason: str, message: str, *, field_path: str = "") -> None:  # noqa: A002
        """Reports one event; returns at once and never raises for anything the server does.

        obj: what it happened to, with apiVersion and kind. type: Normal or Warning. reason: CamelCase.
        field_path: the part of it, ``spec.containers{web}``.
        """
        reference = _reference(obj, field_path)
        now = self._clock.now()
        if len(message) > _MESSAGE_LENGTH:
            message = message[: _MESSAGE_LENGTH - 3] + "..."
        key = (
            reference["kind"],
            reference.get("namespace", ""),
            reference["name"],
            reference.get("uid", "") + field_path,
            type,
            reason,
            message,
        )
        if not self._admit("/".join(key[:4])):
            return
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(reference, type, reason, message, now, now)
            if len(self._series) > _REMEMBERED:
                self._series.popitem(last=False)
        else:
            self._series.move_to_end(key)
        series.count += 1
        series.last = now
        if series.pending:
            return
        if self._queue.qsize() >= _PENDING:
            log.debug("event %s of %s is dropped: too many are waiting", reason, reference["name"])
            return
        series.pending = True
        self._queue.put_nowait(series)

    async def run(self) -> None:
        """Writes events until it is cancelled."""
        while True:
            series = await self._queue.get()
            await self._let_pass(series)
            series.pending = False
            await self._write(series)
            if not self._queue.empty():
                await self._clock.sleep(_PACE)

    async def _let_pass(self, series: _Series) -> None:
        """Waits while what the component is for takes all of the machine."""
        waits = self._clock.monotonic() + _LATEST - (self._clock.now() - series.last).total_seconds()
        while series.type == "Normal" and self._busy() and self._clock.monotonic() < waits:
            await self._clock.sleep(_LOOK)

    async def flush(self) -> None:
        """Writes what is waiting now; for programs that end."""
        while not self._queue.empty():
            series = self._queue.get_nowait()
            series.pending = False
            await self._write(series)

    async def _write(self, series: _Series) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                if series.name:
                    await self._repeat(series)
                else:
                    await self._create(series)
                return
            except APIError as err:
                if err.code == 404 and series.name:
                    # Expired meanwhile: it starts anew.
                    series.name, series.first, series.count = "", series.last, 1
                elif err.code < 500 and err.code != 429:
                    log.debug("event %s of %s is refused: %s", series.reason, series.reference["name"], err.message)
                    return
                else:
                    await self._clock.sleep(0.5 * 2**attempt)
        log.debug("event %s of %s is dropped: the server does not take it", series.reason, series.reference["name"])

    async def _create(self, series: _Series) -> None:
        name = f"{series.reference['name']}.{next(self._numbers):x}"
        source = {"component": self.component}
        if self._host:
            source["host"] = self._host
        await self._client.create(
            EVENT,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": series.reference.get("namespace") or "default"},
                "involvedObject": series.reference,
                "type": series.type,
                "reason": series.reason,
                "message": series.message,
                "source": source,
                "firstTimestamp": timestamp(series.first),
                "lastTimestamp": timestamp(series.last),
                "count": series.count,
                "reportingComponent": self.component,
                "reportingInstance": self._instance,
            },
        )
        series.name = name

    async def _repeat(self, series: _Series) -> None:
        await self._client.patch(
            EVENT,
            series.name,
            series.reference.get("namespace") or "default",
            {"count": series.count, "lastTimestamp": timestamp(series.last)},
        )

    def _admit(self, about: str) -> bool:
        """Takes a token of the object's bucket."""
        now = self._clock.monotonic()
        bucket = self._buckets.get(about)
        if bucket is None:
            bucket = self._buckets[about] = _Bucket(at=now)
            if len(self._buckets) > _REMEMBERED:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(about)
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.at) / REFILL_SECONDS)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def _reference(obj: Obj, field_path: str) -> Obj:
    metadata = obj["metadata"]
    reference: Obj = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "name": metadata["name"]}
    for name in ("namespace", "uid", "resourceVersion"):
        if metadata.get(name):
            reference[name] = metadata[name]
    if field_path:
        reference["fieldPath"] = field_path
    return reference
