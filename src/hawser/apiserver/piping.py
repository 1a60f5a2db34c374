"""Two connections joined into one stream of raw bytes, with back-pressure both ways."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

from aiohttp import web

from hawser.apiserver.connection import Connection
from hawser.apiserver.reply import Finished

_HEAD_LIMIT = 64 * 1024
_ANSWER_LIMIT = 64 * 1024
_ANSWER_SECONDS = 5.0


class End(asyncio.Protocol):
    """One side of a pipe: what arrives here is written to the other side."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: End | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """This side is slow: the other one must not be read."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """This side caught up."""
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other side too, once what is buffered has been written."""
        self.transport = None
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()
        if not self.closed.done():
            self.closed.set_result(None)

    def close(self) -> None:
        """Close this side, and with it the other."""
        if self.transport is not None:
            self.transport.close()


class ClientEnd(End):
    """A client's connection taken over from its HTTP protocol, which still learns of the end."""

    def __init__(self, transport: asyncio.Transport, before: asyncio.Protocol) -> None:
        super().__init__()
        self.transport = transport
        self._before = before
        transport.set_protocol(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell both."""
        super().connection_lost(exc)
        self._before.connection_lost(exc)


class UpgradeEnd(End):
    """A connection on which an upgrade was asked for: ``head`` is the answer's head, then the pipe begins.

    Until ``join`` everything behind the head is kept.
    """

    def __init__(self) -> None:
        super().__init__()
        self.head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._more = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Find the head's end; afterwards pass on."""
        if self.other is not None:
            super().data_received(data)
            return
        self._buffer += data
        self._more.set()
        if self.head.done():
            return
        end = self._buffer.find(b"\r\n\r\n")
        if end >= 0:
            head, self._buffer = self._buffer[: end + 4], self._buffer[end + 4 :]
            self.head.set_result(head)
        elif len(self._buffer) > _HEAD_LIMIT:
            self.head.set_exception(ConnectionError("the answer's head is too long"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that never came is an error of whoever waits for it."""
        if not self.head.done():
            self.head.set_exception(ConnectionError("the connection was closed before an answer came"))
        self._more.set()
        super().connection_lost(exc)

    def join(self, other: End) -> None:
        """Begin the pipe: both sides know each other, what came behind the head is passed on."""
        self.other = other
        other.other = self
        if self._buffer and other.transport is not None:
            other.transport.write(self._buffer)
            self._buffer = b""

    async def body(self, head: bytes) -> bytes:
        """What follows the head of an answer that is no upgrade, as far as it comes within a few seconds."""
        length = _length(head)
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                while len(self._buffer) < length and not self.closed.done():
                    self._more.clear()
                    await self._more.wait()
        return self._buffer[:length]


async def pipe(request: web.BaseRequest, other: UpgradeEnd, head: bytes) -> Finished:
    """Join a client with whoever answered its upgrade by head (a 101), until one of them leaves.

    Never for another answer: the client's next request would reach the other side with our identity.
    """
    transport = request.transport
    if transport is None:
        return Finished(keep_alive=False)
    connection = cast(Connection, request.protocol)
    client = ClientEnd(transport, connection)
    connection.on_end = client.close
    try:
        transport.write(head)
        other.join(client)
        await client.closed
    finally:
        connection.on_end = None
        client.close()
    return Finished(keep_alive=False)


def status(head: bytes) -> int:
    """The status of an answer's head. ConnectionError when it is none."""
    parts = head.split(b" ", 2)
    try:
        return int(parts[1][:3])
    except (IndexError, ValueError):
        raise ConnectionError("the answer is not HTTP") from None


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-length" and value.strip().isdigit():
            return min(int(value), _ANSWER_LIMIT)
    return _ANSWER_LIMIT
