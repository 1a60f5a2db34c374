"""Answers on the wire.

aiohttp's Server asks three things of what a handler returns: ``prepare``, ``write_eof`` and ``keep_alive``. Its own
response classes take about a third of a small request's time, so an answer here is written whole, in one piece.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web

from hawser.api.encoding import dumps

JSON = "application/json"
_REASONS = {status.value: status.phrase for status in HTTPStatus}
# Writes above this wait for the peer: a slow reader must not make the server hold many large answers.
_DRAIN_ABOVE = 256 * 1024
_PIECE = 512 * 1024


Headers = tuple[tuple[str, str], ...]


@lru_cache(maxsize=512)
def _begin(status: int, content_type: str, headers: Headers, keep_alive: bool) -> bytes:
    """The head of an answer as far as the length, which with the time differs from one to the next."""
    head = f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\nContent-Type: {content_type}\r\n"
    if all(key != "Cache-Control" for key, _ in headers):
        head += "Cache-Control: no-cache, private\r\n"
    head += "".join(f"{key}: {value}\r\n" for key, value in headers)
    if not keep_alive:
        head += "Connection: close\r\n"
    return f"{head}Content-Length: ".encode("latin-1")


_HEAD = b"%b%d%b"
_ANSWER = _HEAD + b"%b%b"


class _Clock:
    """The Date header, made once a second."""

    second = 0
    text = ""
    end = b""

    @classmethod
    def date(cls) -> str:
        cls.line()
        return cls.text

    @classmethod
    def line(cls) -> bytes:
        """The end of a head, from the end of the line before."""
        now = int(time.time())
        if now != cls.second:
            cls.second = now
            cls.text = formatdate(now, usegmt=True)
            cls.end = f"\r\nDate: {cls.text}\r\n\r\n".encode()
        return cls.end


class Reply:
    """A whole answer: status, headers, body.

    line: whether a line end follows the body, as Kubernetes' encoder of JSON writes it (for people it does not).
    """

    __slots__ = ("body", "content_type", "headers", "keep_alive", "line", "status")

    def __init__(
        self,
        body: bytes,
        status: int = 200,
        content_type: str = JSON,
        headers: Headers = (),
        line: bool | None = None,
    ) -> None:
        """line: unless said otherwise one follows JSON."""
        self.line = content_type == JSON if line is None else line
        self.body = body
        self.status = status
        self.content_type = content_type
        self.headers = headers
        self.keep_alive = True

    def warned(self, texts: list[str]) -> Reply:
        """This answer with Warning headers, each text once."""
        self.headers = (*self.headers, *(("Warning", _warning(text)) for text in dict.fromkeys(texts)))
        return self

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write everything; raises ConnectionResetError when the peer is gone."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        self.keep_alive = request.keep_alive
        body = self.body
        end = b"\n" if self.line and body else b""
        size = len(body) + len(end)
        head = _begin(self.status, self.content_type, self.headers, self.keep_alive)
        if request.method == "HEAD":
            transport.write(_HEAD % (head, size, _Clock.line()))
        elif size <= _DRAIN_ABOVE:
            transport.write(_ANSWER % (head, size, _Clock.line(), body, end))
        else:
            transport.write(_HEAD % (head, size, _Clock.line()))
            view = memoryview(body)
            for start in range(0, len(view), _PIECE):
                transport.write(view[start : start + _PIECE])
                await drain(request)
            transport.write(end)

    async def write_eof(self) -> None:
        """Nothing is left to write."""


def _warning(text: str) -> str:
    """A Warning header's value (RFC 7234, section 5.5); control characters cannot be in headers."""
    safe = "".join(c if c.isprintable() and ord(c) < 256 else "?" for c in text)
    return '299 - "' + safe.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Finished:
    """The answer of a handler that wrote to the connection itself."""

    __slots__ = ("keep_alive",)

    def __init__(self, keep_alive: bool = True) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to write."""

    async def write_eof(self) -> None:
        """Nothing is left to write."""


Answer = Reply | Finished


async def drain(request: web.BaseRequest) -> None:
    """Wait until the connection takes more; raises ConnectionError when it is gone."""
    await cast(Any, request.protocol)._drain_helper()


def chunked_head(content_type: str, keep_alive: bool, headers: list[tuple[str, str]] | None = None) -> bytes:
    """The head of an answer whose body follows in chunks."""
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n"
        f"Cache-Control: no-cache, private\r\nDate: {_Clock.date()}\r\n"
    )
    if headers:
        head += "".join(f"{key}: {value}\r\n" for key, value in headers)
    if not keep_alive:
        head += "Connection: close\r\n"
    return f"{head}\r\n".encode("latin-1")


LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body (RFC 9112, section 7.1); data must not be empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def json_reply(obj: object, status: int = 200, headers: Headers = ()) -> Reply:
    """An answer that is encoded here."""
    return Reply(dumps(obj), status, JSON, headers)
