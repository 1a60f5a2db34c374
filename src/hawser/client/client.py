"""One async client for any Kubernetes API.

Resources are named by rows of the kind table; objects are plain dicts. Every failure is an ``APIError``: the server's
Status when there is one, otherwise 503 ServiceUnavailable (no answer) or 500 (an answer that is no Kubernetes).

Source of paths, parameters and the watch protocol: Kubernetes documentation, "Kubernetes API Concepts".
"""

from __future__ import annotations

import asyncio
import os
import ssl as ssl_module
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from yarl import URL

from hawser.api import errors
from hawser.api.errors import APIError
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.client import config
from hawser.client.answers import WatchEvent, decode, event, failure

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

REQUEST_SECONDS = 60.0
CONNECTIONS = 16
_TOKEN_SECONDS = 60.0
_RETRIES = 3
_LONGEST_RETRY_AFTER = 10.0


@dataclass(frozen=True, slots=True)
class Listing:
    """One list: the objects, and the resourceVersion from which a watch continues."""

    items: list[Obj] = field(default_factory=list)
    resource_version: str = ""


class Client:
    """Talks to one API server with one identity; connects on first use, until ``close()`` or the end of ``async with``.

    server: URL without a trailing slash.
    ssl: TLS context for https; None trusts the system's authorities.
    token: bearer token, or a function that returns the current one.
    user_agent: up to its first ``/`` it is also the field manager of writes that name none.
    seconds: limit of one request that is not a watch or a stream.
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
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.server = server.rstrip("/")
        self.namespace = namespace
        self._ssl = ssl
        self._token = token
        self._user_agent = user_agent
        self._tls_server_name = tls_server_name or None
        self._timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=10)
        self._stream_timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None

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
        # Sockets are closed by callbacks of the event loop, which would otherwise be gone by then.
        await asyncio.sleep(0)

    # Objects

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Obj:
        """The object. Raises APIError 404."""
        return await self._object("GET", kind.path(namespace, name))

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        *,
        resource_version: str = "",
        page_size: int = 0,
        metadata_only: bool = False,
    ) -> Listing:
        """All objects of a namespace, or of every namespace when it is None.

        page_size: objects a request; pages are fetched until the end. 0 asks for all in one answer.
        resource_version: "0" allows any cached state. Items are given the apiVersion and kind that lists omit.
        metadata_only: nothing of the objects but their metadata (API concepts, "Metadata-only fetches").
        """
        params = _selectors(label_selector, field_selector)
        if resource_version:
            params["resourceVersion"] = resource_version
        if page_size:
            params["limit"] = str(page_size)
        items: list[Obj] = []
        while True:
            accept = _METADATA_LIST if metadata_only else _JSON
            page = decode(await self.raw("GET", kind.path(namespace), params=params, accept=accept))
            metadata = page.get("metadata") or {}
            items += page.get("items") or ()
            if not metadata.get("continue"):
                break
            params.pop("resourceVersion", None)
            params["continue"] = metadata["continue"]
        for item in items:
            item["apiVersion"] = kind.api_version
            item["kind"] = kind.kind
        return Listing(items, metadata.get("resourceVersion") or "")

    async def create(self, kind: Kind, obj: Obj, *, params: Mapping[str, str] | None = None) -> Obj:
        """Creates the object in its own namespace (the client's default when it names none)."""
        return await self._object("POST", kind.path(self._namespace_of(kind, obj)), obj, params=params)

    async def update(
        self, kind: Kind, obj: Obj, subresource: str = "", *, params: Mapping[str, str] | None = None
    ) -> Obj:
        """Replaces the object; with a resourceVersion in it, only that version (APIError 409 otherwise)."""
        path = kind.path(self._namespace_of(kind, obj), obj["metadata"]["name"], subresource)
        return await self._object("PUT", path, obj, params=params)

    async def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        body: Any,
        type: str = MERGE,  # noqa: A002 - the word of the Kubernetes API
        subresource: str = "",
        *,
        params: Mapping[str, str] | None = None,
    ) -> Obj:
        """Patches the object. type: MERGE, JSON (body is a list of operations), STRATEGIC or APPLY."""
        path = kind.path(namespace, name, subresource)
        return await self._object("PATCH", path, body, content_type=type, params=params)

    async def apply(self, kind: Kind, obj: Obj, manager: str, *, force: bool = True, subresource: str = "") -> Obj:
        """Server-side apply of the fields in ``obj`` as field manager ``manager``."""
        path = kind.path(self._namespace_of(kind, obj), obj["metadata"]["name"], subresource)
        params = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self._object("PATCH", path, obj, content_type=APPLY, params=params)

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str | None = None,
        grace_period: int | None = None,
        propagation: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> Obj:
        """Deletes the object; returns it as it is now, or a Status when it is gone.

        grace_period: seconds. propagation: Background, Foreground or Orphan. uid, resource_version: preconditions.
        """
        options = _delete_options(grace_period, propagation, uid, resource_version)
        return await self._object("DELETE", kind.path(namespace, name), options)

    async def delete_collection(
        self,
        kind: Kind,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        grace_period: int | None = None,
        propagation: str | None = None,
    ) -> Obj:
        """Deletes all selected objects of a namespace."""
        params = _selectors(label_selector, field_selector)
        options = _delete_options(grace_period, propagation, None, None)
        return await self._object("DELETE", kind.path(namespace), options, params=params)

    async def get_subresource(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        subresource: str,
        params: Mapping[str, str] | None = None,
    ) -> Obj:
        """A subresource that is JSON, ``scale`` for one; use ``stream`` for logs."""
        return await self._object("GET", kind.path(namespace, name, subresource), params=params)

    async def post_subresource(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        subresource: str,
        body: Obj,
        params: Mapping[str, str] | None = None,
    ) -> Obj:
        """Creates a subresource: ``binding``, ``eviction``, ``token``."""
        return await self._object("POST", kind.path(namespace, name, subresource), body, params=params)

    async def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        *,
        bookmarks: bool = True,
        seconds: float = 0,
        metadata_only: bool = False,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Events after ``resource_version`` until the server ends the watch.

        seconds: asks the server to end it after so long; 0 leaves that to the server.
        metadata_only: objects come as PartialObjectMetadata.
        Raises APIError: 410 when the version is too old (list again), 503 when the connection breaks.
        """
        params = _selectors(label_selector, field_selector)
        params["watch"] = "true"
        if resource_version:
            params["resourceVersion"] = resource_version
        if bookmarks:
            params["allowWatchBookmarks"] = "true"
        if seconds:
            params["timeoutSeconds"] = str(int(seconds))
        # A server that is gone without a FIN is noticed a while after the watch should have ended.
        limit = aiohttp.ClientTimeout(total=seconds + 30 if seconds else None, sock_connect=10)
        accept = _METADATA if metadata_only else ""
        async with self.stream("GET", kind.path(namespace), params=params, timeout=limit, accept=accept) as response:
            rest = b""
            while chunk := await response.content.readany():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield event(line)

    # Requests

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
                    ssl=self._ssl if self._ssl is not None else True,
                    server_hostname=self._tls_server_name,
                    allow_redirects=False,
                ) as response:
                    answer = await response.read()
            except (aiohttp.ClientError, OSError, TimeoutError) as err:
                raise self._unreachable(err) from err
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
                ssl=self._ssl if self._ssl is not None else True,
                server_hostname=self._tls_server_name,
                allow_redirects=False,
            ) as response:
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
                ssl=self._ssl if self._ssl is not None else True,
                server_hostname=self._tls_server_name,
                max_msg_size=0,
            ) as socket:
                yield socket
        except aiohttp.WSServerHandshakeError as err:
            raise failure(err.status, err.message.encode()) from err
        except (aiohttp.ClientError, OSError, TimeoutError) as err:
            raise self._unreachable(err) from err

    async def _object(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Obj:
        answer = await self.raw(method, path, body, params=params, content_type=content_type, accept=_JSON)
        return decode(answer)

    def _connect(self) -> aiohttp.ClientSession:
        if self._session is None:
            # More requests at once than this only cost handshakes: a burst of hundreds waits for its turn here.
            self._session = _session(CONNECTIONS)
        return self._session

    def _connect_stream(self) -> aiohttp.ClientSession:
        if self._streams is None:
            # Watches and streams hold a connection each, so their number must limit neither them nor the requests.
            self._streams = _session(0)
        return self._streams

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

    def _namespace_of(self, kind: Kind, obj: Obj) -> str | None:
        if not kind.namespaced:
            return None
        namespace: str = obj.get("metadata", {}).get("namespace") or self.namespace
        return namespace


def _session(connections: int) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=60)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


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


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    params = {}
    if label_selector:
        params["labelSelector"] = label_selector
    if field_selector:
        params["fieldSelector"] = field_selector
    return params


def _delete_options(
    grace_period: int | None, propagation: str | None, uid: str | None, resource_version: str | None
) -> Obj:
    options: Obj = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if grace_period is not None:
        options["gracePeriodSeconds"] = grace_period
    if propagation is not None:
        options["propagationPolicy"] = propagation
    preconditions = {}
    if uid is not None:
        preconditions["uid"] = uid
    if resource_version is not None:
        preconditions["resourceVersion"] = resource_version
    if preconditions:
        options["preconditions"] = preconditions
    return options
