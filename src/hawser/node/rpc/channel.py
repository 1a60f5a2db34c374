"""Calls of gRPC services over one connection that is made when it is needed.

Source: grpc/doc/PROTOCOL-HTTP2.md, http-grpc-status-mapping.md and statuscodes.md of the gRPC project.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hawser.node.rpc import hpack
from hawser.node.rpc.address import address
from hawser.node.rpc.hpack import Header
from hawser.node.rpc.http2 import Connection, Reset
from hawser.node.rpc.messages import Malformed
from hawser.node.rpc.schema import Method

_UNIX = "unix:"
_MESSAGE_BYTES = 16 << 20
_HEAD_BYTES = 5


class Code(IntEnum):
    """gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_OF_HTTP = {
    "400": Code.INTERNAL,
    "401": Code.UNAUTHENTICATED,
    "403": Code.PERMISSION_DENIED,
    "404": Code.UNIMPLEMENTED,
    "429": Code.UNAVAILABLE,
    "502": Code.UNAVAILABLE,
    "503": Code.UNAVAILABLE,
    "504": Code.UNAVAILABLE,
}
_OF_RESET = {
    Reset.REFUSED_STREAM: Code.UNAVAILABLE,
    Reset.CANCEL: Code.CANCELLED,
    Reset.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED,
    Reset.INADEQUATE_SECURITY: Code.PERMISSION_DENIED,
}


class RPCError(Exception):
    """A call that did not end well. details: the server's words, or the client's own."""

    def __init__(self, code: Code, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


class NotConnected(RPCError):
    """There is no connection to make the call on: DEADLINE_EXCEEDED or UNAVAILABLE."""


class Channel:
    """The way to one server; a connection that broke is made anew by the next call.

    target: ``unix:///path`` or ``host:port``, which is then the authority, too. user_agent: as the server is told.
    lost: called when a connection has ended.
    """

    def __init__(self, target: str, user_agent: str = "hawser", *, lost: Callable[[], None] | None = None) -> None:
        self._target = target
        # Servers written in Go refuse a socket's path.
        self._authority = "localhost" if target.startswith(_UNIX) else target
        self._user_agent = user_agent
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._closed = False
        self._when_lost = lost

    async def call(
        self, method: Method, fields: Mapping[str, Any], *, seconds: float, metadata: tuple[Header, ...] = ()
    ) -> Any:
        """The response to one request. seconds: until the call is given up, which the server is told.

        Raises RPCError, and ValueError for fields that the request cannot have. Cancelling ends the call on the other
        side, too.
        """
        body = method.request.encode(fields)
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        connection = await self._connected(seconds)
        answer: asyncio.Future[bytes] = loop.create_future()
        call = _Unary(answer)
        headers = _headers(self._authority, self._user_agent, method.path, metadata)
        number = connection.request(headers + _timeout(max(0.001, end - loop.time())), framed(body), call)
        timer = loop.call_at(end, call.fail, Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
        try:
            return _decoded(method, await answer)
        except (asyncio.CancelledError, RPCError):
            connection.cancel(number)
            raise
        finally:
            timer.cancel()

    async def stream(self, method: Method, fields: Mapping[str, Any]) -> AsyncGenerator[Any]:
        """The responses to one request, without limit of time, until the server ends them. Raises RPCError."""
        body = method.request.encode(fields)
        connection = await self._connected(math.inf)
        call = _Streamed()
        headers = _headers(self._authority, self._user_agent, method.path, ())
        number = connection.request(headers, framed(body), call)
        try:
            while (message := await call.queue.get()) is not None:
                yield _decoded(method, message)
            if call.error is not None:
                raise call.error
        finally:
            connection.cancel(number)

    async def connect(self, seconds: float) -> None:
        """Connects before there is anything to call. Raises NotConnected."""
        await self._connected(seconds)

    async def close(self) -> None:
        """Closes the connection; running calls fail."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()

    async def _connected(self, seconds: float) -> Connection:
        connection = self._connection
        if connection is not None and connection.usable:
            return connection
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds), self._connecting:
                connection = self._connection
                if connection is None or not connection.usable:
                    if self._closed:
                        raise NotConnected(Code.UNAVAILABLE, "the channel is closed")
                    connection = self._connection = await self._connect()
                return connection
        except TimeoutError:
            raise NotConnected(Code.DEADLINE_EXCEEDED, f"failed to connect to {self._target} in time") from None
        except (OSError, ValueError) as error:
            # Plugins name sockets as they like: of a path with a NUL, say, nobody has thought.
            why = getattr(error, "strerror", None) or str(error)
            raise NotConnected(Code.UNAVAILABLE, f"failed to connect to {self._target}: {why}") from None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._target.startswith(_UNIX):
            with address(Path(self._target.removeprefix(_UNIX).replace("///", "/", 1))) as socket:
                return (await loop.create_unix_connection(self._made, socket))[1]
        host, _, port = self._target.rpartition(":")
        return (await loop.create_connection(self._made, host.strip("[]"), int(port)))[1]

    def _made(self) -> Connection:
        return Connection(self._lost)

    def _lost(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None
            if self._when_lost is not None and not self._closed:
                self._when_lost()


class _Call:
    """The answer to one request: status and messages. took: called with each message, and at the end."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._missing = _HEAD_BYTES
        self._status: dict[str, str] = {}

    def took(self, message: bytes) -> None:
        """A message came."""
        raise NotImplementedError

    def fail(self, code: Code, details: str) -> None:
        """The call has ended badly."""
        raise NotImplementedError

    def done(self) -> None:
        """The call has ended well."""
        raise NotImplementedError

    def headers(self, rows: list[Header], ended: bool) -> None:
        self._status.update(rows)
        if ended:
            self._end()
        elif (status := self._status.get(":status", "")) != "200":
            self.fail(_OF_HTTP.get(status, Code.UNKNOWN), f"the server answers with HTTP status {status}")

    def data(self, piece: bytes, ended: bool) -> None:
        self._pieces.append(piece)
        self._missing -= len(piece)
        if self._missing <= 0:
            self._pieces = [self._split(b"".join(self._pieces))]
        if ended:
            self._end()

    def _split(self, data: bytes) -> bytes:
        """Hands on the messages that are whole; what is left, which ``_missing`` bytes are missing of."""
        while len(data) >= _HEAD_BYTES:
            size = _HEAD_BYTES + int.from_bytes(data[1:_HEAD_BYTES], "big")
            if data[0]:
                self.fail(Code.INTERNAL, "the server compresses what it was not asked to")
            elif size > _MESSAGE_BYTES:
                self.fail(Code.RESOURCE_EXHAUSTED, f"Received message larger than max ({size} vs. {_MESSAGE_BYTES})")
            elif len(data) < size:
                self._missing = size - len(data)
                return data
            else:
                self.took(data[_HEAD_BYTES:size])
            data = data[size:]
        self._missing = _HEAD_BYTES - len(data)
        return data

    def reset(self, code: int) -> None:
        known = code in Reset.__members__.values()
        self.fail(_OF_RESET.get(Reset(code), Code.INTERNAL) if known else Code.UNKNOWN, f"the stream was reset: {code}")

    def lost(self, why: str) -> None:
        self.fail(Code.UNAVAILABLE, why)

    def _end(self) -> None:
        status = self._status.get("grpc-status")
        if status is None:
            http = self._status.get(":status", "")
            self.fail(_OF_HTTP.get(http, Code.UNKNOWN), f"the server ends without a status (HTTP {http})")
        elif status == "0":
            self.done()
        else:
            code = Code(int(status)) if status.isdigit() and int(status) <= Code.UNAUTHENTICATED else Code.UNKNOWN
            self.fail(code, unquote(self._status.get("grpc-message", "")))


class _Unary(_Call):
    def __init__(self, answer: asyncio.Future[bytes]) -> None:
        super().__init__()
        self._answer = answer
        self._message: bytes | None = None

    def took(self, message: bytes) -> None:
        self._message = message

    def done(self) -> None:
        if self._message is None:
            self.fail(Code.INTERNAL, "the server ends without a message")
        elif not self._answer.done():
            self._answer.set_result(self._message)

    def fail(self, code: Code, details: str) -> None:
        if not self._answer.done():
            self._answer.set_exception(RPCError(code, details))


class _Streamed(_Call):
    def __init__(self) -> None:
        super().__init__()
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.error: RPCError | None = None

    def took(self, message: bytes) -> None:
        self.queue.put_nowait(message)

    def done(self) -> None:
        self.queue.put_nowait(None)

    def fail(self, code: Code, details: str) -> None:
        if self.error is None:
            self.error = RPCError(code, details)
            self.queue.put_nowait(None)


def _decoded(method: Method, message: bytes) -> Any:
    try:
        return method.response.decode(message)
    except Malformed as error:
        raise RPCError(Code.INTERNAL, f"the response cannot be read: {error}") from None


def framed(message: bytes) -> bytes:
    """A message that is not compressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


@lru_cache(maxsize=128)
def _headers(authority: str, user_agent: str, path: str, metadata: tuple[Header, ...]) -> bytes:
    return hpack.encode(
        (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", user_agent),
            *metadata,
        )
    )


def _timeout(seconds: float) -> bytes:
    """The deadline as the server is told it: at most eight digits and a unit."""
    milliseconds = math.ceil(seconds * 1000)
    text = f"{milliseconds}m" if milliseconds < 100_000_000 else f"{math.ceil(seconds)}S"
    return hpack.encode([("grpc-timeout", text)])
