"""Connections: servers that close, hang, lie, dribble and refuse, on both event loops."""

from __future__ import annotations

import asyncio
import socket

import pytest

from hawser.api.errors import APIError
from hawser.client.client import Client
from hawser.client.http1 import sockets
from hawser.client.transport import CONNECTIONS

from .servers import OK, answer_all, on_both_loops, serving, talking, until


@on_both_loops
async def test_requests_one_after_the_other_share_a_connection():
    async with talking(answer_all) as (server, client):
        for _ in range(5):
            assert await client.raw("POST", "/x", {"a": 1}) == b"{}"
        assert len(server.peers) == 1
        assert [request.partition(b"\r\n\r\n")[2] for request in server.requests] == [b'{"a":1}'] * 5


@on_both_loops
async def test_many_at_once_wait_for_their_turn():
    async with talking(answer_all) as (server, client):
        answers = await asyncio.gather(*(client.raw("POST", f"/{n}") for n in range(200)))
        assert answers == [b"{}"] * 200
        assert len(server.peers) <= CONNECTIONS
        assert len(server.requests) == 200


@on_both_loops
async def test_who_waits_for_a_turn_may_give_up():
    release = asyncio.Event()

    async def handle(server, peer):
        while request := await peer.request():
            server.requests.append(request)
            await release.wait()
            await peer.send(OK)

    async with talking(handle) as (server, client):
        first = [asyncio.create_task(client.raw("POST", "/first")) for _ in range(CONNECTIONS)]
        await until(lambda: len(server.requests) == CONNECTIONS)
        given_up = [asyncio.create_task(client.raw("POST", "/never")) for _ in range(5)]
        last = asyncio.create_task(client.raw("POST", "/last"))
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        release.set()
        assert await asyncio.gather(*first, last) == [b"{}"] * (CONNECTIONS + 1)
        assert not any(b"/never" in request for request in server.requests)
        assert await client.raw("GET", "/again") == b"{}"


@on_both_loops
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_what_does_no_harm_twice_is_asked_again_when_an_idle_connection_ends(method):
    async def handle(server, peer):
        server.requests.append(await peer.request())
        await peer.send(OK)
        if peer.number == 0:
            # The end of the connection crosses with the second request.
            server.requests.append(await peer.request())
        else:
            await answer_all(server, peer)

    async with talking(handle) as (server, client):
        await client.raw("GET", "/first")
        assert await client.raw(method, "/second") == b"{}"
        assert [request.split(b" ")[1] for request in server.requests] == [b"/first", b"/second", b"/second"]


@on_both_loops
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_may_have_been_done_is_not_done_again(method):
    async def handle(server, peer):
        server.requests.append(await peer.request())
        await peer.send(OK)
        server.requests.append(await peer.request())

    async with talking(handle) as (server, client):
        await client.raw("GET", "/first")
        with pytest.raises(APIError, match="does not answer: the server closed the connection") as caught:
            await client.raw(method, "/second", {})
        assert caught.value.code == 503
        assert len(server.requests) == 2


@on_both_loops
async def test_a_server_that_never_answers_is_asked_twice_and_not_for_ever():
    async def handle(server, peer):
        server.requests.append(await peer.request())

    async with talking(handle) as (server, client):
        with pytest.raises(APIError, match="does not answer"):
            await client.raw("GET", "/")
        assert len(server.requests) == 2


@on_both_loops
@pytest.mark.parametrize(
    "farewell", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]
)
async def test_idle_connections_that_the_server_ends_are_not_used(farewell):
    async def handle(server, peer):
        server.requests.append(await peer.request())
        await peer.send(OK + farewell)

    async with talking(handle) as (server, client):
        for number in range(3):
            assert await client.raw("POST", f"/{number}") == b"{}"
            await until(lambda: all(not made.usable for made in client._pool._idle))
        assert len(server.peers) == 3


@on_both_loops
async def test_a_connection_that_the_server_wants_closed_is_closed():
    async def handle(server, peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        await peer.gone()
        server.requests.append(b"gone")

    async with talking(handle) as (server, client):
        assert await client.raw("POST", "/") == b"{}"
        assert await client.raw("POST", "/") == b"{}"
        await until(lambda: len(server.requests) == 2)


@on_both_loops
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n",
    ],
)
async def test_half_an_answer_is_none(answer):
    async def handle(server, peer):
        server.requests.append(await peer.request())
        await peer.send(answer)

    async with talking(handle) as (server, client):
        with pytest.raises(APIError, match="does not answer") as caught:
            await client.raw("GET", "/")
        assert (caught.value.code, caught.value.reason) == (503, "ServiceUnavailable")
        assert len(server.requests) == 1


@on_both_loops
async def test_an_answer_that_dribbles_is_put_together_and_one_without_length_ends_with_the_connection():
    async def handle(server, peer):
        await peer.request()
        for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\nX: y\r\n\r\n":
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)
        await peer.request()
        await peer.send(b"HTTP/1.0 200 OK\r\n\r\n[2")
        await peer.send(b"]")

    async with talking(handle) as (_, client):
        assert await client.raw("GET", "/") == b"[1]"
        assert await client.raw("GET", "/") == b"[2]"


@on_both_loops
async def test_bodies_of_megabytes_go_both_ways():
    async def handle(server, peer):
        while request := await peer.request():
            body = request.partition(b"\r\n\r\n")[2]
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            await peer.send(body)

    async with talking(handle) as (_, client):
        body = bytes(range(256)) * 20_000
        assert await client.raw("PUT", "/", body) == body


@on_both_loops
async def test_a_server_that_takes_too_long_is_given_up():
    async def handle(server, peer):
        await peer.request()
        await peer.gone()
        server.requests.append(b"gone")

    async with talking(handle, seconds=0.5) as (server, client):
        with pytest.raises(APIError, match="took too long"):
            await client.raw("GET", "/")
        await until(lambda: server.requests)


@on_both_loops
async def test_one_that_is_not_reached_in_time_is_given_up_with_the_same_words():
    # The kernel takes the connection, and nobody ever accepts it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with Client(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=1e-9) as client:
            with pytest.raises(APIError, match="does not answer: it took too long"):
                await client.raw("GET", "/")


@on_both_loops
async def test_the_answer_to_a_request_that_was_given_up_is_nobodys():
    async def handle(server, peer):
        while request := await peer.request():
            server.requests.append(request)
            if b"/slow" in request:
                await peer.gone()
            else:
                await peer.send(OK)

    async with talking(handle) as (server, client):
        await client.raw("GET", "/")
        task = asyncio.create_task(client.raw("GET", "/slow"))
        await until(lambda: len(server.requests) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.raw("POST", "/next") == b"{}"
        assert len(server.peers) == 2


@on_both_loops
async def test_closing_the_client_fails_what_is_under_way_and_what_waits():
    async def handle(server, peer):
        server.requests.append(await peer.request())
        await peer.gone()

    async with talking(handle) as (server, client):
        tasks = [asyncio.create_task(client.raw("GET", "/")) for _ in range(CONNECTIONS + 3)]
        await until(lambda: len(server.requests) == CONNECTIONS)
        await client.close()
        failures = await asyncio.gather(*tasks, return_exceptions=True)
        assert {str(failure) for failure in failures} == {f"{server.url} does not answer: the client was closed"}
        assert {made.fileno() for made in client._sockets} <= {-1}


@on_both_loops
async def test_a_stream_is_read_no_faster_than_it_is_wanted():
    piece, pieces = b"x" * 65536, 800
    sent = 0

    async def handle(server, peer):
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nX-Total: 7\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(pieces):
            await peer.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            sent += 1
        await peer.send(b"0\r\n\r\n")
        await peer.gone()

    async with talking(handle) as (_, client):
        async with client.stream("GET", "/") as answer:
            assert (answer.status, answer.headers["x-total"]) == (200, "7")
            await until(lambda: answer._connection._paused)
            assert sent < pieces
            assert b"".join([part async for part in answer]) == piece * pieces
        assert len(client._stream_pool._idle) == 1


@on_both_loops
async def test_a_stream_that_is_left_ends_its_connection_and_a_whole_one_keeps_it():
    async def handle(server, peer):
        while request := await peer.request():
            await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            if b"/endless" in request:
                await peer.gone()
                server.requests.append(b"gone")
                return
            await peer.send(b"0\r\n\r\n")

    async with talking(handle) as (server, client):
        for _ in range(2):
            async with client.stream("GET", "/") as answer:
                assert [part async for part in answer] == [b"a"]
        assert len(server.peers) == 1
        async with client.stream("GET", "/endless") as answer:
            assert await answer.read() == b"a"
        await until(lambda: server.requests)


@on_both_loops
@pytest.mark.parametrize(("limits", "why"), [({"silence": 0.5}, "took too long"), ({"seconds": 0.5}, "took too long")])
async def test_a_stream_that_falls_silent_or_takes_too_long_fails(limits, why):
    async def handle(server, peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await peer.gone()

    async with talking(handle) as (_, client):
        with pytest.raises(APIError, match=why):
            async with client.stream("GET", "/", **limits) as answer:
                assert [part async for part in answer] == []


@on_both_loops
async def test_a_stream_that_breaks_says_so_after_what_came():
    async def handle(server, peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")

    async with talking(handle) as (_, client), client.stream("GET", "/") as answer:
        assert await answer.read() == b"a"
        with pytest.raises(APIError, match="does not answer"):
            await answer.read()


@on_both_loops
async def test_a_name_with_several_addresses_is_reached_at_the_one_that_answers(monkeypatch):
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    class Names:
        def __getattr__(self, name):
            return getattr(loop, name)

    async with serving(answer_all) as server:
        port = int(server.url.rpartition(":")[2])

        async def found(host, port, **wanted):
            assert host == "two.example"
            return [*await real("127.0.0.2", port, **wanted), *await real("127.0.0.1", port, **wanted)]

        names = Names()
        names.getaddrinfo = found
        monkeypatch.setattr(sockets.asyncio, "get_running_loop", lambda: names)
        async with Client(f"http://two.example:{port}") as client:
            assert await client.raw("GET", "/") == b"{}"


@on_both_loops
async def test_a_name_that_does_not_exist_is_service_unavailable():
    async with Client("http://does-not-exist.invalid") as client:
        with pytest.raises(APIError, match="does not answer") as caught:
            await client.raw("GET", "/")
        assert caught.value.code == 503


@on_both_loops
async def test_a_token_that_no_header_can_hold_is_refused_before_anything_is_sent():
    async with talking(answer_all, token="a\r\nX: y") as (server, client):
        with pytest.raises(APIError, match="header") as caught:
            await client.raw("GET", "/")
        assert caught.value.code == 400
        assert server.peers == []
