"""The HTTPS endpoint of the controllers' and scheduler's process: what kube-controller-manager has on port 10257 and
kube-scheduler on 10259.

Who asks is known by client certificate or token, what they may is the API server's to say, and what serves HTTP is
imported when somebody asks for the first time: an endpoint that nobody uses costs a socket.

Source: kube-controller-manager's and kube-scheduler's references; API reference, Status.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from hawser import health
from hawser.api.errors import APIError
from hawser.client.delegation import ADMINISTRATORS, ANONYMOUS, Asker, Delegation, bearer, of_certificate
from hawser.controllers import serving_flags
from hawser.exposition import CONTENT_TYPE

if TYPE_CHECKING:
    from aiohttp import web

    from hawser.client.client import Client

log = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"
_VERBS = {"POST": "post", "GET": "get", "HEAD": "head", "PUT": "put", "PATCH": "patch", "DELETE": "delete"}
_NOT_FOUND = b"404 page not found\n"
Page = Callable[[], bytes]


class CannotListen(Exception):
    """The address is taken, or certificates cannot be used."""


class Endpoint:
    """Serves health and pages. checks: by root, then by name; pages: content type and text, by path."""

    def __init__(
        self,
        client: Client,
        options: Mapping[str, Any],
        checks: Callable[[str], Mapping[str, health.Check]],
        pages: Mapping[str, tuple[str, Page]],
    ) -> None:
        self._delegation = Delegation(client.create)
        self._options = options
        self._free = [path.strip() for path in options["authorization_always_allow_paths"].split(",")]
        self._checks = checks
        self._pages = pages
        self._http: web.Server | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listens; the port, 0 when none is wanted. Raises CannotListen."""
        host, port = self._options["bind_address"], self._options["secure_port"]
        if not port:
            return 0
        loop = asyncio.get_running_loop()
        try:
            tls = serving_flags.tls(self._options)
            self._server = await loop.create_server(self._protocol, host, port, ssl=tls)
        except OSError as err:
            raise CannotListen(f"failed to create listener: failed to listen on {host}:{port}: {err}") from err
        log.info("health and metrics at https://%s:%s", f"[{host}]" if ":" in host else host, port)
        return int(port)

    async def stop(self) -> None:
        """Ends all connections."""
        if self._server is not None:
            self._server.close()
        if self._http is not None:
            await self._http.shutdown(1)

    def _protocol(self) -> asyncio.Protocol:
        if self._http is None:
            from aiohttp import web

            self._http = web.Server(self._handle, access_log=None)
        return self._http()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        try:
            code, kind, body = await self._answer(request)
        except APIError as err:
            code, kind, body = err.code, _JSON, orjson.dumps(err.status)
        headers = {"Content-Type": kind, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache, private"}
        return web.Response(status=code, body=body, headers=headers)

    async def _answer(self, request: web.BaseRequest) -> tuple[int, str, bytes]:
        path = request.path
        if not self._is_free(path):
            await self._admit(request)
        if path.startswith(health.ROOTS):
            excluded = set(request.query.getall("exclude", ()))
            checks = self._checks(path.split("/")[1])
            found = health.answer(path, checks, excluded, "verbose" in request.query)
            return (404, _TEXT, _NOT_FOUND) if found is None else (found[0], _TEXT, found[1].encode())
        page = self._pages.get(path)
        return (404, _TEXT, _NOT_FOUND) if page is None else (200, page[0], page[1]())

    def _is_free(self, path: str) -> bool:
        return any(path.startswith(free[:-1]) if free.endswith("*") else path == free for free in self._free)

    async def _admit(self, request: web.BaseRequest) -> None:
        """Returns when the request may be served. Raises APIError 401, 403 or 500."""
        asker = await self._asker(request)
        if ADMINISTRATORS in asker.groups:
            return
        verb = _VERBS.get(request.method, request.method.lower())
        wanted = {"nonResourceAttributes": {"path": request.path, "verb": verb}}
        if not await self._delegation.may(asker, wanted):
            raise APIError(403, "Forbidden", f'forbidden: User "{asker.name}" cannot {verb} path "{request.path}"')

    async def _asker(self, request: web.BaseRequest) -> Asker:
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        asker = of_certificate(certificate) if certificate else None
        if asker is not None:
            return asker
        token = bearer(request.headers.get("Authorization", ""))
        if not token:
            return ANONYMOUS
        asker = await self._delegation.of_token(token)
        if asker is None:
            raise APIError(401, "Unauthorized", "Unauthorized")
        return asker


def page(lines: Callable[[], Iterable[str]]) -> tuple[str, Page]:
    """A page in Prometheus' text format."""
    return CONTENT_TYPE, lambda: ("\n".join(lines()) + "\n").encode()
