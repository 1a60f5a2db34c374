"""Requests are found in the bytes of a connection as aiohttp's parser finds them, or left to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import assume, given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from hawser.apiserver import eager
from hawser.apiserver.framing import Head, Heads, Whole, frame


class _Protocol:
    """What the parser asks of a connection."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **named: None


def parsed(data: bytes) -> list[Any]:
    """The messages that aiohttp finds; none in what it refuses."""

    async def run() -> list[Any]:
        parser = HttpRequestParser(_Protocol(), asyncio.get_running_loop(), 1 << 16)  # type: ignore[arg-type]
        try:
            return [message for message, _ in parser.feed_data(data)[0]]
        except HttpProcessingError:
            return []

    return asyncio.run(run())


NAMES = st.sampled_from(["Host", "Accept", "User-Agent", "X-Remote-User", "authorization", "Impersonate-User"])
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5)
BODIES = st.none() | st.binary(max_size=50)
SPELLINGS = st.sampled_from(["Content-Length", "content-length"])


def written(headers: list[tuple[str, str]], body: bytes | None, spelling: str, at: int) -> bytes:
    lines = [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.insert(min(at, len(lines)), f"{spelling}: {len(body)}")
    return "\r\n".join(["POST /api/v1/namespaces HTTP/1.1", *lines, "", ""]).encode() + (body or b"")


@given(HEADERS, BODIES, SPELLINGS, st.integers(0, 5))
def test_a_frame_is_the_whole_request_and_its_lines_do_not_depend_on_the_body(
    headers: list[tuple[str, str]], body: bytes | None, spelling: str, at: int
) -> None:
    data = written(headers, body, spelling, at)
    found = frame(data)
    assert found is not None
    assert found.size == len(data)
    assert data[found.body :] == (body or b"")
    assert data[: found.start] == b"POST /api/v1/namespaces HTTP/1.1"
    without = frame(written(headers, None, spelling, at))
    assert without is not None and without.lines == found.lines


@given(HEADERS, st.binary(min_size=1, max_size=50), SPELLINGS, st.integers(0, 5), st.data())
def test_the_beginning_of_a_request_is_no_whole_one(
    headers: list[tuple[str, str]], body: bytes, spelling: str, at: int, data: st.DataObject
) -> None:
    whole = written(headers, body, spelling, at)
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    found = frame(part)
    assert found is None or found.size == len(whole)


@given(HEADERS, BODIES, SPELLINGS, st.integers(0, 5))
def test_what_is_remembered_of_a_head_is_what_the_parser_made_of_it(
    headers: list[tuple[str, str]], body: bytes | None, spelling: str, at: int
) -> None:
    data = written(headers, body, spelling, at)
    found = frame(data)
    messages = parsed(data)
    assume(messages)
    heads = Heads()
    [message] = messages
    assert found is not None and heads.learn(found, message)
    head = heads.find(found.lines)
    assert head is not None
    request = Whole("POST", "/api/v1/namespaces", head, data[found.body :], None)
    assert [item for item in request.headers.items() if item[0].lower() != "content-length"] == [
        item for item in message.headers.items() if item[0].lower() != "content-length"
    ]
    assert request.content_length == len(body or b"")
    assert request.keep_alive


@given(HEADERS, BODIES, BODIES, SPELLINGS, st.integers(0, 5), st.binary(max_size=5), st.data())
def test_a_request_like_the_one_before_is_known_again_as_it_would_be_framed(
    headers: list[tuple[str, str]],
    body: bytes | None,
    other: bytes | None,
    spelling: str,
    at: int,
    more: bytes,
    data: st.DataObject,
) -> None:
    first = written(headers, body, spelling, at)
    found = frame(first)
    assert found is not None
    heads, head = Heads(), Head(CIMultiDictProxy(CIMultiDict()), (), "", {})
    assert heads.again(first) is None
    heads.note(first, found, head)
    assert (heads.again(first) is None) == (body is None)
    second = written(data.draw(st.just(headers) | HEADERS), other, data.draw(SPELLINGS), data.draw(st.integers(0, 5)))
    second = second[: data.draw(st.integers(0, len(second)) | st.just(len(second)))] + more
    again, framed = heads.again(second), frame(second)
    if again is not None:
        assert framed is not None and again == (head, framed.start, framed.body)
        assert framed.lines == found.lines and framed.size == len(second)


@pytest.mark.parametrize(
    "lines",
    [
        "Transfer-Encoding: chunked",
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Connection: close",
        "Connection: Upgrade\r\nUpgrade: websocket",
        "Expect: 100-continue\r\nContent-Length: 3",
        "CONTENT-LENGTH: 3",
        "Content-Length:3",
        "Content-Encoding: gzip\r\nContent-Length: 3",
    ],
)
def test_a_head_that_is_not_plain_is_never_remembered(lines: str) -> None:
    data = f"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n".encode()
    found = frame(data + b"abc") or frame(data)
    assert found is not None
    heads = Heads()
    for message in parsed(data):
        assert not heads.learn(found, message)
    assert heads.find(found.lines) is None


@pytest.mark.parametrize("length", ["-1", "+3", "3 3", "0x3", "3, 3", "123456789", "³"])
def test_a_length_that_is_no_plain_number_is_left_to_the_parser(length: str) -> None:
    assert frame(f"PUT / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode()) is None


async def test_a_coroutine_that_need_not_wait_is_done_at_once() -> None:
    steps: list[str] = []

    async def work() -> None:
        async with asyncio.timeout(120):
            await nothing()
            steps.append("done")

    async def nothing() -> None:
        """Awaited, and done without waiting."""

    _outside(lambda: steps.append(str(eager.begin(work(), loop))), loop := asyncio.get_running_loop())
    await asyncio.sleep(0)
    assert steps == ["done", "None"]


async def test_a_coroutine_that_waits_goes_on_with_its_time_limits() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    heard = asyncio.Event()
    steps: list[str] = []
    ended = asyncio.Event()
    tasks: list[eager.Running | None] = []

    async def work() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            steps.append("late")
        await asyncio.sleep(0)
        try:
            steps.append(await future)
            heard.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            steps.append("cancelled")
            ended.set()
            raise

    _outside(lambda: tasks.append(eager.begin(work(), loop)), loop)
    await asyncio.sleep(0)
    [task] = tasks
    assert task is not None
    future.set_result("word")
    await heard.wait()
    task.cancel()
    await ended.wait()
    assert steps == ["late", "word", "cancelled"]


@pytest.mark.parametrize("late", [False, True])
async def test_a_coroutine_that_waits_once_is_cancelled_there(late: bool) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    begun: list[eager.Running | None] = []
    steps: list[str] = []
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await future
        except asyncio.CancelledError:
            steps.append("cancelled")
            ended.set()
            raise

    _outside(lambda: begun.append(eager.begin(work(), loop)), loop)
    await asyncio.sleep(0)
    [running] = begun
    assert running is not None
    if late:
        # It is about to be woken up.
        future.set_result("word")
    assert running.cancel()
    await ended.wait()
    assert steps == ["cancelled"] and not running.cancel()


async def test_a_time_limit_of_a_coroutine_that_waits_once_is_its_own() -> None:
    steps: list[str] = []
    ended = asyncio.Event()

    async def work() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            steps.append("late")
            ended.set()

    loop = asyncio.get_running_loop()
    _outside(lambda: eager.begin(work(), loop), loop)
    await ended.wait()
    assert steps == ["late"]


async def test_what_a_coroutine_raises_before_it_waits_is_raised_at_once() -> None:
    loop = asyncio.get_running_loop()
    raised: list[BaseException] = []

    async def work() -> None:
        raise ConnectionResetError("gone")

    def call() -> None:
        try:
            eager.begin(work(), loop)
        except ConnectionResetError as error:
            raised.append(error)

    _outside(call, loop)
    await asyncio.sleep(0)
    assert len(raised) == 1 and asyncio.current_task() is not None


def _outside(call: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Call in no task, as a protocol is called."""
    loop.call_soon(call)
