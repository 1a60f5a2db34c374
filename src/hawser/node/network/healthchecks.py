"""What load balancers ask a node: whether it has endpoints of a Service whose external traffic stays on the node.

Source: API reference, ServiceSpec.healthCheckNodePort; kube-proxy's answers, which balancers parse.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus

from hawser.node.network.plainhttp import Answer, serve

log = logging.getLogger(__name__)

Refused = Callable[[str, int, OSError], None]


class HealthChecks:
    """A listener a Service with a health check port.

    refused: told of ports that cannot be listened on. healthy: whether the proxy is.
    """

    def __init__(
        self, refused: Refused = lambda _key, _port, _error: None, healthy: Callable[[], bool] = lambda: True
    ) -> None:
        self._refused = refused
        self._healthy = healthy
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
        return await serve(None, port, lambda _path: self._answer(key))

    def _answer(self, key: str) -> Answer:
        count, healthy = self._counts.get(key, 0), self._healthy()
        namespace, _, name = key.partition("/")
        told = {
            "service": {"namespace": namespace, "name": name},
            "localEndpoints": count,
            "serviceProxyHealthy": healthy,
        }
        status = HTTPStatus.OK if count and healthy else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(
            json.dumps(told, indent="\t"), status, headers=(("X-Load-Balancing-Endpoint-Weight", str(count)),)
        )
