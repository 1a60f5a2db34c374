"""exec, attach and port forwarding: a client's upgraded connection joined to the runtime's streaming server.

The runtime's server speaks SPDY/3.1 and WebSocket with the channel protocols up to v4, as old clients do: their bytes
pass through untouched. Newer clients are translated: WebSocket with v5.channel.k8s.io, where a client can end its
standard input, becomes SPDY streams; port forwarding, which is SPDY inside WebSocket messages, is unwrapped.

Sources: KEP-4006 (WebSockets instead of SPDY), the remotecommand protocols of the Kubernetes API.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, WSMsgType, web

from hawser.node.cri.words import usual_status
from hawser.node.server import spdy

V5 = "v5.channel.k8s.io"
TUNNEL = "SPDY/3.1+portforward.k8s.io"
_REMOTE_COMMAND = "v4.channel.k8s.io"
_PORT_FORWARD = "portforward.k8s.io"
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_BLOCK = 1 << 16
_DROPPED = frozenset({"host", "content-length", "transfer-encoding", "authorization"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams the client asked for."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


def subprotocols(request: web.BaseRequest) -> list[str]:
    """The WebSocket subprotocols that a request offers; empty for other requests."""
    return [
        word.strip()
        for value in request.headers.getall("Sec-WebSocket-Protocol", [])
        for word in value.split(",")
        if word.strip()
    ]


def wants_upgrade(request: web.BaseRequest) -> bool:
    """Whether the client asks for another protocol."""
    return "upgrade" in request.headers.get("Connection", "").lower() and "Upgrade" in request.headers


def _address(url: str) -> tuple[str, int, str]:
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return parts.hostname or "127.0.0.1", parts.port or 80, path


async def remote_command(request: web.BaseRequest, url: str, wanted: Wanted) -> web.WebSocketResponse:
    """Serve a v5 WebSocket: run its channels as SPDY streams at the runtime's url. Raises ConnectionError before."""
    host, port, path = _address(url)
    reader, writer = await spdy.upgrade(host, port, path, [("X-Stream-Protocol-Version", _REMOTE_COMMAND)])
    session = spdy.Session(reader, writer)
    socket = web.WebSocketResponse(protocols=(V5,), max_msg_size=0, autoping=True, compress=False)
    try:
        await socket.prepare(request)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run())
            opened = await _open_streams(session, wanted)
            await _first_of(_to_client(socket, opened), _from_client(socket, opened))
            if not socket.closed:
                await socket.close(code=WSCloseCode.OK)
            running.cancel()
    finally:
        session.close()
    return socket


_OUTGOING = (_STDOUT, _STDERR, _ERROR)


async def _open_streams(session: spdy.Session, wanted: Wanted) -> dict[int, spdy.Stream]:
    """The streams that the runtime waits for, error stream first."""
    names = [(_ERROR, "error", True), (_STDIN, "stdin", wanted.stdin), (_STDOUT, "stdout", wanted.stdout)]
    names += [(_STDERR, "stderr", wanted.stderr and not wanted.tty), (_RESIZE, "resize", wanted.tty)]
    return {number: await session.open({"streamtype": name}) for number, name, use in names if use}


async def _from_client(socket: web.WebSocketResponse, streams: dict[int, spdy.Stream]) -> None:
    """Pass on the client's messages until it closes. The first byte of a message is its channel."""
    with contextlib.suppress(ConnectionError):
        async for message in socket:
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                continue
            data = message.data if isinstance(message.data, bytes) else message.data.encode()
            if not data:
                continue
            if data[0] == _CLOSE and len(data) > 1 and data[1] in streams:
                await streams[data[1]].finish()
            elif data[0] in (_STDIN, _RESIZE) and data[0] in streams and len(data) > 1:
                stream = streams[data[0]]
                if not stream.finished:
                    await stream.write(data[1:])


async def _to_client(socket: web.WebSocketResponse, opened: dict[int, spdy.Stream]) -> None:
    """Pass on what the runtime sends until all its streams have ended."""

    async def one(channel: int) -> None:
        head = bytes([channel])
        with contextlib.suppress(ConnectionError):
            while piece := await opened[channel].read():
                await socket.send_bytes(head + (usual_status(piece) if channel == _ERROR else piece))

    await asyncio.gather(*(one(channel) for channel in _OUTGOING if channel in opened))


async def tunnel(request: web.BaseRequest, url: str) -> web.WebSocketResponse:
    """Serve port forwarding in WebSocket messages: their content is an SPDY connection to the runtime's url."""
    host, port, path = _address(url)
    reader, writer = await spdy.upgrade(host, port, path, [("X-Stream-Protocol-Version", _PORT_FORWARD)])
    socket = web.WebSocketResponse(protocols=(TUNNEL,), max_msg_size=0, compress=False)
    try:
        await socket.prepare(request)

        async def inwards() -> None:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    writer.write(message.data)
                    await writer.drain()

        async def outwards() -> None:
            while data := await reader.read(_BLOCK):
                await socket.send_bytes(data)

        await _first_of(inwards(), outwards())
        if not socket.closed:
            await socket.close(code=WSCloseCode.OK)
    finally:
        writer.close()
    return socket


async def _first_of(*works: Any) -> None:
    """Run until one of them ends, and end the others; that the peer went away is an end like any other."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                raise outcome


class HandedOver:
    """The answer to a request whose connection was used for something else: nothing is left to write."""

    status = 101
    body_length = 0
    keep_alive = False

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to write."""

    async def write_eof(self) -> None:
        """Nothing is left to write."""


class _ClientEnd(asyncio.Protocol):
    """A client's connection, taken from its HTTP protocol, which still learns of the end."""

    def __init__(self, before: asyncio.Protocol, writer: asyncio.StreamWriter) -> None:
        self._before = before
        self._writer = writer
        self._may_write = asyncio.Event()
        self._may_write.set()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._writer.write(data)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._may_write.set()
        if not self.gone.done():
            self.gone.set_result(None)
        self._before.connection_lost(exc)

    async def may_write(self) -> None:
        """Wait while the client is behind."""
        await self._may_write.wait()


async def pass_through(request: web.BaseRequest, url: str) -> HandedOver:
    """Join the client's connection with the runtime's url, request head and all. Raises ConnectionError before."""
    transport = request.transport
    if transport is None:
        raise ConnectionError("the client went away")
    host, port, path = _address(url)
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_head(request, host, port, path))
        before = cast(asyncio.Protocol, transport.get_protocol())
        client = _ClientEnd(before, writer)
        transport.set_protocol(client)

        async def outwards() -> None:
            while data := await reader.read(_BLOCK):
                transport.write(data)
                await client.may_write()

        await _first_of(client.gone, outwards())
    finally:
        writer.close()
        transport.close()
    return HandedOver()


def _head(request: web.BaseRequest, host: str, port: int, path: str) -> bytes:
    lines = [f"{request.method} {path} HTTP/1.1", f"Host: {host}:{port}"]
    if request.method == "POST":
        lines.append("Content-Length: 0")
    lines += _kept(request.headers.items())
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def _kept(headers: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{name}: {value}" for name, value in headers if name.lower() not in _DROPPED]
