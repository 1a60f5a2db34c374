"""Answers of the controllers' endpoint: who asks is known by client certificate or token, and what they may is the API
server's to say.

Source: kube-controller-manager's and kube-scheduler's references; API reference, Status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from hawser import health
from hawser.api.errors import APIError
from hawser.client.client import Client
from hawser.client.delegation import ADMINISTRATORS, ANONYMOUS, Asker, Delegation, bearer, of_certificate
from hawser.controllers.serving import Page

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"
_NOT_FOUND = b"404 page not found\n"
_IDLE_SECONDS = 120.0
_LONGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request. lasts: whether another one may follow on the connection."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    authorization: str
    lasts: bool

    @staticmethod
    def parse(head: bytes) -> Request:
        """Reads it (RFC 9112). Raises ValueError."""
        first, *rest = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, version = first.split(" ")
        if version not in ("HTTP/1.0", "HTTP/1.1") or not target.startswith("/"):
            raise ValueError(first)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        path, _, query = target.partition("?")
        # Nobody has anything to say here: what follows as a body is not read.
        speaks = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        lasts = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close" and not speaks
        parsed = parse_qs(query, keep_blank_values=True)
        return Request(method, unquote(path), parsed, headers.get("authorization", ""), lasts)


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
        self._connections: set[asyncio.StreamWriter] = set()

    def protocol(self) -> asyncio.BaseProtocol:
        """For a new connection."""
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=_LONGEST), self._talk)

    def stop(self) -> None:
        """Ends all connections."""
        for writer in self._connections:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        lasts = True
        try:
            while lasts:
                async with asyncio.timeout(_IDLE_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                answer, lasts = await self._handle(head, writer.get_extra_info("peercert"))
                writer.write(answer)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client left, or says nothing or too much
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _handle(self, head: bytes, certificate: Mapping[str, Any] | None) -> tuple[bytes, bool]:
        """The answer to a request, and whether another one may follow."""
        try:
            request = Request.parse(head)
        except ValueError:
            return _encoded(400, _TEXT, b"400 Bad Request", lasts=False), False
        try:
            code, kind, body = await self._answer(request, certificate)
        except APIError as err:
            code, kind, body = err.code, _JSON, orjson.dumps(err.status)
        return _encoded(code, kind, body, lasts=request.lasts, bodiless=request.method == "HEAD"), request.lasts

    async def _answer(self, request: Request, certificate: Mapping[str, Any] | None) -> tuple[int, str, bytes]:
        path = request.path
        if not self._is_free(path):
            await self._admit(request, certificate)
        if path.startswith(health.ROOTS):
            excluded = set(request.query.get("exclude", ()))
            checks = self._checks(path.split("/")[1])
            found = health.answer(path, checks, excluded, "verbose" in request.query)
            return (404, _TEXT, _NOT_FOUND) if found is None else (found[0], _TEXT, found[1].encode())
        page = self._pages.get(path)
        return (404, _TEXT, _NOT_FOUND) if page is None else (200, page[0], page[1]())

    def _is_free(self, path: str) -> bool:
        return any(path.startswith(free[:-1]) if free.endswith("*") else path == free for free in self._free)

    async def _admit(self, request: Request, certificate: Mapping[str, Any] | None) -> None:
        """Returns when the request may be served. Raises APIError 401, 403 or 500."""
        asker = await self._asker(request, certificate)
        if ADMINISTRATORS in asker.groups:
            return
        verb = request.method.lower()
        wanted = {"nonResourceAttributes": {"path": request.path, "verb": verb}}
        if not await self._delegation.may(asker, wanted):
            raise APIError(403, "Forbidden", f'forbidden: User "{asker.name}" cannot {verb} path "{request.path}"')

    async def _asker(self, request: Request, certificate: Mapping[str, Any] | None) -> Asker:
        asker = of_certificate(certificate) if certificate else None
        if asker is not None:
            return asker
        token = bearer(request.authorization)
        if not token:
            return ANONYMOUS
        asker = await self._delegation.of_token(token)
        if asker is None:
            raise APIError(401, "Unauthorized", "Unauthorized")
        return asker


def _encoded(code: int, kind: str, body: bytes, *, lasts: bool, bodiless: bool = False) -> bytes:
    lines = (
        f"HTTP/1.1 {code} {HTTPStatus(code).phrase}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-cache, private",
        *(() if lasts else ("Connection: close",)),
    )
    return "\r\n".join((*lines, "", "")).encode() + (b"" if bodiless else body)
