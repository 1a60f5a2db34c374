"""One client connection: aiohttp's HTTP protocol, a shorter way for plain requests, and a hook for its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from hawser.apiserver import eager
from hawser.apiserver.framing import Frame, Head, Heads, Whole, frame
from hawser.apiserver.identity import Peer, User, from_certificate
from hawser.apiserver.paths import Target, known, parse, remember

log = logging.getLogger("hawser.apiserver")
Handler = Callable[..., Any]
BODY_LIMIT = 3 * 1024 * 1024
"""The largest request body: kube-apiserver's limit."""
_PLAIN_VERBS = frozenset({"get", "list", "create", "update", "patch", "delete"})
_PLAIN_PARTS = frozenset({"", "status", "binding", "scale"})


class Connection(RequestHandler):
    """One client.

    user: of the client certificate, or None. peer: what the certificate makes of the client, once somebody has asked.
    on_end: called when the peer is gone or the server stops.

    Requests that come whole and are for plain verbs of resources do not go through aiohttp's parser and tasks, which
    take half the time of a small request. Anything else does; a connection whose bytes are not framed as ``framing``
    understands them is aiohttp's from then on.
    """

    __slots__ = (
        *("_begun", "_heads", "_later", "_left", "_owed", "_parts", "_running", "_unframed"),
        *("on_end", "peer", "user"),
    )

    def __init__(self, manager: Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self.user: User | None = None
        self.peer: Peer | None = None
        self.on_end: Callable[[], None] | None = None
        self._heads = Heads()
        self._unframed = False
        self._parts: list[bytes] = []
        self._left = 0
        self._later: list[bytes] = []
        self._owed = 0
        """Requests that aiohttp has not answered yet."""
        self._begun = False
        self._running: eager.Running | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over: read the certificate once for all requests."""
        certificate = transport.get_extra_info("peercert")
        if certificate:
            self.user = from_certificate(certificate, transport.get_extra_info("ssl_object").getpeercert(True))
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell whoever streams to this peer."""
        self._parts.clear()
        self._later.clear()
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
        if self._running is not None:
            self._running.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer: a whole request, the beginning of one, or anything else."""
        if self._begun or self._later:
            self._later.append(data)
            if self.transport is not None:
                self.transport.pause_reading()
        elif self._unframed or self._close or self._force_close or not data:
            # aiohttp calls this itself, without data, when it has room again.
            super().data_received(data)
        elif not self._parts:
            self._take(data)
        else:
            self._parts.append(data)
            self._left -= len(data)
            if self._left <= 0:
                data = b"".join(self._parts)
                self._parts.clear()
                self._take(data)

    def _take(self, data: bytes) -> None:
        """Bytes that begin a request."""
        again = self._heads.again(data)
        if again is not None and len(data) <= again[2] + BODY_LIMIT and not self._owed:
            head, start, body = again
            if self._plain(data, head, start, body):
                return
        found = frame(data)
        if found is None or len(data) > found.size or found.size > found.body + BODY_LIMIT:
            self._leave(data)
        elif len(data) == found.size:
            self._whole(data, found)
        elif self._heads.find(found.lines) is None and b"xpect" in found.lines:
            # The peer waits for a word before it sends the body.
            self._leave(data)
        else:
            self._parts.append(data)
            self._left = found.size - len(data)

    def _leave(self, data: bytes) -> None:
        """From now on aiohttp's parser finds the requests."""
        self._unframed = True
        super().data_received(data)

    def _whole(self, data: bytes, found: Frame) -> None:
        """Bytes that are one request."""
        head = self._heads.find(found.lines)
        if head is not None and not self._owed:
            self._heads.note(data, found, head)
            if self._plain(data, head, found.start, found.body):
                return
        before = len(self._messages)
        self._owed += 1
        super().data_received(data)
        if head is None and not self._learnt(found, before):
            self._unframed = True

    def _plain(self, data: bytes, head: Head, start: int, body: int) -> bool:
        """Serve a request if it is for a plain verb. start: of its header lines; body: of its body."""
        line = data[:start]
        target = known(line)
        if target is not None:
            self._serve(Whole("POST", target.path, head, data[body:], self), target)
            return True
        words = line.decode("latin-1").split(" ")
        if len(words) != 3 or words[2] != "HTTP/1.1" or not words[1].isascii() or not words[1].isprintable():
            return False
        target = parse(words[0], words[1])
        if target.kind is None or target.verb not in _PLAIN_VERBS or target.subresource not in _PLAIN_PARTS:
            return False
        if words[0] == "POST" and target.path == words[1]:
            remember(line, target)
        self._serve(Whole(words[0], words[1], head, data[body:], self), target)
        return True

    def _learnt(self, found: Frame, before: int) -> bool:
        """Whether the parser sees in these bytes the one request that framing sees."""
        if len(self._messages) != before + 1:
            return False
        message = self._messages[-1][0]
        return isinstance(message, RawRequestMessage) and self._heads.learn(found, message)

    async def finish_response(self, request: Any, resp: Any, start_time: float | None) -> Any:
        """Write aiohttp's answer: only then may another request be answered elsewhere."""
        finished = await super().finish_response(request, resp, start_time)
        self._owed -= 1
        return finished

    def _serve(self, request: Whole, target: Target) -> None:
        """Answer a request; in a task only if it has to wait for something."""
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self._begun = True
        self._running = eager.begin(self._answer(request, target), self._loop)
        if self._running is not None:
            self._request_in_progress = True

    async def _answer(self, request: Whole, target: Target) -> None:
        """Answer, and be ready for the next request at once: its bytes may be there before any callback."""
        assert self._request_handler is not None
        try:
            answer = await self._request_handler(request, target)  # type: ignore[call-arg]
            await answer.prepare(request)
        except ConnectionError:
            pass
        except asyncio.CancelledError:
            self.force_close()
            raise
        except Exception:
            log.exception("%s %s failed", request.method, target.path)
            self.force_close()
        finally:
            self._begun = False
            if self._request_in_progress:
                self._waited()

    def _waited(self) -> None:
        """A request that had to wait for something is answered."""
        self._running = None
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if self._close or self._force_close:
            # aiohttp's own task waits for a request that will not come.
            if self._waiter is not None:
                self._waiter.cancel()
        elif self._later and self.transport is not None:
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Take what came while a request was answered."""
        data = b"".join(self._later)
        self._later.clear()
        if self.transport is not None and data:
            self.transport.resume_reading()
            self.data_received(data)


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
