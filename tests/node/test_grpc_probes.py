"""gRPC probes against the gRPC project's server, in kubelet's words."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import grpc
import pytest

from hawser.node.cri import schema
from hawser.node.cri.client import Runtime
from hawser.node.pod import handlers
from hawser.node.pod.handlers import Outcome, Subject

CONTAINER = {"name": "c"}
CHECK = schema.health().method("Health", "Check")
SAYS = {
    "": Outcome(True, "service healthy"),
    "ill": Outcome(False, 'service unhealthy (responded with "NOT_SERVING")'),
    "odd": Outcome(False, 'service unhealthy (responded with "UNKNOWN")'),
    "lost": Outcome(False, "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"),
    "slow": Outcome(False, "timeout: health rpc did not complete within 1s"),
}


@pytest.fixture
async def port() -> AsyncIterator[int]:
    over = threading.Event()

    def check(request: Any, context: grpc.ServicerContext) -> Any:
        assert dict(context.invocation_metadata())["user-agent"] == "kube-probe/1.36"
        if request.service == "lost":
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        if request.service == "slow":
            over.wait(30)
        return {"status": {"": 1, "ill": 2}.get(request.service, 0)}

    handler = grpc.unary_unary_rpc_method_handler(
        check, request_deserializer=CHECK.request.decode, response_serializer=CHECK.response.encode
    )
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    found = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield found
    over.set()
    await asyncio.to_thread(server.stop(0).wait)


async def probe(port: int, service: str = "", seconds: float = 10) -> Outcome:
    handler = {"grpc": {"port": port, "service": service}}
    return await handlers.run(handler, Subject(CONTAINER, "", "127.0.0.1", cast(Runtime, None), seconds))


@pytest.mark.parametrize("service", SAYS)
async def test_what_the_server_says(port: int, service: str) -> None:
    assert await probe(port, service, 1 if service == "slow" else 10) == SAYS[service]


async def test_a_server_without_health_checks() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    outcome = await probe(port)
    await asyncio.to_thread(server.stop(0).wait)
    text = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): Method not found!"
    assert outcome == Outcome(False, text)


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = f'timeout: failed to connect service "127.0.0.1:{port}" within 10s: context deadline exceeded'
    assert await probe(port) == Outcome(False, text)
