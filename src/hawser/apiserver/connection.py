"""One client connection: aiohttp's HTTP protocol, the user of its certificate, and a hook for its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from hawser.apiserver.identity import Peer, User, from_certificate

Handler = Callable[[web.BaseRequest], Any]
BODY_LIMIT = 3 * 1024 * 1024
"""The largest request body: kube-apiserver's limit."""


class Connection(RequestHandler):
    """One client.

    user: of the client certificate, or None. peer: what the certificate makes of the client, once somebody has asked.
    on_end: called when the peer is gone or the server stops.
    """

    __slots__ = ("on_end", "peer", "user")

    def __init__(self, manager: Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self.user: User | None = None
        self.peer: Peer | None = None
        self.on_end: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over: read the certificate once for all requests."""
        certificate = transport.get_extra_info("peercert")
        if certificate:
            self.user = from_certificate(certificate, transport.get_extra_info("ssl_object").getpeercert(True))
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell whoever streams to this peer."""
        if self.on_end is not None:
            self.on_end()
        super().connection_lost(exc)

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """End what streams, then what is in progress, then the connection."""
        if self.on_end is not None:
            self.on_end()
        if not self._request_in_progress:
            # Or aiohttp would wait for a next request for the whole of the timeout.
            self.close()
        await super().shutdown(timeout)


class Server(web.Server):
    """aiohttp's low-level server with this module's connections."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler, request_factory=self._request)
        self._event_loop = asyncio.get_running_loop()

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        loop = self._event_loop
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT)

    def __call__(self) -> Connection:
        """A protocol for a new connection."""
        return Connection(self, loop=self._event_loop, access_log=None)
