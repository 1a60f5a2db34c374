from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from hawser.api.errors import APIError, not_found
from hawser.api.kinds import Kind
from hawser.node.cri.client import Runtime
from hawser.node.server import spdy
from hawser.node.server.access import Access
from hawser.node.server.server import KubeletServer, tls_context

from ..images import BUSYBOX
from ..private_containerd import Containerd
from .certificates import Certificates

Obj = dict[str, Any]
pytestmark = pytest.mark.containerd


@dataclass
class OnePod:
    """A pod as the agent knows it: its container is ``main``."""

    sandbox: str
    container: str
    log: Path
    running: bool = True

    def pods(self) -> Sequence[Obj]:
        return [{"metadata": {"name": "web", "namespace": "default"}}]

    def container_id(self, namespace: str, pod: str, container: str) -> str:
        if (namespace, pod, container) != ("default", "web", "main"):
            raise not_found("", "pods", pod)
        return self.container

    def sandbox_id(self, namespace: str, pod: str) -> str:
        return self.sandbox

    def log_path(self, namespace: str, pod: str, container: str, previous: bool) -> Path:
        if previous:
            raise APIError(400, "BadRequest", f'previous terminated container "{container}" in pod "{pod}" not found')
        return self.log

    async def checkpoint(self, namespace: str, pod: str, container: str) -> bytes:
        raise APIError(500, "InternalError", "no checkpoints here")

    def log_ended(self, namespace: str, pod: str, container: str, path: Path) -> bool:
        return not self.running


SCRIPT = "echo started; while read -r line; do echo got $line; done; echo input ended; sleep 600"


@pytest.fixture(scope="module")
def pod(containerd: Containerd) -> Iterator[OnePod]:
    async def make() -> OnePod:
        async with Runtime(containerd.endpoint) as runtime:
            options = {"network": 2, "pid": 1, "ipc": 0}
            config = {
                "metadata": {"name": "web", "uid": "u1", "namespace": "default", "attempt": 0},
                "log_directory": str(containerd.folder / "podlogs"),
                "linux": {"security_context": {"namespace_options": options}},
            }
            sandbox = await runtime.run_pod_sandbox(config)
            container = {
                "metadata": {"name": "main", "attempt": 0},
                "image": {"image": BUSYBOX},
                "command": ["/bin/sh", "-c", SCRIPT],
                "log_path": "main.log",
                "stdin": True,
                "linux": {},
            }
            made = await runtime.create_container(sandbox, container, config)
            await runtime.start_container(made)
            return OnePod(sandbox, made, containerd.folder / "podlogs" / "main.log")

    async def remove(one: OnePod) -> None:
        async with Runtime(containerd.endpoint) as runtime:
            await runtime.stop_pod_sandbox(one.sandbox)
            await runtime.remove_pod_sandbox(one.sandbox)

    one = asyncio.run(make())
    yield one
    asyncio.run(remove(one))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("pki"))


@dataclass
class Client:
    session: aiohttp.ClientSession
    port: int
    tls: ssl.SSLContext

    def url(self, path: str) -> str:
        return f"https://localhost:{self.port}{path}"


@pytest.fixture
async def client(containerd: Containerd, pod: OnePod, certificates: Certificates) -> AsyncIterator[Client]:
    tls = tls_context(*certificates.pair("server"), certificates.ca)
    async with Runtime(containerd.endpoint) as runtime:
        server = KubeletServer(pod, runtime, tls, Access(_review, "node-1"), {"/metrics": _metrics})
        port = await server.start("127.0.0.1", 0)
        mine = certificates.client("kube-apiserver-kubelet-client")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=mine)) as session:
            yield Client(session, port, mine)
        await server.stop()


async def _review(kind: Kind, review: Obj) -> Obj:
    """As an API server that knows one token, whose owner may see nothing but metrics."""
    spec = review["spec"]
    if kind.kind == "TokenReview":
        known = spec["token"] == "scraper's"
        return {"status": {"authenticated": known, "user": {"username": "scraper"}} if known else {}}
    part = spec["resourceAttributes"]["subresource"]
    return {"status": {"allowed": spec["user"] == "scraper" and part == "metrics"}}


async def _metrics(query: object) -> tuple[str, bytes]:
    return "text/plain; version=0.0.4", b"up 1\n"


class Channels:
    """What a WebSocket client got, by channel, until the server closed."""

    def __init__(self) -> None:
        self.data: dict[int, bytes] = {}

    @property
    def status(self) -> Obj:
        answer: Obj = json.loads(self.data[3])
        return answer

    async def read(self, socket: aiohttp.ClientWebSocketResponse, enough: Callable[[], bool] = lambda: False) -> None:
        async with asyncio.timeout(120):
            while not enough():
                message = await socket.receive()
                if message.type is not WSMsgType.BINARY:
                    return
                self.data[message.data[0]] = self.data.get(message.data[0], b"") + message.data[1:]


def exec_path(*command: str, flags: str = "output=1&error=1") -> str:
    return "/exec/default/web/main?" + "".join(f"command={part}&" for part in command) + flags


async def run(client: Client, path: str, protocol: str, *sent: bytes) -> Channels:
    channels = Channels()
    async with client.session.ws_connect(client.url(path), protocols=(protocol,)) as socket:
        assert socket.protocol == protocol
        for message in sent:
            await socket.send_bytes(message)
        await channels.read(socket)
    return channels


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io"])
async def test_a_command_answers_on_its_streams_and_with_its_status(client: Client, protocol: str) -> None:
    channels = await run(client, exec_path("sh", "-c", "echo out; echo err >%262; exit 7"), protocol)
    assert channels.data[1] == b"out\n" and channels.data[2] == b"err\n"
    assert channels.status["reason"] == "NonZeroExitCode"
    assert channels.status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
    assert (await run(client, exec_path("true"), protocol)).status["status"] == "Success"


@pytest.mark.parametrize(
    ("command", "why"),
    [("nosuch", "executable file not found in $PATH"), ("/no/such", "stat /no/such: no such file or directory")],
)
async def test_a_command_that_is_not_there_is_told_in_the_same_words_whatever_runs_it(
    client: Client, command: str, why: str
) -> None:
    status = (await run(client, exec_path(command), "v5.channel.k8s.io")).status
    assert status["message"].endswith(f'unable to start container process: exec: "{command}": {why}: unknown')
    assert status["reason"] == "InternalError"


async def test_the_end_of_standard_input_reaches_the_command(client: Client) -> None:
    data = bytes(range(256)) * 4096
    sent = [b"\0" + data[at : at + 8192] for at in range(0, len(data), 8192)]
    path = exec_path("cat", flags="input=1&output=1&error=1")
    channels = await run(client, path, "v5.channel.k8s.io", *sent, b"\xff\0")
    assert channels.data[1] == data
    assert channels.status["status"] == "Success"


async def test_a_terminal_has_the_size_that_the_client_sends(client: Client) -> None:
    # It may be told before the command's terminal is there, or a moment after.
    script = "until%20busybox%20stty%20size%20|%20grep%20'33%2077';%20do%20sleep%200.1;%20done"
    path = exec_path("sh", "-c", script, flags="input=1&output=1&tty=1")
    size = b"\4" + json.dumps({"Width": 77, "Height": 33}).encode()
    channels = Channels()
    async with client.session.ws_connect(client.url(path), protocols=("v5.channel.k8s.io",)) as socket:
        await socket.send_bytes(size)
        await channels.read(socket)
    assert b"33 77" in channels.data[1]


async def test_a_client_that_leaves_ends_its_streams(client: Client) -> None:
    async with client.session.ws_connect(
        client.url(exec_path("cat", flags="input=1&output=1")), protocols=("v5.channel.k8s.io",)
    ) as socket:
        await socket.send_bytes(b"\0hello")
        assert (await socket.receive()).data == b"\1hello"


async def test_attaching_shows_the_containers_own_streams(client: Client) -> None:
    channels = Channels()
    path = "/attach/default/web/main?input=1&output=1"
    async with client.session.ws_connect(client.url(path), protocols=("v5.channel.k8s.io",)) as socket:
        await socket.send_bytes(b"\0ping\n")
        await channels.read(socket, lambda: b"got ping" in channels.data.get(1, b""))


async def upgraded(client: Client, path: str, protocol: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as an SPDY client does."""
    reader, writer = await asyncio.open_connection("localhost", client.port, ssl=client.tls)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        f"X-Stream-Protocol-Version: {protocol}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_spdy_clients_speak_to_the_runtime_itself(client: Client) -> None:
    path = exec_path("cat", flags="input=1&output=1")
    reader, writer = await upgraded(client, path, "v4.channel.k8s.io")
    session = spdy.Session(reader, writer)
    task = asyncio.create_task(session.run())
    error, stdin, stdout = [await session.open({"streamtype": name}) for name in ("error", "stdin", "stdout")]
    await asyncio.wait_for(stdin.accepted, 120)
    await stdin.write(b"x" * 200_000)
    await stdin.finish()
    got = b""
    while piece := await stdout.read():
        got += piece
    assert got == b"x" * 200_000
    assert json.loads(await error.read())["status"] == "Success"
    session.close()
    await task


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    """A port that answers everything with an echo."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.append(writer)
        while data := await reader.read(65536):
            writer.write(b"echo " + data)

    open_writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in open_writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_ports_are_forwarded_for_spdy_clients(client: Client, echo_port: int) -> None:
    await forwarded(*await upgraded(client, "/portForward/default/web", "portforward.k8s.io"), echo_port)


async def forwarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    session = spdy.Session(reader, writer)
    task = asyncio.create_task(session.run())
    for number in ("0", "1"):
        headers = {"port": str(port), "requestID": number}
        await session.open({"streamtype": "error", **headers})
        data = await session.open({"streamtype": "data", **headers})
        await data.write(b"hi")
        assert await asyncio.wait_for(data.read(), 120) == b"echo hi"
        await data.finish()
    session.close()
    await task


async def test_ports_are_forwarded_inside_websocket_messages(client: Client, echo_port: int) -> None:
    protocol = "SPDY/3.1+portforward.k8s.io"
    async with client.session.ws_connect(client.url("/portForward/default/web"), protocols=(protocol,)) as socket:
        assert socket.protocol == protocol
        headers = spdy.HeaderCodec()
        for number, kind in ((1, "error"), (3, "data")):
            block = headers.encode({"streamtype": kind, "port": str(echo_port), "requestID": "0"})
            body = struct.pack(">IIH", number, 0, 0) + block
            await socket.send_bytes(spdy.Frame(spdy.Kind.SYN_STREAM, 0, body).encode())
        await socket.send_bytes(spdy.Frame(None, 0, b"hi", 3).encode())
        got = b""
        async with asyncio.timeout(120):
            while b"echo hi" not in got:
                got += (await socket.receive()).data


async def test_ports_are_forwarded_on_websocket_channels(client: Client, echo_port: int) -> None:
    path = f"/portForward/default/web?port={echo_port}"
    async with client.session.ws_connect(client.url(path), protocols=("v4.channel.k8s.io",)) as socket:
        channels = Channels()
        await socket.send_bytes(b"\0hi")
        await channels.read(socket, lambda: b"echo hi" in channels.data.get(0, b""))
        assert channels.data[0][:2] == struct.pack("<H", echo_port)


async def test_logs_are_read_and_followed(client: Client, pod: OnePod) -> None:
    async with client.session.get(client.url("/containerLogs/default/web/main?tailLines=100")) as answer:
        assert (await answer.text()).startswith("started\n")
    async with client.session.get(client.url("/containerLogs/default/web/main?follow=true")) as answer:
        assert await answer.content.readline() == b"started\n"
        pod.running = False
        await asyncio.wait_for(answer.content.read(), 120)
    pod.running = True


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/containerLogs/default/web/main?previous=true", 400, "previous terminated container"),
        ("/exec/default/web/main?command=true&output=1", 400, "Upgrade request required"),
        ("/exec/default/web/main?output=1", 400, "at least one command"),
        ("/exec/default/web/main?command=true", 400, "at least 1 of stdin, stdout, stderr"),
        ("/nonsense", 404, "not found"),
        ("/pods", 200, '"PodList"'),
        ("/metrics", 200, "up 1"),
        ("/healthz", 200, "ok"),
    ],
)
async def test_requests_answer(client: Client, path: str, status: int, words: str) -> None:
    async with client.session.get(client.url(path)) as answer:
        assert answer.status == status
        assert words in await answer.text()


async def test_a_container_that_is_unknown_is_not_found_before_the_upgrade(client: Client) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await client.session.ws_connect(
            client.url("/exec/default/other/main?command=true&output=1"), protocols=("v5.channel.k8s.io",)
        )
    assert caught.value.status == 404


@pytest.mark.parametrize(("name", "status"), [(None, 401), ("somebody", 403)])
async def test_others_are_refused(client: Client, certificates: Certificates, name: str | None, status: int) -> None:
    tls = certificates.client(name)
    async with client.session.get(client.url("/pods"), ssl=tls) as answer:
        assert answer.status == status


@pytest.mark.parametrize(
    ("token", "path", "status"),
    [("scraper's", "/metrics", 200), ("scraper's", "/pods", 403), ("stolen", "/metrics", 401)],
)
async def test_a_token_is_reviewed(
    client: Client, certificates: Certificates, token: str, path: str, status: int
) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with client.session.get(client.url(path), ssl=certificates.client(None), headers=headers) as answer:
        assert answer.status == status
        if status == 403:
            assert "user=scraper, verb=get, resource=nodes, subresource(s)=[pods proxy]" in await answer.text()
