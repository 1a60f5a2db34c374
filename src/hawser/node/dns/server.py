"""Listens for questions over UDP and TCP, and for scrapes of the metrics over HTTP.

Source: RFC 1035, RFC 7766 (several questions on one TCP connection).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time

from hawser.node.dns import wire
from hawser.node.dns.metrics import Metrics
from hawser.node.dns.resolver import Resolver
from hawser.node.dns.wire import FormatError, Query

log = logging.getLogger(__name__)

PORT = 53
METRICS_PORT = 9153
_IDLE_SECONDS = 10.0
_MOST_CONNECTIONS = 250
_MOST_WAITING = 2000
_RETRY_SECONDS = 5.0

Peer = tuple[str | object, int]


class Server:
    """Answers at one address. zone: the own domain, for the metrics.

    port, metrics_port: where it listens, 0 before it does.
    """

    def __init__(self, resolver: Resolver, metrics: Metrics, zone: str) -> None:
        self._resolver = resolver
        self._metrics = metrics
        self._zone = f"{zone}."
        self._suffix = wire.folded(wire.name_of(zone))
        self._waiting: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.metrics_port = 0

    async def run(self, address: str, port: int = PORT, metrics_port: int = METRICS_PORT) -> None:
        """Serves until cancelled; a port that is taken is tried again until it is free."""
        transport = servers = None
        try:
            transport, servers = await self._listen(address, port, metrics_port)
            await asyncio.Event().wait()
        finally:
            if transport is not None:
                transport.close()
            for server in servers or ():
                server.close()
            for writer in list(self._connections):
                writer.transport.abort()
            for task in self._waiting:
                task.cancel()
            self._resolver.close()

    async def _listen(
        self, address: str, port: int, metrics_port: int
    ) -> tuple[asyncio.BaseTransport, list[asyncio.Server]]:
        told = False
        while True:
            opened = None
            try:
                opened = await asyncio.start_server(self._serve, address, port)
                self.port = opened.sockets[0].getsockname()[1]
                transport = await self._open_udp(address, self.port)
                break
            except OSError as error:
                if opened is not None:
                    opened.close()
                if not told:
                    log.error("pods have no DNS until this node can listen at %s port %d: %s", address, port, error)
                told = True
                await asyncio.sleep(_RETRY_SECONDS)
        servers = [opened]
        try:
            servers.append(await asyncio.start_server(self._scrape, address, metrics_port))
            self.metrics_port = servers[1].sockets[0].getsockname()[1]
        except OSError as error:
            log.warning("there are no metrics of the DNS server at %s port %d: %s", address, metrics_port, error)
        return transport, servers

    async def _open_udp(self, address: str, port: int) -> asyncio.BaseTransport:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            # Beside a resolver of the machine that listens on every address; the more specific socket is asked.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            opened.bind((address, port))
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=opened)
        except BaseException:
            opened.close()
            raise
        return transport

    # One question

    def answer(self, data: bytes, udp: bool) -> bytes | Query | None:
        """The answer; the question when others are to be asked; None when there is nothing to say."""
        started = time.perf_counter()
        try:
            query = wire.read_query(data)
        except FormatError:
            return wire.refused_format(data)
        reply = self._resolver.at_once(query, query.limit(udp))
        if reply is None:
            return query
        self._count(query, reply, udp, started)
        return reply

    async def answer_later(self, query: Query, udp: bool) -> bytes:
        """The answer to what ``answer`` returned."""
        started = time.perf_counter()
        try:
            reply = await self._resolver.after_asking(query, query.limit(udp))
        except Exception:
            log.exception("no answer about %s", wire.text_of(query.name))
            reply = wire.respond(query, wire.Rcode.SERVFAIL)
        self._count(query, reply, udp, started)
        return reply

    def _count(self, query: Query, reply: bytes, udp: bool, started: float) -> None:
        own = wire.folded(query.name)[-len(self._suffix) :] == self._suffix
        seconds = time.perf_counter() - started
        zone = self._zone if own else "."
        self._metrics.answered("udp" if udp else "tcp", query.type, zone, reply[3] & 0xF, seconds)

    def asked_by_datagram(self, transport: asyncio.DatagramTransport, data: bytes, peer: Peer) -> None:
        """Answers a datagram, now or once others have been asked."""
        found = self.answer(data, udp=True)
        if isinstance(found, bytes):
            transport.sendto(found, peer)
        elif found is not None:
            if len(self._waiting) >= _MOST_WAITING:
                transport.sendto(wire.respond(found, wire.Rcode.SERVFAIL), peer)
                return
            task = asyncio.create_task(self._send_later(transport, found, peer), name="dns answer")
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _send_later(self, transport: asyncio.DatagramTransport, query: Query, peer: Peer) -> None:
        reply = await self.answer_later(query, udp=True)
        if not transport.is_closing():
            transport.sendto(reply, peer)

    # TCP

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _MOST_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(writer)
        try:
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    data = await reader.readexactly(size)
                found = self.answer(data, udp=False)
                if isinstance(found, Query):
                    found = await self.answer_later(found, udp=False)
                if found is None:
                    return
                writer.write(len(found).to_bytes(2, "big") + found)
                async with asyncio.timeout(_IDLE_SECONDS):
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return  # TimeoutError is one, too: an idle connection is closed.
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _scrape(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                request = await reader.readuntil(b"\r\n\r\n")
                found = request.startswith((b"GET /metrics ", b"HEAD /metrics "))
                body = self._metrics.text().encode() if found else b"404 page not found\n"
                status = b"200 OK" if found else b"404 Not Found"
                kind = b"text/plain; version=0.0.4; charset=utf-8"
                head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
                writer.write(head % (status, kind, len(body)))
                if not request.startswith(b"HEAD"):
                    writer.write(body)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Peer) -> None:
        try:
            self._server.asked_by_datagram(self._transport, data, addr)
        except Exception:
            # One question's mistake must not cost the others their answers.
            log.exception("a question was not answered")
