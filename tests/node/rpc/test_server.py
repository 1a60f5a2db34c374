"""The server's side of gRPC, asked by the gRPC project's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

from hawser.node.rpc.channel import Channel, Code, RPCError
from hawser.node.rpc.schema import Schema
from hawser.node.rpc.server import Server

SCHEMA = Schema(
    {
        "package": "test",
        "enums": {},
        "messages": {"Text": {"text": [1, "string"], "size": [2, "int64"]}},
        "services": {"Echo": {name: ["Text", "Text"] for name in ("Say", "Refuse", "Break", "Wait", "Unknown")}},
    }
)


class Echo:
    """Says what it is told, as often as it is told."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def say(self, request: Any) -> Mapping[str, Any]:
        return {"text": request.text * max(1, request.size), "size": len(request.text)}

    async def refuse(self, request: Any) -> Mapping[str, Any]:
        raise RPCError(Code.NOT_FOUND, f"there is no {request.text}: 100 % sure, für immer")

    async def fail(self, request: Any) -> Mapping[str, Any]:
        raise ValueError("it is broken")

    async def wait(self, request: Any) -> Mapping[str, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        return {}


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def path(tmp_path: Path, echo: Echo) -> AsyncIterator[Path]:
    socket = tmp_path / "s"
    socket.write_text("something that another server left")
    server = Server(socket)
    works = {"Say": echo.say, "Refuse": echo.refuse, "Break": echo.fail, "Wait": echo.wait}
    server.add(SCHEMA, "Echo", works)
    await server.start()
    yield socket
    await server.stop()
    assert not socket.exists()


async def ask(channel: grpc.aio.Channel, name: str, **fields: Any) -> Any:
    method = SCHEMA.method("Echo", name)
    call = channel.unary_unary(
        method.path, request_serializer=method.request.encode, response_deserializer=method.response.decode
    )
    return await call(fields, timeout=120)


async def test_calls_are_answered_whatever_their_size_many_at_a_time(path: Path) -> None:
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        assert (await ask(channel, "Say", text="hello", size=2)).text == "hellohello"
        assert (await ask(channel, "Say")).text == ""
        long = await ask(channel, "Say", text="x" * 200_000, size=15)
        assert len(long.text) == 3_000_000, "more than any window"
        found = await asyncio.gather(*(ask(channel, "Say", text=str(i), size=100) for i in range(50)))
        assert [row.text[:2] for row in found[10:]] == [str(i) for i in range(10, 50)]


async def test_failures_have_their_status(path: Path) -> None:
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        for name, code, words in (
            ("Refuse", grpc.StatusCode.NOT_FOUND, "there is no x: 100 % sure, für immer"),
            ("Break", grpc.StatusCode.UNKNOWN, "it is broken"),
            ("Unknown", grpc.StatusCode.UNIMPLEMENTED, "unknown method Unknown for service test.Echo"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await ask(channel, name, text="x")
            assert (raised.value.code(), raised.value.details()) == (code, words)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ask(channel, "Say", text="x" * 5_000_000)
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await ask(channel, "Say", text="still there")).text == "still there"


async def test_a_caller_that_leaves_ends_the_work_for_it(path: Path, echo: Echo) -> None:
    channel = Channel(f"unix://{path}")
    with pytest.raises(RPCError) as raised:
        await channel.call(SCHEMA.method("Echo", "Wait"), {}, seconds=0.05)
    assert raised.value.code == Code.DEADLINE_EXCEEDED
    await asyncio.wait_for(echo.cancelled.wait(), 120)
    assert (await channel.call(SCHEMA.method("Echo", "Say"), {"text": "x"}, seconds=120)).text == "x"
    await channel.close()


async def test_a_socket_may_have_any_path(tmp_path: Path, echo: Echo) -> None:
    socket = tmp_path / ("folder" * 20) / "s"
    socket.parent.mkdir()
    server = Server(socket)
    server.add(SCHEMA, "Echo", {"Say": echo.say})
    for _ in range(2):
        await server.start()
        channel = Channel(f"unix://{socket}")
        assert (await channel.call(SCHEMA.method("Echo", "Say"), {"text": "x"}, seconds=120)).text == "x"
        await channel.close()
        await server.stop()
        assert not socket.exists()


async def test_what_is_no_http2_is_hung_up_on(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await reader.read()
    writer.close()
