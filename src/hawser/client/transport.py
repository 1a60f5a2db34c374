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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

import orjson

from hawser.api import errors
from hawser.api.errors import APIError
from hawser.client import config
from hawser.client.answers import failure
from hawser.client.http1 import sockets
from hawser.client.http1.connection import Connection, Disconnected
from hawser.client.http1.pool import Pool, Server
from hawser.client.http1.reader import Reader
from hawser.client.http1.requests import Requests
from hawser.client.http1.stream import Stream
from hawser.client.traffic import Traffic

if TYPE_CHECKING:
    import aiohttp

REQUEST_SECONDS = 60.0
CONNECTIONS = 16
_TOKEN_SECONDS = 60.0
_RETRIES = 3
_LONGEST_RETRY_AFTER = 10.0
_CLOSING_SECONDS = 1.0
# What may be asked a second time when the first time brought no answer (RFC 9110, section 9.2.2).
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class Transport:
    """Talks to one API server with one identity; connects on first use, until ``close()`` or the end of ``async with``.

    server: URL without a trailing slash.
    ssl: TLS context for https; None trusts the system's authorities.
    token: bearer token, or a function that returns the current one.
    user_agent: up to its first ``/`` it is also the field manager of writes that name none.
    seconds: limit of one request that is not a watch or a stream.
    ca: the certificates that the server's is verified with, PEM; for those who pass them on.
    traffic: what is counted of requests.
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
        self.traffic = Traffic()
        self._ssl = ssl
        self._token = token
        self._user_agent = user_agent
        self._tls_server_name = tls_server_name
        self._seconds = seconds
        self._sleep = sleep
        self._encoder: Requests | None = None
        self._pool: Pool | None = None
        self._stream_pool: Pool | None = None
        self._session: aiohttp.ClientSession | None = None
        self._sockets: WeakSet[socket.socket] = WeakSet()

    @classmethod
    def from_config(cls, cfg: config.Config, *, user_agent: str = "hawser", seconds: float = REQUEST_SECONDS) -> Self:
        """A client for a loaded configuration. Raises config.ConfigError for unusable certificates."""
        cfg = cfg.complete()
        token = cfg.plugin.token if cfg.plugin else cfg.token
        return cls(
            cfg.server,
            cfg.ssl_context(),
            _TokenFile(cfg.token_file) if cfg.token_file else token,
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
        for pool in (self._pool, self._stream_pool):
            if pool is not None:
                pool.close()
        self._pool = self._stream_pool = None
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        # Connections that were given up half-way still say goodbye in TLS: without waiting, the event loop would be
        # gone by then, and nobody left to close their sockets.
        loop = asyncio.get_running_loop()
        end = loop.time() + _CLOSING_SECONDS
        while any(made.fileno() >= 0 for made in self._sockets) and loop.time() < end:  # noqa: ASYNC110 - sockets tell nobody
            await asyncio.sleep(0.001)

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
        if data is None:
            content_type = ""
        for attempt in range(_RETRIES + 1):
            pool = self._requests()
            request = self._encode(method, path, data, params=params, accept=accept, content_type=content_type)
            began = time.monotonic()
            connection, answer = await self._ask(pool, method, request, self._seconds)
            pool.give(connection)
            taken = answer.take()
            self.traffic.measured(method, time.monotonic() - began, len(data or b""), len(taken))
            if answer.status < 400:
                return taken
            # The server's own request limits answer 429 and say when to come back; nothing was done.
            retry_after = answer.headers.get("retry-after", "")
            if answer.status == 429 and retry_after.isdigit() and attempt < _RETRIES:
                self.traffic.retries[answer.status, method] += 1
                await self._sleep(min(float(retry_after), _LONGEST_RETRY_AFTER))
                continue
            break
        raise failure(answer.status, taken)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        seconds: float | None = None,
        silence: float | None = None,
        accept: str = "",
    ) -> AsyncIterator[Stream]:
        """One request whose answer is read piece by piece.

        seconds: limit of the whole answer, none without it. silence: limit of the wait for each piece, instead.
        Raises APIError when it cannot be made or is answered with a code from 400 up; so does reading it.
        """
        data = None if body is None else orjson.dumps(body)
        content_type = "" if body is None else "application/json"
        pool = self._streams()
        request = self._encode(method, path, data, params=params, accept=accept, content_type=content_type)
        connection, answer = await self._ask(pool, method, request, silence or seconds, piecewise=True)
        try:
            stream = Stream(connection, answer, self._unreachable, silence)
            if answer.status >= 400:
                raise failure(answer.status, b"".join([piece async for piece in stream]))
            yield stream
        finally:
            # One that was not read to its end is dropped, without waiting for TLS to say goodbye.
            pool.give(connection)

    @asynccontextmanager
    async def websocket(
        self, path: str, params: Sequence[tuple[str, str]] | None = None, protocols: tuple[str, ...] = ()
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket, as exec, attach and port-forward use it (subprotocol ``v5.channel.k8s.io``)."""
        # Most processes never open one.
        import aiohttp
        from yarl import URL

        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, socket_factory=self._made)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        token = self._current_token()
        url = URL(self.server + path, encoded=True)
        try:
            async with self._session.ws_connect(
                url.update_query(params) if params else url,
                protocols=protocols,
                headers={"User-Agent": self._user_agent, **({"Authorization": f"Bearer {token}"} if token else {})},
                ssl=self._trust() or True,
                server_hostname=self._tls_server_name or None,
                max_msg_size=0,
            ) as socket:
                yield socket
        except aiohttp.WSServerHandshakeError as err:
            raise failure(err.status, err.message.encode()) from err
        except (aiohttp.ClientError, OSError, TimeoutError) as err:
            raise self._unreachable(err) from err

    async def _ask(
        self, pool: Pool, method: str, request: bytes, seconds: float | None, *, piecewise: bool = False
    ) -> tuple[Connection, Reader]:
        """Sends a request and waits for its whole answer, or the head of it. The connection is to be given back.

        What does no harm when it is done twice is sent again when the connection ends before an answer: servers close
        those that were idle, and that may cross with a request. Raises APIError.
        """
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        connection, again = pool.take_idle(), False
        while True:
            try:
                if connection is None:
                    async with asyncio.timeout_at(end):
                        connection = await pool.take(new=again)
                left = None if end is None else end - loop.time()
                answer = connection.ask(method, request, left, piecewise=piecewise)
                await connection.wait()
                self.traffic.answers[method, answer.status] += 1
                return connection, answer
            except BaseException as err:
                if connection is not None:
                    pool.give(connection)
                if isinstance(err, Disconnected) and method in _IDEMPOTENT and not again:
                    connection, again = None, True
                elif isinstance(err, OSError):
                    self.traffic.answers[method, 0] += 1
                    raise self._unreachable(err) from err
                else:
                    raise

    def _encode(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        params: Mapping[str, str] | None,
        accept: str,
        content_type: str,
    ) -> bytes:
        assert self._encoder is not None
        token = self._current_token()
        try:
            return self._encoder.encode(
                method, path, body, params=params, accept=accept, content_type=content_type, token=token
            )
        except ValueError as err:
            raise errors.bad_request(str(err)) from err

    def _current_token(self) -> str:
        return self._token if isinstance(self._token, str) else self._token()

    def _requests(self) -> Pool:
        """Connections for whole requests."""
        if self._pool is None:
            # More requests at once than this only cost handshakes: a burst of hundreds waits for its turn here.
            self._pool = self._open(CONNECTIONS, sockets.notice_sending)
        return self._pool

    def _streams(self) -> Pool:
        """Connections for watches and streams.

        They hold a connection each, so their number must limit neither them nor the requests.
        """
        if self._stream_pool is None:
            self._stream_pool = self._open(0, sockets.notice)
        return self._stream_pool

    def _open(self, limit: int, prepare: Callable[[socket.socket], None]) -> Pool:
        try:
            if self._encoder is None:
                self._encoder = Requests(self.server, self._user_agent)
        except ValueError as err:
            raise self._unreachable(err) from err

        def made(new: socket.socket) -> None:
            self._sockets.add(new)
            prepare(new)

        _overlook_goodbyes()
        to = self._encoder
        return Pool(Server(to.host, to.port, self._trust(), self._tls_server_name), limit, made)

    def _made(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket of a WebSocket."""
        made = socket.socket(*address[:3])
        sockets.notice(made)
        self._sockets.add(made)
        return made

    def _trust(self) -> ssl_module.SSLContext | None:
        """How the server's certificate is checked: as configured, or by the authorities of this host."""
        if not self.server.startswith("https:"):
            return None
        if self._ssl is None:
            self._ssl = ssl_module.create_default_context()
        return self._ssl

    def _unreachable(self, err: BaseException) -> APIError:
        # What a limit of time ends has no words of its own.
        why = str(err) or ("it took too long" if isinstance(err, TimeoutError) else type(err).__name__)
        return errors.service_unavailable(f"{self.server} does not answer: {why}")


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


def _overlook_goodbyes() -> None:
    """Has the running loop not tell that a peer answers in a handshake that was broken off, by whom and when ever."""
    loop = asyncio.get_running_loop()
    if loop.get_exception_handler() is None:
        loop.set_exception_handler(_unless_closed)


def _unless_closed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tells of what went wrong in the event loop, but for those answers."""
    error = context.get("exception")
    if not (isinstance(error, RuntimeError) and "the handler is closed" in str(error)):
        loop.default_exception_handler(context)
