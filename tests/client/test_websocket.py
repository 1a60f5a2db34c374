"""WebSockets of the client: what exec, attach and port-forward need of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import WSMsgType, web

from hawser.api.errors import APIError
from hawser.client.client import Client


@pytest.fixture
async def server() -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != "Bearer secret":
            raise web.HTTPForbidden
        socket = web.WebSocketResponse(protocols=["v5.channel.k8s.io"])
        await socket.prepare(request)
        await socket.send_str(request.raw_path)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_websocket_speaks_its_subprotocol_and_repeats_parameters(server):
    async with Client(server, token="secret") as client:
        params = [("command", "ls"), ("command", "-l")]
        async with client.websocket("/exec", params, ("v5.channel.k8s.io",)) as socket:
            assert socket.protocol == "v5.channel.k8s.io"
            assert (await socket.receive()).data == "/exec?command=ls&command=-l"
            await socket.send_bytes(b"x" * 100_000)
            message = await socket.receive()
            assert (message.type, message.data) == (WSMsgType.BINARY, b"x" * 100_000)
    assert {made.fileno() for made in client._sockets} <= {-1}


async def test_a_websocket_that_is_refused_raises_the_code(server):
    async with Client(server) as client:
        with pytest.raises(APIError) as caught:
            async with client.websocket("/exec"):
                pass
        assert caught.value.code == 403


async def test_a_websocket_to_nobody_is_service_unavailable():
    async with Client("http://127.0.0.1:1") as client:
        with pytest.raises(APIError, match="does not answer") as caught:
            async with client.websocket("/exec"):
                pass
        assert caught.value.code == 503
