"""Time as a dependency, so that everything that waits can be tested without waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Timer(Protocol):
    """A call that is still to come."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """What code that waits may ask for."""

    def now(self) -> datetime:
        """The time of day in UTC, for what is written into objects."""

    def monotonic(self) -> float:
        """Seconds that only ever grow, for intervals."""

    def cpu(self) -> float:
        """Seconds of processor time that this thread has had, for what something costs."""

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Calls ``call`` on the event loop after ``seconds``."""

    async def sleep(self, seconds: float) -> None:
        """Waits for ``seconds``."""


class SystemClock:
    """The machine's clock and the running event loop's timers."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def cpu(self) -> float:
        return time.thread_time()

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, call)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def timestamp(moment: datetime) -> str:
    """metav1.Time: RFC 3339 in UTC with whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(moment: datetime) -> str:
    """metav1.MicroTime: RFC 3339 in UTC with six digits of a second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> datetime:
    """The moment of a metav1.Time or MicroTime. Raises ValueError."""
    return datetime.fromisoformat(text).astimezone(UTC)
