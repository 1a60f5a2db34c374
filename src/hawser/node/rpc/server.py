"""A gRPC server on a unix socket for calls of one request and one response, as plugins of a node make them.

Source: grpc/doc/PROTOCOL-HTTP2.md of the gRPC project; RFC 9113.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from hawser.node.rpc import hpack
from hawser.node.rpc.address import address
from hawser.node.rpc.channel import Code, RPCError, framed
from hawser.node.rpc.hpack import Header
from hawser.node.rpc.http2 import (
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW,
    INITIAL_WINDOW,
    PREFACE,
    WINDOW,
    Connection,
    Frame,
    Reset,
    frame,
)
from hawser.node.rpc.messages import Malformed
from hawser.node.rpc.schema import Method, Schema

log = logging.getLogger(__name__)

Work = Callable[[Any], Awaitable[Mapping[str, Any]]]
"""From a request to the fields of its response. Raises RPCError."""

_HEAD = 5
_MOST_BYTES = 4 << 20
_BACKLOG = 64
_ANSWER = ((":status", "200"), ("content-type", "application/grpc"))


class Server:
    """Serves methods at ``path``, readable by root only. A method that raises anything else answers UNKNOWN."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._methods: dict[str, tuple[Method, Work]] = {}
        self._connections: set[_Served] = set()
        self._server: asyncio.Server | None = None

    def add(self, schema: Schema, service: str, works: Mapping[str, Work]) -> None:
        """Adds methods of a service by their names."""
        for name, work in works.items():
            method = schema.method(service, name)
            self._methods[method.path] = method, work

    async def start(self) -> None:
        """Listens; what another server left at the path goes. Raises OSError."""
        self.path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        with address(self.path) as socket:
            self._server = await loop.create_unix_server(self._made, socket, backlog=_BACKLOG)
        self.path.chmod(0o660)

    async def stop(self) -> None:
        """Ends all connections and takes the socket away."""
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)
            self._server = None
        for connection in list(self._connections):
            connection.close()

    def _made(self) -> Connection:
        connection = _Served(self._methods, lambda gone: self._connections.discard(cast(_Served, gone)))
        self._connections.add(connection)
        return connection


class _Served(Connection):
    """One connection, the server's side."""

    def __init__(self, methods: Mapping[str, tuple[Method, Work]], closed: Callable[[Connection], None]) -> None:
        super().__init__(closed)
        self._methods = methods
        self._preface: bytes | None = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        grown = struct.pack(">I", WINDOW - FIRST_WINDOW)
        settings = struct.pack(">HI", INITIAL_WINDOW, WINDOW)
        self._write(frame(Frame.SETTINGS, 0, 0, settings) + frame(Frame.WINDOW_UPDATE, 0, 0, grown))

    def data_received(self, data: bytes) -> None:
        if self._preface is not None:
            data = self._preface + data
            if not (data.startswith(PREFACE) or PREFACE.startswith(data)):
                self.close()
                return
            self._preface = data if len(data) < len(PREFACE) else None
            if self._preface is not None:
                return
            data = data[len(PREFACE) :]
        super().data_received(data)

    def method(self, path: str) -> tuple[Method, Work] | None:
        """The method of a path and who does it."""
        return self._methods.get(path)

    def answer(self, number: int, body: bytes) -> None:
        """Ends a stream well."""
        if number in self._streams:
            self._write(frame(Frame.HEADERS, END_HEADERS, number, hpack.encode(_ANSWER)))
            self._trailers[number] = hpack.encode([("grpc-status", "0")])
            self._waiting.append((number, body))
            self._send_waiting()

    def refuse(self, number: int, error: RPCError) -> None:
        """Ends a stream badly."""
        if number in self._streams:
            rows = (*_ANSWER, ("grpc-status", str(error.code.value)), ("grpc-message", quote(error.details, safe=" ")))
            self._write(frame(Frame.HEADERS, END_HEADERS | END_STREAM, number, hpack.encode(rows)))
            self._forget(number)

    def _took_headers(self, number: int, rows: list[Header], ended: bool) -> None:
        stream = self._streams.get(number)
        if stream is None:
            stream = self._streams[number] = _Request(self, number)
            self._windows[number] = self._first_window
        stream.headers(rows, ended)

    def _took_all(self, number: int) -> None:
        """The request is whole; the answer is yet to come."""

    def _go_away(self, payload: bytes) -> None:
        """No more requests; those that are there are answered."""
        self._why = self._why or "the other side is ending"
        if not self._streams:
            self.close()


class _Request:
    """One request and its answer."""

    def __init__(self, connection: _Served, number: int) -> None:
        self._connection = connection
        self._number = number
        self._path = ""
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None

    def headers(self, rows: list[Header], ended: bool) -> None:
        self._path = self._path or dict(rows).get(":path", "")
        if ended:
            self._begin()

    def data(self, piece: bytes, ended: bool) -> None:
        self._body += piece
        if len(self._body) > _MOST_BYTES:
            self._connection.cancel(self._number, Reset.ENHANCE_YOUR_CALM)
        elif ended:
            self._begin()

    def reset(self, code: int) -> None:
        self.lost(f"the stream was reset: {code}")

    def lost(self, why: str) -> None:
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._work(), name=f"grpc {self._path}")

    async def _work(self) -> None:
        try:
            self._connection.answer(self._number, await self._answer())
        except RPCError as error:
            self._connection.refuse(self._number, error)
        except Exception as error:
            log.exception("the gRPC call %s failed", self._path)
            with contextlib.suppress(ConnectionError):
                self._connection.refuse(self._number, RPCError(Code.UNKNOWN, str(error)))

    async def _answer(self) -> bytes:
        found = self._connection.method(self._path)
        if found is None:
            _, service, name = f"{self._path}//".split("/", 2)
            raise RPCError(Code.UNIMPLEMENTED, f"unknown method {name.strip('/')} for service {service}")
        method, work = found
        if len(self._body) < _HEAD or self._body[0]:
            raise RPCError(Code.INTERNAL, "the request is cut short, or compressed")
        try:
            request = method.request.decode(bytes(self._body[_HEAD:]))
        except Malformed as error:
            raise RPCError(Code.INTERNAL, f"the request cannot be read: {error}") from None
        return framed(method.response.encode(await work(request)))
