"""Probes and hooks over HTTP against a real server: redirects, schemes, headers, and what counts as success."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from hawser.cli.engine import pki
from hawser.cli.engine.settings import Settings
from hawser.node.cri.client import Runtime
from hawser.node.pod import handlers
from hawser.node.pod.handlers import Outcome, Subject

Obj = dict[str, Any]
CONTAINER = {"name": "c", "ports": [{"name": "web", "containerPort": 1}]}
NO_RUNTIME = cast(Runtime, None)
SUBJECT = Subject(CONTAINER, "id", "127.0.0.1", NO_RUNTIME, 5)


async def answer(request: web.Request) -> web.Response:
    path = request.path
    if path.startswith("/to"):
        return web.Response(status=302, headers={"Location": request.query["place"]})
    if path == "/circle":
        return web.Response(status=307, headers={"Location": "/circle"})
    if path == "/headers":
        wanted = request.headers.get("X-Mine") == "yes" and request.headers.get("User-Agent", "").startswith("kube-")
        return web.Response(status=200 if wanted and request.host == request.query["host"] else 500)
    return web.Response(status=int(path.strip("/") or 200), text="said")


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[dict[str, int]]:
    """A plain and a TLS server on loopback: their ports by scheme."""
    settings = Settings(tmp_path, "t", "127.0.0.1:1", "127.0.0.1:2", "n", "10.0.0.0/24", "10.1.0.0/24")
    pki.prepare(settings)
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(settings.pki_dir / "kubelet.crt", settings.pki_dir / "kubelet.key")
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    found = {}
    for scheme, context in (("HTTP", None), ("HTTPS", secure)):
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        server = cast(asyncio.Server, site._server)
        found[scheme] = server.sockets[0].getsockname()[1]
    yield found
    await runner.cleanup()


def get(port: int, path: str, **more: Any) -> Obj:
    return {"httpGet": {"host": "127.0.0.1", "port": port, "path": path, **more}}


async def probe(handler: Obj) -> Outcome:
    return await handlers.run(handler, SUBJECT)


async def hook(handler: Obj) -> Outcome:
    return await handlers.hook(handler, SUBJECT)


@pytest.mark.parametrize(
    ("path", "ok", "warning", "words"),
    [
        ("/200", True, False, ""),
        ("/204", True, False, ""),
        ("/404", False, False, "HTTP probe failed with statuscode: 404"),
        ("/to?place=/200", True, False, ""),
        ("/to?place=/500", False, False, "HTTP probe failed with statuscode: 500"),
        ("/to?place=http://0.0.0.0/", True, True, "Probe terminated redirects, Response body: "),
        ("/to?place=/to%3Fplace=/200", True, False, ""),
        ("/304", True, True, "Probe terminated redirects"),
    ],
)
@pytest.mark.parametrize("scheme", ["HTTP", "HTTPS"])
async def test_answers_of_http_probes(
    ports: dict[str, int], scheme: str, path: str, ok: bool, warning: bool, words: str
) -> None:
    outcome = await probe(get(ports[scheme], path, scheme=scheme))
    assert (outcome.ok, outcome.warning) == (ok, warning)
    assert outcome.message.startswith(words)


async def test_a_probe_does_not_go_round_in_circles(ports: dict[str, int]) -> None:
    outcome = await probe(get(ports["HTTP"], "/circle"))
    assert not outcome.ok
    assert outcome.message.endswith('/circle": stopped after 10 redirects')


async def test_headers_of_probes_and_hooks(ports: dict[str, int]) -> None:
    for run in (probe, hook):
        mine = [{"name": "X-Mine", "value": "yes"}, {"name": "host", "value": "elsewhere"}]
        outcome = await run(get(ports["HTTP"], "/headers?host=elsewhere", httpHeaders=mine))
        assert outcome.ok, outcome
    unset = await probe(get(ports["HTTP"], f"/headers?host=127.0.0.1:{ports['HTTP']}"))
    assert unset.message == "HTTP probe failed with statuscode: 500"


async def test_a_hook_only_has_to_reach_its_server(ports: dict[str, int]) -> None:
    assert (await hook(get(ports["HTTP"], "/500"))).ok
    assert (await hook(get(ports["HTTPS"], "/500", scheme="HTTPS"))).ok
    # A server that turns out to speak plain HTTP is asked so.
    plain = await hook(get(ports["HTTP"], "/200", scheme="HTTPS"))
    assert plain.ok
    assert plain.warning
    assert plain.message.endswith("got HTTP response, retry with HTTP succeeded")
    refused = await hook(get(1, "/"))
    assert (refused.ok, refused.message) == (
        False,
        'Get "http://127.0.0.1:1/": dial tcp 127.0.0.1:1: connect: connection refused',
    )


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        ({"tcpSocket": {"port": 80}}, "invalid handler: tcpSocket"),
        ({"httpGet": {"port": "nowhere"}}, 'couldn\'t find port: "nowhere" in container c'),
    ],
)
async def test_hooks_that_can_not_be_run(handler: Obj, words: str) -> None:
    assert (await hook(handler)).message == words


async def test_a_hook_may_sleep_for_no_time() -> None:
    assert (await hook({"sleep": {"seconds": 0}})).ok
