"""Requests that come whole, found without a parser.

A client's requests differ in their first line, their Content-Length and their body; all other header lines are the same
time and again. What aiohttp's parser made of such lines is remembered, and serves the next request with the same bytes.
What is not plain HTTP/1.1 with a Content-Length or no body at all is left to the parser, and so is every head that was
never parsed. Framing: RFC 9112, sections 3 and 6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

from aiohttp import HttpVersion11, web
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy

_END = b"\r\n\r\n"
_LENGTH, _SMALL_LENGTH = b"\r\nContent-Length: ", b"\r\ncontent-length: "
_NAME = len(_LENGTH)
_DIGITS = 8
_REMEMBERED = 16


class Frame(NamedTuple):
    """Where a request ends. start: of the header lines; lines: those lines without Content-Length; size: of it all."""

    start: int
    lines: bytes
    body: int
    size: int


def frame(data: bytes) -> Frame | None:
    """The frame of the request that data begin with; None when it cannot be told without a parser."""
    start = data.find(b"\r\n")
    end = data.find(_END, start)
    if end < 0:
        return None
    lines = data[start:end]
    body = end + 4
    at = lines.find(_LENGTH)
    if at < 0 and (at := lines.find(_SMALL_LENGTH)) < 0:
        return _frame((start, lines, body, body))
    stop = lines.find(b"\r\n", at + _NAME)
    digits = lines[at + _NAME :] if stop < 0 else lines[at + _NAME : stop]
    if not digits.isdigit() or len(digits) > _DIGITS:
        return None
    lines = lines[:at] if stop < 0 else lines[:at] + lines[stop:]
    return _frame((start, lines, body, body + int(digits)))


_frame = Frame._make


class Head:
    """Header lines as they were parsed: what handlers ask of aiohttp's RawRequestMessage. path: the raw target.

    notes: see ``by_lines``.
    """

    __slots__ = ("headers", "notes", "path", "raw_headers", "should_close")

    def __init__(
        self, headers: CIMultiDictProxy[str], raw: tuple[tuple[bytes, bytes], ...], path: str, notes: dict[Any, Any]
    ) -> None:
        self.headers = headers
        self.raw_headers = raw
        self.path = path
        self.should_close = False
        self.notes = notes


class Heads:
    """The header lines that a connection has seen."""

    __slots__ = ("_after", "_before", "_known", "_last")

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self._last: Head | None = None
        self._before = self._after = b""
        """Of the last head: its bytes before and after the length, the empty line included."""

    def find(self, lines: bytes) -> Head | None:
        """What was parsed of the same bytes, or None."""
        return self._known.get(lines)

    def again(self, data: bytes) -> tuple[Head, int, int] | None:
        """If data are one whole request with a body and the head that was last ``noted``: that, start and body.

        Nothing is searched for, or made, but the length: most requests are like the one before.
        """
        if self._last is None:
            return None
        start = data.find(b"\r\n")
        if not data.startswith(self._before, start):
            return None
        first = start + len(self._before)
        stop = data.find(b"\r\n", first, first + _DIGITS + 2)
        if stop < 0 or not data.startswith(self._after, stop):
            return None
        length = data[first:stop]
        body = stop + len(self._after)
        if not length.isdigit() or body + int(length) != len(data):
            return None
        return self._last, start, body

    def note(self, data: bytes, found: Frame, head: Head) -> None:
        """Data had this head: be ready for more of the kind."""
        if self._last is head:
            return
        block = data[found.start : found.body]
        at = max(block.find(_LENGTH), block.find(_SMALL_LENGTH))
        if at >= 0:
            self._last = head
            self._before = block[: at + _NAME]
            self._after = block[block.find(b"\r\n", at + _NAME) :]

    def learn(self, found: Frame, message: RawRequestMessage) -> bool:
        """Remember what the parser made of a framed request; False when the frame was wrong, or may be next time."""
        headers = message.headers
        length = headers.getall("Content-Length", [])
        framed = found.size - found.body
        if (
            message.version != HttpVersion11
            or message.should_close
            or message.upgrade
            or message.chunked
            or message.compression
            or "Transfer-Encoding" in headers
            or "Expect" in headers
            or len(length) > 1
            or (int(length[0]) if length else 0) != framed
        ):
            return False
        kept = CIMultiDict(headers)
        kept.popall("Content-Length", None)
        raw = tuple(pair for pair in message.raw_headers if pair[0].lower() != b"content-length")
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[found.lines] = Head(CIMultiDictProxy(kept), raw, "", {})
        return True


class Whole(web.BaseRequest):
    """A request that has come whole: what handlers of plain requests ask of aiohttp's, without its making."""

    def __init__(self, method: str, path: str, head: Head, body: bytes, protocol: Any) -> None:
        """method and path: of the request line. head: of its other lines."""
        self._method = method
        self._message = cast(RawRequestMessage, Head(head.headers, head.raw_headers, path, head.notes))
        self._headers = head.headers
        self._protocol = protocol
        self._payload = cast(Any, Body(body))
        self._size = len(body)
        self.notes = head.notes
        self._state = {}
        # Where aiohttp's properties look first.
        self._cache = {"method": method, "headers": head.headers, "protocol": protocol}

    @property
    def content_length(self) -> int:
        """The length of the body."""
        return self._size

    @property
    def keep_alive(self) -> bool:
        """Such requests never end their connection."""
        return True

    def take(self) -> bytes:
        """The body, once; it is within the limit."""
        return self._payload.read_nowait()

    async def read(self) -> bytes:
        """The body."""
        return self._payload.read_nowait()


_T = TypeVar("_T")


def by_lines(request: web.BaseRequest, make: Callable[[web.BaseRequest], _T]) -> _T:
    """What make says of a request; it looks at header lines only, and is asked once for all requests with the same."""
    if type(request) is not Whole:
        return make(request)
    notes = request.notes
    if make not in notes:
        notes[make] = make(request)
    return cast(_T, notes[make])


class Body:
    """A body that is there, as a stream."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def is_eof(self) -> bool:
        """Nothing more will come."""
        return True

    def read_nowait(self, n: int = -1) -> bytes:
        """All of it, once. n: as of aiohttp's StreamReader; nobody asks for a part."""
        data, self._data = self._data, b""
        return data
