"""What kube-proxy tells about itself, told by the node agent: /healthz and /livez for load balancers, /metrics.

Names, ports and answers are kube-proxy's ("kube-proxy" command line reference, "Kubernetes Metrics Reference").
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus

from hawser.exposition import CONTENT_TYPE, Histogram, exponential, family, histogram
from hawser.node.network.plainhttp import NOT_FOUND, Answer, serve

log = logging.getLogger(__name__)

# Changes that wait longer than this make the proxy unhealthy: twice kube-proxy's sync period.
_TIMEOUT = 60.0
_SYNC = "kubeproxy_sync_proxy_rules"


class ProxyStatus:
    """Counts what the proxy does, and serves it."""

    def __init__(self, eligible: Callable[[], bool] = lambda: True) -> None:
        """eligible: whether the node may be sent traffic; one that is about to go may not."""
        self._eligible = eligible
        self._pending: float | None = None
        self._synced: float | None = None
        self._queued = 0.0
        self._services = self._endpoints = self._failures = 0
        self._seconds = Histogram(exponential(0.001, 2, 15))
        self._asked: Counter[tuple[str, int]] = Counter()
        self._servers: list[asyncio.Server] = []

    def changed(self, service: bool) -> None:
        """A Service (or else an EndpointSlice) changed."""
        if service:
            self._services += 1
        else:
            self._endpoints += 1
        self._queued = time.time()
        if self._pending is None:
            self._pending = time.monotonic()

    def applied(self, seconds: float) -> None:
        """Everything that is known is in the kernel; seconds: how long that took."""
        self._seconds.observe(seconds)
        self._synced, self._pending = time.time(), None

    def failed(self) -> None:
        """The kernel refused a change."""
        self._failures += 1

    async def start(self, health: str, metrics: str) -> None:
        """Listen at two addresses (HOST:PORT, "" for none); one that is taken is left to whoever has it."""
        for listen, answer in ((health, self._healthy), (metrics, self._tell)):
            host, _, port = listen.rpartition(":")
            if not port.isdigit():
                continue
            try:
                self._servers.append(await serve(host.strip("[]") or None, int(port), answer))
            except OSError as error:
                log.info("nothing is served at %s: %s", listen, error)

    def close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    @property
    def healthy(self) -> bool:
        """Whether changes reach the kernel in time."""
        return self._pending is None or time.monotonic() - self._pending < _TIMEOUT

    def _healthy(self, path: str) -> Answer:
        if path not in ("/healthz", "/livez"):
            return NOT_FOUND
        eligible, now = self._eligible(), _stamp(time.time())
        well = self.healthy and (eligible or path == "/livez")
        told: dict[str, object] = {"lastUpdated": now if well else _stamp(self._synced), "currentTime": now}
        if path == "/healthz":
            told["nodeEligible"] = eligible
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        self._asked[path[1:], status.value] += 1
        return Answer(json.dumps(told), status)

    def _tell(self, path: str) -> Answer:
        match path:
            case "/metrics":
                return Answer(self.metrics(), type=CONTENT_TYPE)
            case "/proxyMode":
                return Answer("nftables", type="text/plain; charset=utf-8")
            case "/healthz":
                return Answer("ok", type="text/plain; charset=utf-8")
        return NOT_FOUND

    def metrics(self) -> str:
        """Everything in Prometheus' text format."""
        lines = [family(f"{_SYNC}_duration_seconds", "histogram", "SyncProxyRules latency in seconds")]
        lines += histogram(f"{_SYNC}_duration_seconds", "", self._seconds)
        rows: list[tuple[str, str, str, float]] = [
            (
                "last_timestamp_seconds",
                "gauge",
                "The last time proxy rules were successfully synced",
                self._synced or 0,
            ),
            ("last_queued_timestamp_seconds", "gauge", "The last time a sync of proxy rules was queued", self._queued),
            ("endpoint_changes_total", "counter", "Cumulative proxy rules Endpoint changes", self._endpoints),
            ("service_changes_total", "counter", "Cumulative proxy rules Service changes", self._services),
            ("nftables_sync_failures_total", "counter", "Cumulative proxy nftables sync failures", self._failures),
        ]
        for name, kind, text, value in rows:
            lines += [family(f"{_SYNC}_{name}", kind, text), f"{_SYNC}_{name} {value}"]
        for name in ("healthz", "livez"):
            lines.append(family(f"kubeproxy_proxy_{name}_total", "counter", f"Cumulative proxy {name} HTTP status"))
            asked = sorted((code, count) for (path, code), count in self._asked.items() if path == name)
            lines += [f'kubeproxy_proxy_{name}_total{{code="{code}"}} {count}' for code, count in asked]
        return "\n".join(lines) + "\n"


def _stamp(moment: float | None) -> str:
    return datetime.fromtimestamp(moment or 0, UTC).isoformat().replace("+00:00", "Z")
