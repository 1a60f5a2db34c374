"""Logs and upgraded streams go through to the node agent, here a small TLS server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

CONTAINERS = [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]


class Agent:
    """Answers like a kubelet: a log, an echo after an upgrade, or a refusal. seen: the request heads."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.left = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.seen.append(head)
            path = head.split(" ")[1]
            if path.startswith("/containerLogs"):
                await self._log(path, reader, writer)
            elif "/refuse" in path:
                writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 20\r\n\r\ncontainer not runnin")
            else:
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nhi")
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()
            self.left.set()

    async def _log(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
        if "follow" in path:
            await reader.read()
        else:
            writer.write(b"0\r\n\r\n")


@pytest.fixture
async def agent(api: Any) -> AsyncIterator[Agent]:
    """An agent with a node object and pods bound to it: ``one`` (a container) and ``two`` (two of them)."""
    found = Agent()
    folder = api.server.folder
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.crt"))
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(folder / "server.crt", folder / "server.key")
    listener = await asyncio.start_server(found.serve, "127.0.0.1", 0, ssl=tls)
    found.port = listener.sockets[0].getsockname()[1]
    status = {
        # Of a node with two families the first address is the primary one; nobody listens on the other.
        "addresses": [{"type": "InternalIP", "address": address} for address in ("127.0.0.1", "::1")],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": found.port}},
    }
    await api.create("/api/v1/nodes", {"metadata": {"name": api.namespace}, "status": status})
    for name, count in (("one", 1), ("two", 2), ("refuse", 1)):
        await api.create(api.path("pods"), {"metadata": {"name": name}, "spec": {"containers": CONTAINERS[:count]}})
        binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": api.namespace}}
        await api.create(api.path("pods", f"{name}/binding"), binding)
    yield found
    listener.close()
    await listener.wait_closed()


async def test_a_log_comes_from_the_agent(api: Any, agent: Agent) -> None:
    answer = await api.get(api.path("pods", "one/log") + "?tailLines=5&timestamps=true&pretty=true")
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, b"one\n", "text/plain")
    assert agent.seen[0].startswith(f"GET /containerLogs/{api.namespace}/one/a?tailLines=5&timestamps=true HTTP/1.1")
    assert "Authorization" not in agent.seen[0]


async def test_a_follower_that_leaves_is_not_kept_at_the_agent(api: Any, agent: Agent) -> None:
    url = api.server.url + api.path("pods", "one/log") + "?follow=true"
    async with api.session.get(url, ssl=api.tls, headers={"Authorization": "Bearer admin-token"}) as answer:
        assert await answer.content.readline() == b"one\n"
        answer.connection.transport.abort()
    async with asyncio.timeout(120):
        await agent.left.wait()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("two/log", "a container name must be specified for pod two, choose one of: [a b]"),
        ("one/log?container=z", "container z is not valid for pod one"),
        ("one/exec?command=ls&stdout=true", "Upgrade request required"),
    ],
)
async def test_requests_that_make_no_sense(api: Any, agent: Agent, path: str, message: str) -> None:
    answer = await api.get(api.path("pods", path))
    assert (answer.status, answer.message) == (400, message)


async def test_a_pod_without_a_node(api: Any) -> None:
    await api.create(api.path("pods"), {"metadata": {"name": "p"}, "spec": {"containers": CONTAINERS[:1]}})
    log = await api.get(api.path("pods", "p/log"))
    assert (log.status, log.body) == (200, b"")
    refused = await api.get(api.path("pods", "p/exec") + "?command=ls&stdout=1")
    assert (refused.status, refused.message) == (400, "pod p does not have a host assigned")


async def upgrade(api: Any, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    host, port = api.server.url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=api.tls)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin-token\r\nConnection: Upgrade\r\n"
        "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nX-Remote-User: root\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    writer.write(head.encode())
    return reader, writer, (await reader.readuntil(b"\r\n\r\n")).decode()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "one/exec?command=ls&command=-l&stdout=true&stderr=true",
            "/exec/{}/one/a?command=ls&command=-l&output=1&error=1",
        ),
        ("two/exec?container=b&command=sh&stdin=true&tty=true", "/exec/{}/two/b?command=sh&input=1&tty=1"),
        ("one/attach?stdout=true", "/attach/{}/one/a?output=1"),
        ("one/portforward", "/portForward/{}/one"),
        ("one/portforward?ports=80", "/portForward/{}/one?port=80"),
    ],
)
async def test_an_upgraded_stream_is_raw_bytes_both_ways(api: Any, agent: Agent, path: str, expected: str) -> None:
    reader, writer, head = await upgrade(api, api.path("pods", path))
    assert head.startswith("HTTP/1.1 101")
    assert await reader.readexactly(2) == b"hi"
    sent = bytes(range(256)) * 8192
    writer.write(sent)
    assert await reader.readexactly(len(sent)) == sent
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(120):
        await agent.left.wait()
    assert agent.seen[0].startswith(f"POST {expected.format(api.namespace)} HTTP/1.1")
    assert "X-Stream-Protocol-Version: v4.channel.k8s.io" in agent.seen[0]
    assert "X-Remote-User" not in agent.seen[0]
    assert "Bearer" not in agent.seen[0]


async def test_a_refused_upgrade_is_a_status_and_never_a_pipe(api: Any, agent: Agent) -> None:
    reader, writer, head = await upgrade(api, api.path("pods", "refuse/exec?command=ls&stdout=1"))
    assert head.startswith("HTTP/1.1 400")
    length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
    assert b"container not runnin" in await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()
