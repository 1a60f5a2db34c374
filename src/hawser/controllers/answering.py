"""Answers of the controllers' endpoint: who asks is known by client certificate or token, and what they may is the API
server's to say.

Source: kube-controller-manager's and kube-scheduler's references; API reference, Status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import orjson
from aiohttp import web

from hawser import health
from hawser.api.errors import APIError
from hawser.client.client import Client
from hawser.client.delegation import ADMINISTRATORS, ANONYMOUS, Asker, Delegation, bearer, of_certificate
from hawser.controllers.serving import Page

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"
_NOT_FOUND = b"404 page not found\n"


class Answers:
    """See the module. free: paths that anybody may ask for; a * at the end stands for anything."""

    def __init__(
        self,
        client: Client,
        free: Iterable[str],
        checks: Callable[[str], Mapping[str, health.Check]],
        pages: Mapping[str, Page],
    ) -> None:
        self._delegation = Delegation(client.create)
        self._free = [path.strip() for path in free]
        self._checks = checks
        self._pages = pages
        self._http = web.Server(self._handle, access_log=None)

    def protocol(self) -> asyncio.BaseProtocol:
        """For a new connection."""
        return self._http()

    async def stop(self) -> None:
        """Ends all connections."""
        await self._http.shutdown(1)

    async def _handle(self, request: web.BaseRequest) -> web.Response:
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
        verb = request.method.lower()
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
