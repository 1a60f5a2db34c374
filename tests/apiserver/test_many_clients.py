"""Clients that do not read, and very many that do nothing."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.apiserver.conftest import Api

IDLE = 10_000
AT_ONCE = 16
_PER_CONNECTION = 120 * 1024
"""Bytes of memory that an idle connection may take, with a wide margin: TLS alone takes about half of it."""


def memory(server: Any) -> int:
    """The server's resident memory, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


async def test_a_watcher_that_does_not_read_is_dropped_and_nobody_waits_for_it(own_server: Any) -> None:
    own_server.start()
    async with aiohttp.ClientSession() as session, asyncio.timeout(600):
        api = Api(own_server, session, "default")
        path = api.path("configmaps")
        version = (await api.config_map("c"))["metadata"]["resourceVersion"]
        host, port = own_server.url.removeprefix("https://").split(":")
        # A reader that stops reading: a small limit keeps asyncio from reading ahead.
        reader, writer = await asyncio.open_connection(host, int(port), ssl=own_server.tls("admin"), limit=1024)
        request = f"GET {path}?watch=1&resourceVersion={version} HTTP/1.1\r\nHost: {host}\r\n\r\n"
        writer.write(request.encode())
        assert b"200 OK" in await reader.readline()
        others = api.watch(f"{path}?watch=1&resourceVersion={version}")
        before = 0
        for number in range(600):
            body = {"metadata": {"name": "c"}, "data": {"k": "x" * 200_000, "n": str(number)}}
            assert (await api.call("PUT", f"{path}/c", body)).status == 200
            event = await anext(others)
            assert event["object"]["data"]["n"] == str(number)
            if number == 350:
                before = memory(own_server)
        # 50 MB later: the history was full already, and nothing was kept for the one that does not read.
        assert memory(own_server) - before < 20 * 2**20
        await others.aclose()
        metric = re.compile(r'^apiserver_longrunning_requests\{verb="WATCH".*resource="configmaps".*\} (\d+)$', re.M)
        running = 1
        while running:
            text = (await api.get("/metrics")).body.decode()
            running = sum(map(int, metric.findall(text)))
            # Each look costs the server a millisecond; the dropping takes seconds.
            await asyncio.sleep(0.2)
        writer.transport.abort()


async def test_ten_thousand_idle_connections_leave_the_server_serving(own_server: Any, record_property: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < IDLE + 1000:
        pytest.skip(f"only {hard} open files are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    own_server.start()
    context = own_server.tls()
    host, port = own_server.url.removeprefix("https://").split(":")
    connections: list[ssl.SSLSocket] = []

    def connect() -> None:
        # Of the system's own kind: ten thousand of asyncio's would cost this process more than they cost the server.
        connection = socket.create_connection((host, int(port)), timeout=180)
        connections.append(context.wrap_socket(connection, server_hostname=host))

    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(900):
            api = Api(own_server, session, "default")
            await api.config_map("a")
            before = memory(own_server)
            with ThreadPoolExecutor(AT_ONCE) as pool:
                loop = asyncio.get_running_loop()
                await asyncio.gather(*(loop.run_in_executor(pool, connect) for _ in range(IDLE)))
            each = (memory(own_server) - before) / IDLE
            record_property("bytes_per_idle_connection", each)
            print(f"an idle connection takes {each / 1024:.1f} KiB")
            assert each < _PER_CONNECTION
            await api.config_map("b")
            listing = (await api.get(api.path("configmaps"))).json
            assert {"a", "b"} <= {item["metadata"]["name"] for item in listing["items"]}
            assert (await api.get("/readyz")).status == 200
    finally:
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert own_server.stop() == 0
