"""What load balancers ask a node: whether it has endpoints of a Service whose external traffic stays on the node.

Source: API reference, ServiceSpec.healthCheckNodePort; kube-proxy's answers, which balancers parse.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

_SECONDS = 10.0
_LONGEST = 16384

Refused = Callable[[str, int, OSError], None]


class HealthChecks:
    """A listener a Service with a health check port. refused: told of ports that cannot be listened on."""

    def __init__(self, refused: Refused = lambda _key, _port, _error: None) -> None:
        self._refused = refused
        self._open: dict[str, tuple[int, asyncio.Server]] = {}
        self._counts: dict[str, int] = {}

    async def sync(self, wanted: Mapping[str, tuple[int, int]]) -> None:
        """Listen for exactly these. wanted: port and number of ready endpoints on the node, by Service key."""
        for key, (port, server) in list(self._open.items()):
            if key not in wanted or wanted[key][0] != port:
                server.close()
                del self._open[key]
        self._counts = {key: count for key, (_, count) in wanted.items()}
        for key, (port, _) in wanted.items():
            if key in self._open:
                continue
            try:
                self._open[key] = port, await self._listen(key, port)
            except OSError as error:
                log.error("the health check of Service %s cannot be served at port %d: %s", key, port, error)
                self._refused(key, port, error)

    def close(self) -> None:
        """Stop listening."""
        for _, server in self._open.values():
            server.close()
        self._open.clear()

    async def _listen(self, key: str, port: int) -> asyncio.Server:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(_SECONDS):
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(key))
                    await writer.drain()
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass
            finally:
                writer.close()

        return await asyncio.start_server(answer, None, port, limit=_LONGEST)

    def _answer(self, key: str) -> bytes:
        count = self._counts.get(key, 0)
        namespace, _, name = key.partition("/")
        body = json.dumps(
            {
                "service": {"namespace": namespace, "name": name},
                "localEndpoints": count,
                "serviceProxyHealthy": True,
            },
            indent="\t",
        )
        status = "200 OK" if count else "503 Service Unavailable"
        return (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
            f"X-Load-Balancing-Endpoint-Weight: {count}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            f"{body}"
        ).encode()
