"""One connection to a server: one request at a time, and its answer, whole or piece by piece."""

from __future__ import annotations

import asyncio
from typing import cast

from hawser.client.http1.reader import Malformed, Reader

_ENOUGH = 256 * 1024


class Disconnected(ConnectionError):
    """The connection was closed before anything of an answer came: the server may never have seen the request."""


class Connection(asyncio.Protocol):
    """A keep-alive connection, TLS or not.

    usable: whether another request may be sent. served: answers that came over it. idle_since: loop time of the last.
    """

    __slots__ = (
        *("_error", "_loop", "_paused", "_piecewise", "_reader", "_timer", "_transport", "_unread", "_waiter"),
        *("idle_since", "served", "usable"),
    )

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader: Reader | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._error: OSError | None = None
        self._piecewise = False
        self._paused = False
        self._unread = 0
        self.usable = False
        self.served = 0
        self.idle_since = 0.0

    # What the one who asks calls

    def ask(self, method: str, request: bytes, seconds: float | None, *, piecewise: bool = False) -> Reader:
        """Sends a request. seconds: until its whole answer must be there; None sets no limit.

        piecewise: somebody waits for each piece of the answer, not for its end.
        """
        assert self._transport is not None and self.usable
        self._reader = Reader(method)
        self._piecewise = piecewise
        self.usable = False
        self.limit(seconds)
        self._transport.write(request)
        return self._reader

    async def wait(self) -> None:
        """Waits until the answer is whole, or when it was asked for piecewise until more of it has come.

        Raises OSError: Disconnected, Malformed, TimeoutError, or what broke the connection; it is of no use then. So it
        is when this is cancelled.
        """
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        self._unread = 0
        self._resume()
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._waiter = None

    def limit(self, seconds: float | None) -> None:
        """From now on the answer has so long to come; None ends a limit."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(max(seconds, 0), self._late)

    def finish(self) -> None:
        """The answer was taken: the connection is ready for another one, or closed."""
        self.limit(None)
        reader, self._reader = self._reader, None
        if reader is None or not reader.done:
            self.abort()
        elif self._transport is not None and not self._transport.is_closing():
            if reader.reusable:
                self.usable = True
                self.served += 1
                self.idle_since = self._loop.time()
                self._resume()
            else:
                self._transport.close()

    def close(self) -> None:
        """Says goodbye; what is being waited for fails."""
        self.usable = False
        self._fail(ConnectionAbortedError("the client was closed"))
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    def abort(self) -> None:
        """Drops the connection without waiting for TLS to say goodbye."""
        self.usable = False
        self.limit(None)
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader is None or reader.done:
            # An answer to nothing, as servers say that they were waited on for too long.
            self.abort()
            return
        try:
            reader.feed(data)
        except Malformed as err:
            self._fail(err)
            self.abort()
            return
        if reader.done:
            self._wake()
        elif self._piecewise and reader.status:
            self._wake()
            self._unread += len(data)
            if self._unread > _ENOUGH and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()

    def eof_received(self) -> None:
        self.usable = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._transport = None
        reader = self._reader
        if reader is None or reader.done:
            return
        if not reader.begun:
            self._fail(Disconnected(str(exc or "the server closed the connection without an answer")))
        elif exc is not None:
            self._fail(exc if isinstance(exc, OSError) else Malformed(str(exc)))
        else:
            try:
                reader.end()
            except Malformed as err:
                self._fail(err)
            else:
                self._wake()

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _late(self) -> None:
        self._timer = None
        self._fail(TimeoutError("it took too long"))
        self.abort()

    def _fail(self, error: OSError) -> None:
        reader = self._reader
        if reader is not None and not reader.done and self._error is None:
            self._error = error
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
