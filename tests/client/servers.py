"""Servers that do with a connection what a test says, and tests that run on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from hawser.client.client import Client

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Handle = Callable[["Server", "Peer"], Awaitable[None]]


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Controllers and the agent run on uvloop, commands on asyncio's own loop."""

    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], **arguments: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(asyncio.wait_for(test(**arguments), 120))

    known = inspect.signature(test).parameters.values()
    first = inspect.Parameter("new_loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([first, *known])  # type: ignore[attr-defined]
    run.__name__ = test.__name__
    run.pytestmark = list(getattr(test, "pytestmark", ()))  # type: ignore[attr-defined]
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    return pytest.mark.parametrize("new_loop", loops, ids=["asyncio", "uvloop"])(run)


@dataclass
class Peer:
    """One connection, as the server sees it."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """The next request, body included; nothing when the client is gone."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Len")), 0)
        return head + await self.reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Waits until the client has closed."""
        with contextlib.suppress(ConnectionError):
            assert await self.reader.read() == b""


@dataclass
class Server:
    """Does with each connection what a test says; knows what it was asked."""

    handle: Handle
    requests: list[bytes] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(len(self.peers), reader, writer)
        self.peers.append(peer)
        try:
            await self.handle(self, peer)
        except ConnectionError:
            pass
        except Exception as err:
            self.failures.append(err)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(handle: Handle, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(handle)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.url = f"http{'s' if tls else ''}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        for _ in range(10):
            await asyncio.sleep(0)  # What was accepted by now becomes a peer, though nobody waits for it any more.
        for peer in server.peers:
            if not peer.writer.is_closing():
                peer.writer.transport.abort()
        await asyncio.sleep(0)
        assert server.failures == []


@contextlib.asynccontextmanager
async def talking(handle: Handle, **options: Any) -> AsyncIterator[tuple[Server, Client]]:
    async with serving(handle) as server:
        client = Client(server.url, **options)
        try:
            yield server, client
        finally:
            await client.close()


async def answer_all(server: Server, peer: Peer) -> None:
    while request := await peer.request():
        server.requests.append(request)
        await peer.send(OK)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what arrives over the network tells nobody
            await asyncio.sleep(0.001)
