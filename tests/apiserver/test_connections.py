"""What goes over one connection: whole requests, pieces, several at once, and what is no plain HTTP/1.1."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlparse

import pytest

HEADERS = "Host: x\r\nAuthorization: Bearer admin-token\r\n"


class Wire:
    """A connection of which the bytes are ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            # So that the pieces arrive one by one.
            await asyncio.sleep(0.005 if len(pieces) > 1 else 0)

    async def answer(self) -> tuple[int, Any]:
        """The next answer's status and decoded body."""
        async with asyncio.timeout(120):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status = int(head.split(" ", 2)[1])
            if status == 100:
                return status, None
            lines = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
            length = next(int(value) for name, _, value in lines if name == "Content-Length")
            body = await self.reader.readexactly(length)
        return status, json.loads(body) if body[:1] == b"{" else body

    async def close(self) -> None:
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


@pytest.fixture
async def wire(api: Any, server: Any) -> AsyncIterator[Wire]:
    """A connection to the server."""
    made = await connected(server)
    yield made
    await made.close()


async def connected(server: Any) -> Wire:
    where = urlparse(server.url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return Wire(*await asyncio.open_connection(where.hostname, where.port, ssl=context))


def get(path: str, headers: str = HEADERS) -> bytes:
    return f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode()


def post(path: str, obj: Any, headers: str = HEADERS, length: str = "Content-Length") -> bytes:
    body = json.dumps(obj).encode()
    head = f"POST {path} HTTP/1.1\r\n{headers}Content-Type: application/json\r\n{length}: {len(body)}\r\n\r\n"
    return head.encode() + body


def named(name: str, size: int = 10) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "x" * size}}


def bytewise(data: bytes) -> list[bytes]:
    return [data[n : n + 1] for n in range(len(data))]


def head_and_body(data: bytes) -> list[bytes]:
    head, mark, body = data.partition(b"\r\n\r\n")
    return [head + mark, body]


def thirds(data: bytes) -> list[bytes]:
    step = len(data) // 3 + 1
    return [data[n : n + step] for n in range(0, len(data), step)]


@pytest.mark.parametrize("cut", [bytewise, head_and_body, thirds, lambda data: [data]])
async def test_requests_may_come_in_any_pieces(api: Any, wire: Wire, cut: Callable[[bytes], list[bytes]]) -> None:
    path = api.path("configmaps")
    for number in range(3):
        await wire.send(*cut(post(path, named(f"a{number}"))))
        assert (await wire.answer())[0] == 201
        await wire.send(*cut(get(f"{path}/a{number}")))
        status, found = await wire.answer()
        assert status == 200 and found["metadata"]["name"] == f"a{number}"


async def test_requests_that_do_not_wait_for_each_other_are_answered_in_order(api: Any, wire: Wire) -> None:
    path = api.path("configmaps")
    await wire.send(get(path))
    await wire.answer()
    await wire.send(post(path, named("one")) + get(f"{path}/one") + post(path, named("two")) + get(f"{path}/two"))
    assert [(await wire.answer())[0] for _ in range(4)] == [201, 200, 201, 200]
    for number in range(5):
        await wire.send(post(path, named(f"n{number}")))
        await wire.send(get(f"{path}/n{number}"))
    assert [(await wire.answer())[0] for _ in range(10)] == [201, 200] * 5


async def test_a_request_that_comes_while_another_is_answered_waits_for_it(api: Any, wire: Wire) -> None:
    path = api.path("configmaps")
    for request, code in ((post(path, named("first")), 201), (get(f"{path}/first"), 200)):
        await wire.send(request)
        assert (await wire.answer())[0] == code
    writing = post(path, named("second", 100_000))
    await wire.send(writing)
    await wire.send(get(f"{path}/second"))
    await wire.send(get(f"{path}/first"))
    answers = [await wire.answer() for _ in range(3)]
    assert [status for status, _ in answers] == [201, 200, 200]
    assert [found["metadata"]["name"] for _, found in answers] == ["second", "second", "first"]


@pytest.mark.parametrize("length", ["content-length", "CONTENT-LENGTH", "Content-Length"])
async def test_the_spelling_of_a_header_does_not_matter(api: Any, wire: Wire, length: str) -> None:
    path = api.path("configmaps")
    for number in range(3):
        await wire.send(*head_and_body(post(path, named(f"s{number}"), length=length)))
        assert (await wire.answer())[0] == 201
    await wire.send(get(path))
    assert len((await wire.answer())[1]["items"]) == 3


async def test_bodies_in_chunks_and_with_a_length_may_alternate(api: Any, wire: Wire) -> None:
    path = api.path("configmaps")
    for number in range(2):
        await wire.send(post(path, named(f"plain{number}")))
        assert (await wire.answer())[0] == 201
        body = json.dumps(named(f"chunked{number}")).encode()
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        head = f"POST {path} HTTP/1.1\r\n{HEADERS}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        await wire.send(head.encode(), chunks)
        assert (await wire.answer())[0] == 201


async def test_a_client_that_expects_a_word_before_its_body_gets_it(api: Any, wire: Wire) -> None:
    path = api.path("configmaps")
    for number in range(2):
        request = post(path, named(f"e{number}"), HEADERS + "Expect: 100-continue\r\n")
        head, body = head_and_body(request)
        await wire.send(head)
        assert (await wire.answer())[0] == 100
        await wire.send(body)
        assert (await wire.answer())[0] == 201


async def test_each_request_is_judged_by_its_own_credentials(api: Any, wire: Wire) -> None:
    path = api.path("configmaps")
    nobody = "Host: x\r\n"
    wrong = "Host: x\r\nAuthorization: Bearer wrong\r\n"
    for _ in range(3):
        for headers, code in ((HEADERS, 200), (nobody, 403), (wrong, 401)):
            await wire.send(get(path, headers))
            assert (await wire.answer())[0] == code
    acting = HEADERS + "Impersonate-User: someone\r\n"
    for _ in range(2):
        await wire.send(get(path, acting))
        assert (await wire.answer())[0] == 403
        await wire.send(get(path))
        assert (await wire.answer())[0] == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"G\x01T /api/v1/namespaces HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_and_ends_the_connection(api: Any, wire: Wire, request_: bytes) -> None:
    await wire.send(get(api.path("configmaps")))
    assert (await wire.answer())[0] == 200
    await wire.send(request_)
    async with asyncio.timeout(120):
        rest = await wire.reader.read()
    assert rest.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), rest[:100]


async def test_a_body_that_is_too_large_is_refused(api: Any, wire: Wire) -> None:
    path = api.path("configmaps")
    await wire.send(post(path, named("small")))
    assert (await wire.answer())[0] == 201
    wire.writer.write(post(path, named("large", 3 << 20)))
    status, found = await wire.answer()
    assert (status, found["reason"]) == (413, "RequestEntityTooLarge")


async def test_a_connection_serves_watches_and_plain_requests_in_turn(api: Any, wire: Wire) -> None:
    path = api.path("configmaps")
    for number in range(2):
        await wire.send(post(path, named(f"w{number}")))
        assert (await wire.answer())[0] == 201
        await wire.send(get(f"{path}?watch=1&timeoutSeconds=1"))
        async with asyncio.timeout(120):
            streamed = await wire.reader.readuntil(b"0\r\n\r\n")
        assert streamed.count(b'"type":"ADDED"') == number + 1
        await wire.send(get(f"{path}/w{number}"))
        assert (await wire.answer())[0] == 200


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
async def test_other_methods_are_answered_as_ever(api: Any, wire: Wire, method: str) -> None:
    path = api.path("configmaps")
    await wire.send(get(path))
    await wire.answer()
    await wire.send(f"{method} {path} HTTP/1.1\r\n{HEADERS}\r\n".encode())
    async with asyncio.timeout(120):
        head = await wire.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200" if method == "HEAD" else b"HTTP/1.1 405")


async def test_a_client_that_leaves_before_its_answer_harms_nobody(api: Any, server: Any) -> None:
    path = api.path("configmaps")
    for number in range(5):
        wire = await connected(server)
        await wire.send(get(path))
        await wire.answer()
        wire.writer.write(post(path, named(f"gone{number}", 10_000)))
        wire.writer.transport.abort()
        await wire.close()
    assert (await api.get(path)).status == 200


async def test_rights_and_accounts_that_are_taken_away_end_at_once(api: Any, wire: Wire) -> None:
    accounts, roles = api.path("serviceaccounts"), "/apis/rbac.authorization.k8s.io/v1/namespaces/"
    made = await api.call("POST", accounts, {"metadata": {"name": "worker"}})
    assert made.status == 201
    namespace = made.json["metadata"]["namespace"]
    binding = {
        "metadata": {"name": "worker"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "worker", "namespace": namespace}],
    }
    bindings = f"{roles}{namespace}/rolebindings"
    assert (await api.call("POST", bindings, binding)).status == 201
    asked = await api.call("POST", f"{accounts}/worker/token", {"spec": {"expirationSeconds": 600}})
    token = asked.json["status"]["token"]
    headers = f"Host: x\r\nAuthorization: Bearer {token}\r\n"

    async def status() -> int:
        await wire.send(get(api.path("configmaps"), headers))
        return (await wire.answer())[0]

    assert [await status() for _ in range(3)] == [200] * 3
    await api.call("DELETE", f"{bindings}/worker")
    assert [await status() for _ in range(2)] == [403] * 2
    assert (await api.call("POST", bindings, binding)).status == 201
    assert [await status() for _ in range(2)] == [200] * 2
    await api.call("DELETE", f"{accounts}/worker")
    assert await status() == 401
    assert (await api.call("POST", accounts, {"metadata": {"name": "worker"}})).status == 201
    assert await status() == 401
