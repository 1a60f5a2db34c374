"""Timestamps and durations: reading, writing and taking apart.

Source: CEL language definition, "Timestamp" and "Duration"; durations are read as Go's time.ParseDuration does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hawser.api.cel import operators
from hawser.api.cel.declarations import Overload, method
from hawser.api.cel.values import Duration, EvalError, Timestamp

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(r"([+-])?((?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|0)", re.ASCII)
_PIECE = re.compile(r"(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_duration(text: str) -> Duration:
    """Go's form, ``1h30m``. Raises EvalError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise EvalError(f'time: invalid duration "{text}"')
    total = 0
    for whole, part, unit in _PIECE.findall(match.group(2)):
        scale = _UNITS[unit]
        total += int(whole or 0) * scale + (int(part) * scale // 10 ** len(part) if part else 0)
    return operators.duration(-total if match.group(1) == "-" else total)


def write_duration(value: Duration) -> str:
    """Seconds with a fraction: ``5400s``."""
    whole, part = divmod(abs(value.nanos), 10**9)
    shown = f"{whole}.{part:09}".rstrip("0").rstrip(".")
    return f"{'-' if value.nanos < 0 else ''}{shown}s"


def read_timestamp(text: str) -> Timestamp:
    """RFC 3339. Raises EvalError."""
    match = _MOMENT.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        year, month, day, hour, minute, second = (int(match.group(i)) for i in range(1, 7))
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise EvalError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse') from None
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    if match.group(8):
        offset = int(match.group(9)) * 3600 + int(match.group(10)) * 60
        seconds -= offset if match.group(8) == "+" else -offset
    return operators.timestamp(seconds * 10**9 + int((match.group(7) or "0").ljust(9, "0")))


def read_date(text: str) -> Timestamp:
    """A date of a schema (format date), at midnight."""
    return read_timestamp(f"{text}T00:00:00Z")


def write_timestamp(value: Timestamp) -> str:
    """RFC 3339 in UTC, with as many digits of a fraction as it has."""
    seconds, nanos = divmod(value.nanos, 10**9)
    moment = _EPOCH + timedelta(seconds=seconds)
    part = f".{nanos:09}".rstrip("0") if nanos else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + f"{part}Z"


@lru_cache(maxsize=256)
def _zone(name: str) -> tzinfo:
    match = re.fullmatch(r"([+-]?)(\d\d):(\d\d)", name)
    if match:
        offset = timedelta(hours=int(match.group(2)), minutes=int(match.group(3)))
        return timezone(-offset if match.group(1) == "-" else offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise EvalError(f"unknown time zone {name}") from None


def _local(value: Timestamp, zone: str) -> datetime:
    moment = _EPOCH + timedelta(seconds=value.nanos // 10**9)
    try:
        return moment if zone in ("", "UTC") else moment.astimezone(_zone(zone))
    except OverflowError:
        raise EvalError("timestamp overflow") from None


_PARTS: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda t: t.year,
    "getMonth": lambda t: t.month - 1,
    "getDayOfYear": lambda t: t.timetuple().tm_yday - 1,
    "getDayOfMonth": lambda t: t.day - 1,
    "getDate": lambda t: t.day,
    "getDayOfWeek": lambda t: t.isoweekday() % 7,
    "getHours": lambda t: t.hour,
    "getMinutes": lambda t: t.minute,
    "getSeconds": lambda t: t.second,
}
_LENGTHS = {"getHours": 3600 * 10**9, "getMinutes": 60 * 10**9, "getSeconds": 10**9}


def _part(take: Callable[[datetime], int]) -> Callable[..., int]:
    return lambda value, zone="": take(_local(value, zone))


def _milliseconds(value: Any, zone: str = "") -> int:
    if type(value) is Duration:
        return _truncated(value.nanos, 10**6)
    return int(value.nanos % 10**9 // 10**6)


def _length(scale: int) -> Callable[[Duration], int]:
    return lambda value: _truncated(value.nanos, scale)


def _truncated(value: int, scale: int) -> int:
    return value // scale if value >= 0 else -(-value // scale)


def overloads() -> Iterator[Overload]:
    """The declarations."""
    for name, take in _PARTS.items():
        yield method("timestamp", f"{name}() -> int", _part(take))
        yield method("timestamp", f"{name}(string) -> int", _part(take))
    yield method("timestamp", "getMilliseconds() -> int", _milliseconds)
    yield method("timestamp", "getMilliseconds(string) -> int", _milliseconds)
    for name, scale in _LENGTHS.items():
        yield method("duration", f"{name}() -> int", _length(scale))
    yield method("duration", "getMilliseconds() -> int", _milliseconds)
