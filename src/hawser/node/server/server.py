"""The node agent's HTTPS API: what the API server asks of a node. Paths are the kubelet's.

Source: Kubernetes documentation, "Kubelet authentication/authorization"; kubelet's API as kube-apiserver uses it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

import orjson
from aiohttp import web

from hawser.api.errors import APIError, bad_request, not_found
from hawser.api.types import Obj
from hawser.node.cri.errors import CRIError
from hawser.node.metrics.counters import Counters
from hawser.node.server import logs, streams, writable
from hawser.node.server.access import Access
from hawser.node.server.streams import HandedOver, Wanted

log = logging.getLogger(__name__)

_PLAIN = "text/plain"
_LONG = frozenset({"exec", "attach", "portForward", "containerLogs", "logs", "debug", "rich"})
_PATHS = _LONG | {"checkpoint", "configz", "healthz", "metrics", "pods", "runningpods", "stats"}
Response = web.StreamResponse | HandedOver
Extra = Callable[[Mapping[str, str]], Awaitable[tuple[str, bytes]]]
"""A further page: from the query to content type and body."""


class Pods(Protocol):
    """What the server asks the agent about its pods. All raise APIError (404, or 400 with the reason) when unknown."""

    def pods(self) -> Sequence[Obj]:
        """Every pod of the node."""

    def container_id(self, namespace: str, pod: str, container: str) -> str:
        """The running container's id."""

    def sandbox_id(self, namespace: str, pod: str) -> str:
        """The id of the pod's sandbox."""

    def log_path(self, namespace: str, pod: str, container: str, previous: bool) -> Path:
        """The log of the newest container, or of the one before."""

    def log_ended(self, namespace: str, pod: str, container: str, path: Path) -> bool:
        """Whether the container that writes this log has ended."""

    async def checkpoint(self, namespace: str, pod: str, container: str) -> bytes:
        """Freezes a running container into an archive; JSON that says where it is."""


class Runtime(Protocol):
    """The runtime's calls that answer with URLs of its streaming server; ``hawser.node.cri.client.Runtime``."""

    endpoint: str

    async def exec(
        self, container_id: str, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> str: ...

    async def attach(self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str: ...

    async def port_forward(self, sandbox_id: str, ports: Sequence[int]) -> str: ...


def tls_context(cert: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    """The server's TLS: clients may show a certificate of client_ca; who shows none needs a token."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client_ca))
    context.load_cert_chain(cert, key)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


class KubeletServer:
    """See the module. access: who may ask; extra: further pages by path, such as ``/metrics``.

    logs_folder: what ``/logs/`` shows.
    """

    def __init__(
        self,
        pods: Pods,
        runtime: Runtime,
        tls: ssl.SSLContext,
        access: Access,
        extra: Mapping[str, Extra] | None = None,
        counters: Counters | None = None,
        logs_folder: Path = Path("/var/log"),
    ) -> None:
        self._pods = pods
        self._runtime = runtime
        self._tls = tls
        self._access = access
        self._extra = dict(extra or {})
        self._counters = counters or Counters()
        self._logs_folder = logs_folder
        self._http: web.Server | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self, host: str = "0.0.0.0", port: int = 10250) -> int:
        """Listen; the port. Raises OSError."""
        self._http = web.Server(self._handle, access_log=None)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._http, host, port, ssl=self._tls, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.shutdown(1)

    async def _handle(self, request: web.BaseRequest) -> Any:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        began = time.perf_counter()
        try:
            return await self._answer(request)
        except APIError as error:
            return web.Response(status=error.code, text=error.message + "\n", content_type=_PLAIN)
        except CRIError as error:
            return web.Response(status=500, text=error.text + "\n", content_type=_PLAIN)
        except ConnectionError as error:
            return web.Response(status=500, text=f"{error}\n", content_type=_PLAIN)
        finally:
            self._tasks.discard(task)
            first = request.path.strip("/").partition("/")[0]
            # Other paths are anybody's to invent.
            known = first if first in _PATHS or request.path.rstrip("/") in self._extra else "other"
            named = request.path.strip("/") if known == "metrics" else known
            self._counters.request(request.method, named, first in _LONG, time.perf_counter() - began)

    async def _answer(self, request: web.BaseRequest) -> Response:
        path = request.path
        if path == "/healthz":
            return web.Response(text="ok")
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        await self._access.admit(request.method, path, certificate, request.headers.get("Authorization", ""))
        extra = self._extra.get(path.rstrip("/"))
        if extra is not None:
            kind, body = await extra(dict(parse_qsl(request.query_string)))
            return web.Response(body=body, headers={"Content-Type": kind})
        parts = [unquote(part) for part in request.rel_url.raw_path.strip("/").split("/")]
        match parts:
            case ["pods"]:
                listed = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list(self._pods.pods())}
                return web.Response(body=orjson.dumps(listed), content_type="application/json")
            case ["containerLogs", namespace, pod, container]:
                return await self._logs(request, namespace, pod, container)
            case ["exec", namespace, pod, container]:
                command = request.query.getall("command", [])
                if not command:
                    raise bad_request("you must specify at least one command for the container")
                return await self._command(request, namespace, pod, container, command)
            case ["attach", namespace, pod, container]:
                return await self._command(request, namespace, pod, container, None)
            case ["checkpoint", namespace, pod, container] if request.method == "POST":
                return await self._checkpoint(namespace, pod, container)
            case ["rich", namespace, pod, container, what] if what in writable.WHAT:
                container_id = self._pods.container_id(namespace, pod, container)
                return await writable.answer(request, self._runtime.endpoint, container_id, what)
            case ["portForward", namespace, pod]:
                return await self._port_forward(request, namespace, pod)
            case ["logs", *_]:
                from hawser.node.server import logfiles

                return await logfiles.answer(request, self._logs_folder)
        raise not_found("", "path", path)

    async def _logs(self, request: web.BaseRequest, namespace: str, pod: str, container: str) -> web.StreamResponse:
        wanted = logs.options(request.query, datetime.now(UTC))
        path = self._pods.log_path(namespace, pod, container, wanted.previous)

        def ended() -> bool:
            return wanted.previous or self._pods.log_ended(namespace, pod, container, path)

        response = web.StreamResponse(headers={"Content-Type": _PLAIN})
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            async for piece in logs.read(path, wanted, ended, self._sleep_while_connected(request)):
                await response.write(piece)
                await asyncio.sleep(0)  # a long log with a fast reader would leave no turn to anybody else
            await response.write_eof()
        except ConnectionError:
            pass  # the reader left
        return response

    @staticmethod
    def _sleep_while_connected(request: web.BaseRequest) -> Callable[[float], Awaitable[None]]:
        async def sleep(seconds: float) -> None:
            # A log that is silent writes nothing that would tell that its reader is gone.
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError
            await asyncio.sleep(seconds)

        return sleep

    async def _command(
        self, request: web.BaseRequest, namespace: str, pod: str, container: str, command: list[str] | None
    ) -> Response:
        wanted = _wanted(request.query)
        if not (wanted.stdin or wanted.stdout or wanted.stderr):
            raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
        _must_upgrade(request)
        container_id = self._pods.container_id(namespace, pod, container)
        use = {"stdin": wanted.stdin, "stdout": wanted.stdout, "stderr": wanted.stderr, "tty": wanted.tty}
        if command is None:
            url = await self._runtime.attach(container_id, **use)
        else:
            url = await self._runtime.exec(container_id, command, **use)
        if streams.V5 in streams.subprotocols(request):
            return await streams.remote_command(request, url, wanted)
        return await streams.pass_through(request, url)

    async def _checkpoint(self, namespace: str, pod: str, container: str) -> Response:
        made = await self._pods.checkpoint(namespace, pod, container)
        return web.Response(body=made, content_type="application/json")

    async def _port_forward(self, request: web.BaseRequest, namespace: str, pod: str) -> Response:
        _must_upgrade(request)
        try:
            listed = [*request.query.getall("port", []), *request.query.getall("ports", [])]
            ports = [int(port) for value in listed for port in value.split(",")]
        except ValueError:
            raise bad_request("port must be a number") from None
        url = await self._runtime.port_forward(self._pods.sandbox_id(namespace, pod), ports)
        if streams.TUNNEL in streams.subprotocols(request):
            return await streams.tunnel(request, url)
        return await streams.pass_through(request, url)


def _wanted(query: Mapping[str, str]) -> Wanted:
    def flag(*names: str) -> bool:
        return any(query.get(name, "").lower() in ("1", "true") for name in names)

    return Wanted(flag("input", "stdin"), flag("output", "stdout"), flag("error", "stderr"), flag("tty"))


def _must_upgrade(request: web.BaseRequest) -> None:
    if not streams.wants_upgrade(request):
        raise bad_request("Upgrade request required")
