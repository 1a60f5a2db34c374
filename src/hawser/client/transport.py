"""The connections of a client: requests, streams and WebSockets to one API server with one identity.

Every failure is an ``APIError``: the server's Status when there is one, otherwise 503 ServiceUnavailable (no answer) or
500 (an answer that is no Kubernetes).
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl as ssl_module
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import aiohttp
import orjson
from aiohttp.connector import AddrInfoType
from yarl import URL

from hawser.api import errors
from hawser.api.errors import APIError
from hawser.client import config
from hawser.client.answers import failure

REQUEST_SECONDS = 60.0
CONNECTIONS = 16
_TOKEN_SECONDS = 60.0
_RETRIES = 3
_LONGEST_RETRY_AFTER = 10.0
_CLOSING_SECONDS = 1.0


class Transport:
    """Talks to one API server with one identity; connects on first use, until ``close()`` or the end of ``async with``.

    server: URL without a trailing slash.
    ssl: TLS context for https; None trusts the system's authorities.
    token: bearer token, or a function that returns the current one.
    user_agent: up to its first ``/`` it is also the field manager of writes that name none.
    seconds: limit of one request that is not a watch or a stream.
    ca: the certificates that the server's is verified with, PEM; for those who pass them on.
    answers: how many there were, by method and code; that there was none is 0.
    """

    def __init__(
        self,
        server: str,
        ssl: ssl_module.SSLContext | None = None,
        token: str | Callable[[], str] = "",
        *,
        user_agent: str = "hawser",
        tls_server_name: str = "",
        namespace: str = "default",
        seconds: float = REQUEST_SECONDS,
        ca: bytes = b"",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.server = server.rstrip("/")
        self.namespace = namespace
        self.ca = ca
        self.answers: Counter[tuple[str, int]] = Counter()
        self._ssl = ssl
        self._token = token
        self._user_agent = user_agent
        self._tls_server_name = tls_server_name or None
        self._timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=10)
        self._stream_timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None
        self._sockets: WeakSet[socket.socket] = WeakSet()

    @classmethod
    def from_config(cls, cfg: config.Config, *, user_agent: str = "hawser", seconds: float = REQUEST_SECONDS) -> Self:
        """A client for a loaded configuration. Raises config.ConfigError for unusable certificates."""
        return cls(
            cfg.server,
            cfg.ssl_context(),
            _TokenFile(cfg.token_file) if cfg.token_file else cfg.token,
            user_agent=user_agent,
            tls_server_name=cfg.tls_server_name,
            namespace=cfg.namespace,
            seconds=seconds,
            ca=cfg.ca,
        )

    @classmethod
    def from_kubeconfig(
        cls, path: str | os.PathLike[str] | None = None, context: str = "", *, user_agent: str = "hawser"
    ) -> Self:
        """A client for a kubeconfig's context; no path: the one kubectl would take. Raises config.ConfigError."""
        return cls.from_config(config.load(path, context), user_agent=user_agent)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections; running requests fail."""
        sessions = [session for session in (self._session, self._streams) if session is not None]
        self._session = self._streams = None
        for session in sessions:
            await session.close()
        # Connections that were given up half-way still say goodbye in TLS: without waiting, the event loop would be
        # gone by then, and nobody left to close their sockets.
        loop = asyncio.get_running_loop()
        end = loop.time() + _CLOSING_SECONDS
        before = loop.get_exception_handler()
        loop.set_exception_handler(_unless_closed)
        while any(made.fileno() >= 0 for made in self._sockets) and loop.time() < end:  # noqa: ASYNC110 - sockets tell nobody
            await asyncio.sleep(0.001)
        loop.set_exception_handler(before)

    async def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json, */*",
    ) -> bytes:
        """One request to any path (``/livez``); the body of the answer. Raises APIError for codes from 400 up.

        body: bytes as they are, anything else is encoded to JSON.
        """
        data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        headers = {"Accept": accept}
        if data is not None:
            headers["Content-Type"] = content_type
        for attempt in range(_RETRIES + 1):
            try:
                async with self._connect().request(
                    method,
                    self._url(path, params),
                    data=data,
                    headers=self._headers(headers),
                    timeout=self._timeout,
                    ssl=self._trust(),
                    server_hostname=self._tls_server_name,
                    allow_redirects=False,
                ) as response:
                    answer = await response.read()
            except (aiohttp.ClientError, OSError, TimeoutError) as err:
                self.answers[method, 0] += 1
                raise self._unreachable(err) from err
            self.answers[method, response.status] += 1
            if response.status < 400:
                return answer
            # The server's own request limits answer 429 and say when to come back; nothing was done.
            retry_after = response.headers.get("Retry-After", "")
            if response.status == 429 and retry_after.isdigit() and attempt < _RETRIES:
                await self._sleep(min(float(retry_after), _LONGEST_RETRY_AFTER))
                continue
            break
        raise failure(response.status, answer)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
        accept: str = "",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request whose answer is read piece by piece, ``response.content.iter_any()``; no limit of time.

        Raises APIError when it cannot be made or is answered with a code from 400 up, or breaks inside the block.
        """
        headers = {"Accept": accept} if accept else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self._connect_stream().request(
                method,
                self._url(path, params),
                data=None if body is None else orjson.dumps(body),
                headers=self._headers(headers),
                timeout=timeout or self._stream_timeout,
                ssl=self._trust(),
                server_hostname=self._tls_server_name,
                allow_redirects=False,
            ) as response:
                self.answers[method, response.status] += 1
                if response.status >= 400:
                    raise failure(response.status, await response.read())
                try:
                    yield response
                finally:
                    _abort(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as err:
            raise self._unreachable(err) from err

    @asynccontextmanager
    async def websocket(
        self, path: str, params: Sequence[tuple[str, str]] | None = None, protocols: tuple[str, ...] = ()
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket, as exec, attach and port-forward use it (subprotocol ``v5.channel.k8s.io``)."""
        try:
            async with self._connect_stream().ws_connect(
                self._url(path, params),
                protocols=protocols,
                headers=self._headers({}),
                ssl=self._trust(),
                server_hostname=self._tls_server_name,
                max_msg_size=0,
            ) as socket:
                yield socket
        except aiohttp.WSServerHandshakeError as err:
            raise failure(err.status, err.message.encode()) from err
        except (aiohttp.ClientError, OSError, TimeoutError) as err:
            raise self._unreachable(err) from err

    def _connect(self) -> aiohttp.ClientSession:
        if self._session is None:
            # More requests at once than this only cost handshakes: a burst of hundreds waits for its turn here.
            self._session = self._open(CONNECTIONS)
        return self._session

    def _connect_stream(self) -> aiohttp.ClientSession:
        if self._streams is None:
            # Watches and streams hold a connection each, so their number must limit neither them nor the requests.
            self._streams = self._open(0)
        return self._streams

    def _open(self, connections: int) -> aiohttp.ClientSession:
        """connections: at most so many for requests; 0: for streams, which may rest as long as their readers do."""

        def made(address: AddrInfoType) -> socket.socket:
            one = _request_socket(address) if connections else _stream_socket(address)
            self._sockets.add(one)
            return one

        connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=60, socket_factory=made)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    def _trust(self) -> ssl_module.SSLContext | bool:
        """How the server's certificate is checked: as configured, or by the authorities of this host."""
        if self._ssl is None:
            if not self.server.startswith("https:"):
                return True
            self._ssl = ssl_module.create_default_context()
        return self._ssl

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        # On one machine compressing costs more than it saves.
        headers["Accept-Encoding"] = "identity"
        headers["User-Agent"] = self._user_agent
        token = self._token if isinstance(self._token, str) else self._token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _url(self, path: str, params: Any) -> URL:
        url = URL(self.server + path, encoded=True)
        return url.update_query(params) if params else url

    def _unreachable(self, err: BaseException) -> APIError:
        return errors.service_unavailable(f"{self.server} does not answer: {str(err) or type(err).__name__}")


def _stream_socket(address: AddrInfoType) -> socket.socket:
    """A socket that notices within half a minute that the other side is not there any more (tcp(7))."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3)):
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


def _request_socket(address: AddrInfoType) -> socket.socket:
    """The same, also when something was sent: the kernel would try for a quarter of an hour."""
    made = _stream_socket(address)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000)
    return made


def _abort(response: aiohttp.ClientResponse) -> None:
    """Drops the connection of an answer that was not read to its end, without waiting for TLS to say goodbye."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


class _TokenFile:
    """A bearer token in a file that something else rotates."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = ""
        self._read_at = float("-inf")

    def __call__(self) -> str:
        now = time.monotonic()
        if now - self._read_at > _TOKEN_SECONDS:
            try:
                self._token = self._path.read_text().strip()
            except OSError as err:
                raise errors.unauthorized(f"token file {self._path} cannot be read: {err}") from err
            self._read_at = now
        return self._token


def _unless_closed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tells of what went wrong in the event loop, but not that a peer answers in a handshake that was broken off."""
    error = context.get("exception")
    if not (isinstance(error, RuntimeError) and "the handler is closed" in str(error)):
        loop.default_exception_handler(context)
