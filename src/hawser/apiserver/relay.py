"""HTTP requests passed on to another server, body and answer as streams; upgrades become pipes.

Source: Kubernetes documentation, "Proxies in Kubernetes" (the apiserver proxy); hop-by-hop headers: RFC 9110, section
7.6.1.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from hawser.api.errors import APIError, service_unavailable
from hawser.apiserver import weblinks
from hawser.apiserver.connection import Connection
from hawser.apiserver.piping import UpgradeEnd, pipe, status
from hawser.apiserver.reply import LAST_CHUNK, Answer, Finished, chunk, drain
from hawser.apiserver.weblinks import Links

_CONNECT_SECONDS = 30.0
_PIECE = 64 * 1024
_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade"),
    }
)
_OWN = frozenset({"host", "authorization", "content-length", "expect"})
_OWN_PREFIXES = ("x-remote-", "impersonate-")


@dataclass(frozen=True, slots=True)
class Address:
    """Of a server."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        """As in a URL or a Host header."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a request goes. path: percent-encoded, with the query. server: the name in TLS and Host, if another.

    prefix: the path that links in the server's pages get before their own; empty when they stay as they are.
    """

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None = None
    server: str = ""
    prefix: str = ""

    @property
    def authority(self) -> str:
        """For the Host header."""
        if self.server:
            return self.server
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> URL:
        """The URL to connect to."""
        authority = Address(self.host, self.port).authority
        return URL(f"{'https' if self.tls else 'http'}://{authority}{self.path}", encoded=True)


class Relay:
    """Passes requests on."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def serve(self, request: web.BaseRequest, goal: Goal, extra: Iterable[tuple[str, str]] = ()) -> Answer:
        """Answer a request with what the goal answers. extra: headers to send besides. APIError 503 without a goal."""
        headers = _headers(request, extra)
        headers["Host"] = goal.authority
        if "upgrade" in request.headers.get("Connection", "").lower():
            return await self._upgrade(request, goal, headers)
        length = request.headers.get("Content-Length")
        if length is not None:
            headers["Content-Length"] = length
        try:
            async with self._pool().request(
                request.method,
                goal.url,
                headers=headers,
                data=request.content if request.body_exists else None,
                ssl=goal.tls or True,
                server_hostname=goal.server.partition(":")[0] or None if goal.tls else None,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            ) as answer:
                links = Links(goal.prefix, goal.authority, request.headers.get("Host", "")) if goal.prefix else None
                return await _copy(request, answer, links)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(error) from None

    async def fetch(self, goal: Goal, headers: Iterable[tuple[str, str]]) -> tuple[int, bytes]:
        """Status and body of a GET of our own. APIError 503 when the goal is not there."""
        sent = CIMultiDict([("Host", goal.authority), ("Accept", "application/json"), *headers])
        try:
            async with self._pool().get(
                goal.url,
                headers=sent,
                ssl=goal.tls or True,
                server_hostname=goal.server.partition(":")[0] or None if goal.tls else None,
                allow_redirects=False,
            ) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(error) from None

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
                auto_decompress=False,
            )
        return self._session

    async def _upgrade(self, request: web.BaseRequest, goal: Goal, headers: CIMultiDict[str]) -> Answer:
        headers["Connection"] = "Upgrade"
        headers["Upgrade"] = request.headers.get("Upgrade", "")
        name = goal.server.partition(":")[0] or goal.host
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, other = await asyncio.get_running_loop().create_connection(
                    UpgradeEnd, goal.host, goal.port, ssl=goal.tls, server_hostname=name if goal.tls else None
                )
        except (OSError, TimeoutError) as error:
            raise unreachable(error) from None
        transport = request.transport
        try:
            if transport is None or other.transport is None:
                return Finished(keep_alive=False)
            lines = [f"{request.method} {goal.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
            other.transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape"))
            head = await other.head
            if status(head) == 101:
                return await pipe(request, other, head)
            # What the other side says instead is passed on, and that is the end of both connections.
            said = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + await other.body(head)
            if request.transport is not None:
                request.transport.write(said)
        except ConnectionError as error:
            raise unreachable(error) from None
        finally:
            other.close()
        return Finished(keep_alive=False)


def unreachable(error: object) -> APIError:
    """The 503 of a goal that cannot be reached."""
    return service_unavailable(f"error trying to reach service: {error}")


def _headers(request: web.BaseRequest, extra: Iterable[tuple[str, str]]) -> CIMultiDict[str]:
    """The client's headers without its credentials and what belongs to its own connection."""
    named = {name.strip().lower() for name in request.headers.get("Connection", "").split(",")}
    headers: CIMultiDict[str] = CIMultiDict()
    for key, value in request.headers.items():
        name = key.lower()
        if name not in _HOP_BY_HOP and name not in _OWN and name not in named and not name.startswith(_OWN_PREFIXES):
            headers.add(key, value)
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    if peer:
        before = headers.get("X-Forwarded-For")
        headers["X-Forwarded-For"] = f"{before}, {peer[0]}" if before else str(peer[0])
    for key, value in extra:
        headers.add(key, value)
    return headers


async def _copy(request: web.BaseRequest, answer: aiohttp.ClientResponse, links: Links | None) -> Finished:
    """Write an answer to the client as it comes."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    empty = request.method == "HEAD" or answer.status in (204, 304) or answer.status < 200
    page = weblinks.body(links, answer.headers) if links is not None and not empty else None
    length = answer.headers.get("Content-Length") if page is None else None
    lines = [f"HTTP/1.1 {answer.status} {answer.reason or _phrase(answer.status)}"]
    named = {name.strip().lower() for name in answer.headers.get("Connection", "").split(",")}
    for key, value in answer.headers.items():
        name = key.lower()
        if name not in _HOP_BY_HOP and name != "content-length" and name not in named:
            lines.append(f"{key}: {links.url(value) if links is not None and name == 'location' else value}")
    chunked = not empty and length is None
    if length is not None and answer.status != 204:
        lines.append(f"Content-Length: {length}")
    elif chunked:
        lines.append("Transfer-Encoding: chunked")
    if not request.keep_alive:
        lines.append("Connection: close")
    transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape"))
    if empty:
        return Finished(request.keep_alive)
    connection = cast(Connection, request.protocol)
    # A body that is never finished is no reason to wait for a client that has left.
    connection.on_end = answer.close
    try:
        async for piece in answer.content.iter_chunked(_PIECE):
            if request.transport is None:
                raise ConnectionResetError
            if page is not None:
                piece = page.feed(piece)
            if piece:
                transport.write(chunk(piece) if chunked else piece)
            await drain(request)
        rest = page.end() if page is not None else b""
    except (aiohttp.ClientError, zlib.error):
        # It broke off in the middle: an incomplete body is all that can tell.
        transport.close()
        return Finished(keep_alive=False)
    finally:
        connection.on_end = None
    if rest:
        transport.write(chunk(rest))
    if chunked:
        transport.write(LAST_CHUNK)
    return Finished(request.keep_alive)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
