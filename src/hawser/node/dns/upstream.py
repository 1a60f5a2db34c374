"""Asks other name servers: over UDP, over TCP what does not fit, the next server when one does not answer.

Source: RFC 1035, RFC 5452 (a port and a number by chance for every question), RFC 7766 (TCP), resolv.conf(5).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence

from hawser.node.dns import replies
from hawser.node.dns.replies import Reply
from hawser.node.dns.wire import FormatError, Query, Rcode

Server = tuple[str, int]

_UDP_SECONDS = 2.0
_TCP_SECONDS = 3.0
# A resolver of a pod asks again after 5 s (resolv.conf(5), timeout): it should have been told by then.
_ALL_SECONDS = 4.5
_NEXT = (Rcode.SERVFAIL, Rcode.NOTIMP, Rcode.REFUSED)


class Upstream:
    """Asks servers in turn. servers: those to be asked now, the preferred first."""

    def __init__(self, servers: Callable[[], Sequence[Server]]) -> None:
        self._servers = servers

    async def ask(self, query: Query) -> Reply | None:
        """The answer; None when no server gives one."""
        last: Reply | None = None
        try:
            async with asyncio.timeout(_ALL_SECONDS):
                for server in self._servers():
                    try:
                        reply = await self._ask(server, query)
                    except (OSError, FormatError, asyncio.IncompleteReadError):
                        continue
                    last = reply
                    if reply.rcode not in _NEXT:
                        break
        except TimeoutError:
            pass
        return last

    async def _ask(self, server: Server, query: Query) -> Reply:
        """Raises OSError (TimeoutError is one), FormatError or IncompleteReadError."""
        number = secrets.randbelow(1 << 16)
        loop = asyncio.get_running_loop()
        transport, exchange = await loop.create_datagram_endpoint(lambda: _Exchange(query, number), remote_addr=server)
        try:
            transport.sendto(replies.ask(query, number))
            async with asyncio.timeout(_UDP_SECONDS):
                reply = await exchange.reply
        finally:
            transport.close()
        return await self._ask_tcp(server, query) if reply.truncated else reply

    async def _ask_tcp(self, server: Server, query: Query) -> Reply:
        number = secrets.randbelow(1 << 16)
        async with asyncio.timeout(_TCP_SECONDS):
            reader, writer = await asyncio.open_connection(*server)
            try:
                message = replies.ask(query, number)
                writer.write(len(message).to_bytes(2, "big") + message)
                size = int.from_bytes(await reader.readexactly(2), "big")
                return replies.read(await reader.readexactly(size), query, number)
            finally:
                writer.close()


class _Exchange(asyncio.DatagramProtocol):
    """One question over UDP; what is no answer to it is not listened to."""

    def __init__(self, query: Query, number: int) -> None:
        self._query = query
        self._number = number
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        if self.reply.done():
            return
        try:
            self.reply.set_result(replies.read(data, self._query, self._number))
        except FormatError:
            return

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)
