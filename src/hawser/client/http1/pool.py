"""The connections to one server: kept for the next request, and no more of them than allowed."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hawser.client.http1 import sockets
from hawser.client.http1.connection import Connection

KEEP_SECONDS = 60.0
CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where to connect. tls: None for plain HTTP. tls_name: what its certificate is checked for, if not the host."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    tls_name: str = ""

    @property
    def name(self) -> str:
        """What the certificate is checked for."""
        return self.tls_name or self.host

    def check(self) -> None:
        """Raises OSError for a name that no certificate can have: in event loops that comes when it is too late."""
        if self.tls is not None:
            try:
                self.tls.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=self.name)
            except (ValueError, TypeError) as err:
                raise OSError(f"{self.name!r} is no name of a server: {err}") from err


class Pool:
    """Connections for one request at a time each.

    limit: so many requests at once, further ones wait their turn; 0: any number.
    made: told of every socket before it is connected.
    """

    def __init__(self, server: Server, limit: int, made: Callable[[socket.socket], None]) -> None:
        self._server = server
        self._limit = limit
        self._made = made
        self._loop = asyncio.get_running_loop()
        self._taken: set[Connection] = set()
        self._turns = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle: list[Connection] = []
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    def take_idle(self) -> Connection | None:
        """A connection that is there, if nobody has to wait for it."""
        if self._limit and self._turns >= self._limit:
            return None
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.usable:
                self._turns += 1
                self._taken.add(connection)
                return connection
        return None

    async def take(self, *, new: bool = False) -> Connection:
        """A connection, to be given back with ``give``. new: one that no request was sent over. Raises OSError."""
        if self._closed:
            raise _closed()
        if self._limit and self._turns >= self._limit:
            await self._turn()
        else:
            self._turns += 1
        try:
            connection = None
            while self._idle and connection is None and not new:
                found = self._idle.pop()
                connection = found if found.usable else None
            if connection is None:
                connection = await self._connect()
                if self._closed:
                    connection.abort()
                    raise _closed()
        except BaseException:
            self._next()
            raise
        self._taken.add(connection)
        return connection

    def give(self, connection: Connection) -> None:
        """The answer was taken, or given up."""
        self._taken.discard(connection)
        connection.finish()
        if connection.usable:
            self._idle.append(connection)
            if self._sweeping is None:
                self._sweeping = self._loop.call_later(KEEP_SECONDS, self._sweep)
        self._next()

    def close(self) -> None:
        """Closes all connections; requests in progress fail."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in (*self._idle, *self._taken):
            connection.close()
        self._idle.clear()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(_closed())

    async def _turn(self) -> None:
        """Waits until a request has ended, and takes its place."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._next()
            raise

    def _next(self) -> None:
        """A request's place is free: the next one that waits has it."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._turns -= 1

    def _sweep(self) -> None:
        """Closes what has been idle for too long: the oldest come first, as the youngest are used first."""
        self._sweeping = None
        oldest = self._loop.time() - KEEP_SECONDS
        kept = []
        for connection in self._idle:
            if connection.usable and connection.idle_since > oldest:
                kept.append(connection)
            else:
                connection.close()
        self._idle = kept
        if kept:
            wait = min(connection.idle_since for connection in kept) - oldest
            self._sweeping = self._loop.call_later(wait, self._sweep)

    async def _connect(self) -> Connection:
        server = self._server
        server.check()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                made = await sockets.connected(server.host, server.port, self._made)
        except TimeoutError as err:
            raise TimeoutError(f"no connection within {CONNECT_SECONDS:.0f} s") from err
        _, connection = await self._loop.create_connection(
            Connection, sock=made, ssl=server.tls, server_hostname=None if server.tls is None else server.name
        )
        return connection


def _closed() -> OSError:
    return ConnectionAbortedError("the client was closed")
