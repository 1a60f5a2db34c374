"""Container logs in the runtime's format, as ``kubectl logs`` wants them.

Source: the CRI logging format (kubernetes/design-proposals, kubelet-cri-logging): each line is
``TIMESTAMP STREAM TAG CONTENT``, with tag ``P`` for a part of a line that goes on in its stream's next record and ``F``
for its end; PodLogOptions in the API reference.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hawser.api.errors import APIError, Cause, FieldError, invalid

_BLOCK = 1 << 16
_POLL_SECONDS = 0.05
_FULL = b"F"
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Options:
    """PodLogOptions. since: records before are left out; tail: lines, None for all; limit: bytes, None for no limit.

    stream: ``stdout`` or ``stderr``, empty for both.
    """

    follow: bool = False
    timestamps: bool = False
    previous: bool = False
    tail: int | None = None
    limit: int | None = None
    since: datetime | None = None
    stream: str = ""


def options(query: Mapping[str, str], now: datetime) -> Options:
    """Read the query of a log request. Raises APIError 400 or 422."""
    seconds = _number(query, "sinceSeconds")
    since = parse_time(query["sinceTime"]) if query.get("sinceTime") else None
    errors: list[FieldError] = []
    if seconds is not None:
        if since is not None:
            errors.append(
                FieldError(Cause.FORBIDDEN, "", "at most one of `sinceTime` or `sinceSeconds` may be specified")
            )
        elif seconds < 1:
            errors.append(FieldError(Cause.INVALID, "sinceSeconds", "must be greater than 0", seconds))
        since = now - timedelta(seconds=seconds)
    tail, limit = _number(query, "tailLines"), _number(query, "limitBytes")
    if tail is not None and tail < 0:
        errors.append(FieldError(Cause.INVALID, "tailLines", "must be greater than or equal to 0", tail))
    if limit is not None and limit < 1:
        errors.append(FieldError(Cause.INVALID, "limitBytes", "must be greater than 0", limit))
    stream = query.get("stream", "All")
    if stream not in ("All", "Stdout", "Stderr"):
        errors.append(FieldError(Cause.NOT_SUPPORTED, "stream", 'supported values: "All", "Stderr", "Stdout"', stream))
    if errors:
        raise invalid("", "PodLogOptions", "", errors)
    return Options(
        follow=_flag(query, "follow"),
        timestamps=_flag(query, "timestamps"),
        previous=_flag(query, "previous"),
        tail=tail,
        limit=limit,
        since=since,
        stream="" if stream == "All" else stream.lower(),
    )


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("1", "true")


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise APIError(400, "BadRequest", f"{name}: {text!r} is not a number") from None


def parse_time(text: str) -> datetime:
    """An RFC 3339 time, nanoseconds cut to microseconds. Raises APIError 400."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise APIError(400, "BadRequest", f"sinceTime: {text!r} is not a time as in RFC 3339")
    date, time, fraction, zone = match.groups()
    micros = ((fraction or "") + "000000")[:6]
    return datetime.fromisoformat(f"{date}T{time}.{micros}{'+00:00' if zone in 'Zz' else zone}")


class Formatter:
    """Turns records into what the client sees; remembers unfinished lines and how much may still be sent."""

    def __init__(self, wanted: Options) -> None:
        self._wanted = wanted
        self._since = wanted.since.astimezone(UTC).isoformat()[:26].encode() if wanted.since else b""
        self._left = wanted.limit
        self._within: dict[bytes, bool] = {}

    @property
    def full(self) -> bool:
        """Whether limitBytes is reached."""
        return self._left is not None and self._left <= 0

    def lines(self, records: list[bytes]) -> bytes:
        """The text of records (without their line ends); records that are none are shown as they are."""
        out: list[bytes] = []
        for record in records:
            fields = record.split(b" ", 3)
            if len(fields) < 3:
                continue
            stamp, stream, tag = fields[:3]
            content = fields[3] if len(fields) == 4 else b""
            if self._wanted.stream and stream.decode("ascii", "replace") != self._wanted.stream:
                continue
            # Times are UTC or carry an offset; only offsets other than zero need more than comparing text.
            if self._since and _comparable(stamp) < self._since:
                continue
            within = self._within.get(stream, False)
            if self._wanted.timestamps and not within:
                out.append(stamp + b" ")
            ends = tag[:1] == _FULL
            self._within[stream] = not ends
            out.append(content + b"\n" if ends else content)
        return self._limited(b"".join(out))

    def _limited(self, text: bytes) -> bytes:
        if self._left is None:
            return text
        text = text[: max(0, self._left)]
        self._left -= len(text)
        return text


def _comparable(stamp: bytes) -> bytes:
    if not stamp.endswith(b"Z") and not stamp.endswith(b"+00:00"):
        return parse_time(stamp.decode("ascii", "replace")).astimezone(UTC).isoformat()[:26].encode()
    return stamp[:26]


def tail_offset(descriptor: int, size: int, lines: int) -> int:
    """Where the last complete lines (records tagged F) begin; 0 when there are fewer. Reads backwards in blocks."""
    if lines == 0:
        return size
    found = 0
    position = size
    carried = b""  # the beginning of the record that the block before ends in
    while position > 0:
        start = max(0, position - _BLOCK)
        block = os.pread(descriptor, position - start, start) + carried
        ends = start > 0
        records = block.split(b"\n")
        first = records[0] + b"\n" if ends else b""
        at = start + len(block)
        for number in range(len(records) - 1, -1 if not ends else 0, -1):
            record = records[number]
            at -= len(record) + (1 if number < len(records) - 1 else 0)
            if _is_full(record):
                found += 1
                # The line began behind the previous complete one: parts before this record belong to it.
                if found > lines:
                    return at + len(record) + 1
        carried = first if ends else b""
        position = start
    return 0


def _is_full(record: bytes) -> bool:
    fields = record.split(b" ", 3)
    return len(fields) >= 3 and fields[2][:1] == _FULL


Sleep = Callable[[float], Awaitable[None]]


async def read(
    path: Path, wanted: Options, ended: Callable[[], bool], sleep: Sleep = asyncio.sleep
) -> AsyncIterator[bytes]:
    """The log at path, in pieces.

    ended: whether the container that writes it is no longer running; with ``follow`` the log ends then.
    The runtime rotates a log by renaming it and beginning a new file: following goes on there.
    """
    formatter = Formatter(wanted)
    descriptor = await _open(path, wanted.follow, ended, sleep)
    if descriptor is None:
        return
    try:
        size = os.fstat(descriptor).st_size
        if wanted.tail is not None:
            os.lseek(descriptor, tail_offset(descriptor, size, wanted.tail), os.SEEK_SET)
        rest = b""
        while not formatter.full:
            over = wanted.follow and ended()  # asked before reading: what was written until then is read below
            block = os.read(descriptor, _BLOCK)
            if block:
                records = (rest + block).split(b"\n")
                rest = records.pop()
                text = formatter.lines(records)
                if text:
                    yield text
                continue
            fresh = _rotated(path, descriptor) if wanted.follow else None
            if fresh is not None:
                os.close(descriptor)
                descriptor, rest = fresh, b""
            elif over or not wanted.follow:
                return
            else:
                await sleep(_POLL_SECONDS)
    finally:
        os.close(descriptor)


async def _open(path: Path, follow: bool, ended: Callable[[], bool], sleep: Sleep) -> int | None:
    while True:
        over = not follow or ended()
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if over:
                return None
        await sleep(_POLL_SECONDS)


def _rotated(path: Path, descriptor: int) -> int | None:
    """The file that took the place of the one that is open, or None."""
    try:
        now, before = path.stat(), os.fstat(descriptor)
        if (now.st_dev, now.st_ino) == (before.st_dev, before.st_ino):
            if now.st_size < os.lseek(descriptor, 0, os.SEEK_CUR):
                os.lseek(descriptor, 0, os.SEEK_SET)  # cut in place
            return None
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
