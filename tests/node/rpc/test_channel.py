"""Calls against the gRPC project's own server, and against servers that break the rules."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from hawser.node.rpc.channel import Channel, Code, NotConnected, RPCError
from hawser.node.rpc.schema import Schema

SCHEMA = Schema(
    {
        "package": "test",
        "enums": {},
        "messages": {"Words": {"text": [1, "string"], "data": [2, "bytes"]}},
        "services": {"Talk": {"Say": ["Words", "Words"], "Go": ["Words", "stream Words"]}},
    }
)
WORDS, SAY, GO = SCHEMA.message("Words"), SCHEMA.method("Talk", "Say"), SCHEMA.method("Talk", "Go")
Handler = Callable[[Any, grpc.ServicerContext], Any]


@asynccontextmanager
async def serving(socket: Path, say: Handler | None = None, go: Handler | None = None) -> AsyncIterator[None]:
    """A server of the gRPC project at a unix socket."""

    def handler(kind: Any, work: Handler) -> Any:
        return kind(work, request_deserializer=WORDS.decode, response_serializer=WORDS.encode)

    methods = {}
    if say is not None:
        methods["Say"] = handler(grpc.unary_unary_rpc_method_handler, say)
    if go is not None:
        methods["Go"] = handler(grpc.unary_stream_rpc_method_handler, go)
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 64 << 20)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Talk", methods),))
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    try:
        yield
    finally:
        # The connection has to be served meanwhile: the server waits until it has written what it began to.
        await asyncio.to_thread(server.stop(0).wait)


@pytest.fixture
async def channel(tmp_path: Path) -> Any:
    made = Channel(f"unix://{tmp_path}/s")
    yield made
    await made.close()


def echo(request: Any, context: grpc.ServicerContext) -> dict[str, Any]:
    return {"text": request.text, "data": request.data}


async def failure(channel: Channel, seconds: float = 10) -> RPCError:
    with pytest.raises(RPCError) as info:
        await channel.call(SAY, {}, seconds=seconds)
    return info.value


async def test_many_calls_at_once_go_over_one_connection(channel: Channel, tmp_path: Path) -> None:
    peers = set()

    def say(request: Any, context: grpc.ServicerContext) -> Any:
        peers.add(context.peer())
        assert dict(context.invocation_metadata())["user-agent"] == "hawser"
        assert 0 < context.time_remaining() <= 30
        return echo(request, context)

    async with serving(tmp_path / "s", say):
        told = await asyncio.gather(*(channel.call(SAY, {"text": f"{i} ö"}, seconds=30) for i in range(50)))
    assert [answer.text for answer in told] == [f"{i} ö" for i in range(50)]
    assert len(peers) == 1


async def test_messages_larger_than_any_window_arrive_whole(channel: Channel, tmp_path: Path) -> None:
    data = bytes(range(256)) * (40 << 10)
    async with serving(tmp_path / "s", echo):
        for answer in await asyncio.gather(*(channel.call(SAY, {"data": data}, seconds=60) for _ in range(3))):
            assert answer.data == data


async def test_a_response_beyond_the_limit_is_refused(channel: Channel, tmp_path: Path) -> None:
    def say(request: Any, context: grpc.ServicerContext) -> Any:
        return {"data": bytes(17 << 20)}

    async with serving(tmp_path / "s", say):
        assert (await failure(channel, 60)).code == Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE])
async def test_the_servers_status_and_words_are_handed_on(
    channel: Channel, tmp_path: Path, code: grpc.StatusCode
) -> None:
    text = 'container "ä%1": not found\n' + "long " * 400

    def say(request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(code, text)

    async with serving(tmp_path / "s", say):
        error = await failure(channel)
    assert (error.code.name, error.details) == (code.name, text)


async def test_a_method_that_the_server_lacks_is_unimplemented(channel: Channel, tmp_path: Path) -> None:
    async with serving(tmp_path / "s"):
        assert (await failure(channel)).code == Code.UNIMPLEMENTED


async def test_a_deadline_ends_the_call_on_both_sides(channel: Channel, tmp_path: Path) -> None:
    ended = threading.Event()

    def say(request: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(ended.set)
        assert ended.wait(30)
        return {}

    async with serving(tmp_path / "s", say):
        error = await failure(channel, 0.05)
        assert await asyncio.to_thread(ended.wait, 30)
    assert (error.code, error.details) == (Code.DEADLINE_EXCEEDED, "Deadline Exceeded")


async def test_a_cancelled_call_is_cancelled_on_the_server(channel: Channel, tmp_path: Path) -> None:
    begun, ended = threading.Event(), threading.Event()

    def say(request: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(ended.set)
        begun.set()
        assert ended.wait(30)
        return {}

    async with serving(tmp_path / "s", say):
        task = asyncio.create_task(channel.call(SAY, {}, seconds=60))
        assert await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(ended.wait, 30)


async def test_a_stream_brings_every_message_and_ends_with_its_status(channel: Channel, tmp_path: Path) -> None:
    def go(request: Any, context: grpc.ServicerContext) -> Any:
        for number in range(3000):
            yield {"text": str(number), "data": bytes(8000)}
        context.abort(grpc.StatusCode.ABORTED, "enough")

    seen = []
    async with serving(tmp_path / "s", go=go):
        with pytest.raises(RPCError, match="ABORTED: enough"):
            async for message in channel.stream(GO, {}):
                seen.append(message.text)  # noqa: PERF401 - they are wanted although the stream fails
    assert seen == [str(number) for number in range(3000)], "24 MB are more than a window"


async def test_whoever_leaves_a_stream_ends_it(channel: Channel, tmp_path: Path) -> None:
    ended = threading.Event()

    def go(request: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(ended.set)
        yield {"text": "first"}
        assert ended.wait(30)

    async with serving(tmp_path / "s", go=go):
        async with aclosing(channel.stream(GO, {})) as messages:
            async for message in messages:
                assert message.text == "first"
                break
        assert await asyncio.to_thread(ended.wait, 30)


async def test_a_server_that_comes_back_is_found_again(channel: Channel, tmp_path: Path) -> None:
    error = await failure(channel)
    assert isinstance(error, NotConnected)
    assert (error.code, error.details) == (
        Code.UNAVAILABLE,
        f"failed to connect to unix://{tmp_path}/s: No such file or directory",
    )
    for _ in range(2):
        async with serving(tmp_path / "s", echo):
            assert (await channel.call(SAY, {"text": "x"}, seconds=120)).text == "x"
        assert (await failure(channel)).code == Code.UNAVAILABLE


async def test_calls_that_run_when_the_server_ends_are_unavailable(channel: Channel, tmp_path: Path) -> None:
    begun, over = threading.Event(), threading.Event()

    def say(request: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(over.set)
        begun.set()
        over.wait(30)
        return {}

    async with serving(tmp_path / "s", say):
        task = asyncio.create_task(failure(channel, 60))
        assert await asyncio.to_thread(begun.wait, 30)
    assert (await task).code in (Code.UNAVAILABLE, Code.CANCELLED)


PREFACE = b"\0\0\0\4\0\0\0\0\0"
ODD = {
    "it speaks HTTP/1": (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", Code.UNAVAILABLE),
    "it hangs up": (b"", Code.UNAVAILABLE),
    "it refuses the stream": (PREFACE + b"\0\0\4\3\0\0\0\0\1\0\0\0\7", Code.UNAVAILABLE),
    "it answers with 503": (PREFACE + b"\0\0\5\1\5\0\0\0\1\x08\x03503", Code.UNAVAILABLE),
    "it answers with 200 and no status": (PREFACE + b"\0\0\1\1\5\0\0\0\1\x88", Code.UNKNOWN),
    "its headers are no headers": (PREFACE + b"\0\0\1\1\5\0\0\0\1\x80", Code.UNAVAILABLE),
    "it is about to end": (PREFACE + b"\0\0\x08\7\0\0\0\0\0\0\0\0\0\0\0\0\0", Code.UNAVAILABLE),
    "it compresses": (PREFACE + b"\0\0\1\1\4\0\0\0\1\x88\0\0\5\0\0\0\0\0\1\1\0\0\0\0", Code.INTERNAL),
}


@pytest.mark.parametrize("case", ODD)
async def test_a_server_that_is_odd(case: str, channel: Channel, tmp_path: Path) -> None:
    answer, code = ODD[case]

    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"SM\r\n\r\n")
        writer.write(answer)
        if not answer:
            writer.close()
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_unix_server(odd, tmp_path / "s")
    async with server:
        assert (await failure(channel)).code == code
        await channel.close()


@pytest.mark.parametrize("target", ["unix:///run/a\0b", "unix://", "nowhere", "localhost:many", "localhost:99999"])
async def test_no_target_is_odd_enough_for_another_error(target: str) -> None:
    assert (await failure(Channel(target))).code == Code.UNAVAILABLE


async def test_a_closed_channel_makes_no_calls(channel: Channel, tmp_path: Path) -> None:
    async with serving(tmp_path / "s", echo):
        await channel.close()
        assert (await failure(channel)).details == "the channel is closed"
