"""What a client counts of its requests, in Prometheus' text format.

Names, labels, buckets and helps are those of client-go's metrics (k8s.io/component-base/metrics/prometheus/restclient).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hawser.exposition import Histogram, family, histogram, labels

_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_BYTES = tuple(map(float, (64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)))
_MEASURES = (
    ("request_duration_seconds", "Request latency in seconds. Broken down by verb, and host."),
    ("request_size_bytes", "Request size in bytes. Broken down by verb and host."),
    ("response_size_bytes", "Response size in bytes. Broken down by verb and host."),
)


class Traffic:
    """The requests of one client. answers: by method and code, 0 for none. retries: by code and method."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.retries: Counter[tuple[int, str]] = Counter()
        self._measures: dict[str, tuple[Histogram, Histogram, Histogram]] = {}

    def measured(self, method: str, seconds: float, sent: int, received: int) -> None:
        """One request that was answered; sent and received: bytes of the bodies."""
        measures = self._measures.get(method)
        if measures is None:
            measures = self._measures[method] = Histogram(_SECONDS), Histogram(_BYTES), Histogram(_BYTES)
        measures[0].observe(seconds)
        measures[1].observe(sent)
        measures[2].observe(received)

    def lines(self, host: str) -> Iterator[str]:
        """All of it. host: the server's, with its port."""
        for number, (measure, text) in enumerate(_MEASURES):
            if self._measures:
                yield family(f"rest_client_{measure}", "histogram", text)
            for method, measures in self._measures.items():
                shown = labels({"host": host, "verb": method})
                yield from histogram(f"rest_client_{measure}", shown, measures[number])
        name = "rest_client_requests_total"
        yield family(name, "counter", "Number of HTTP requests, partitioned by status code, method, and host.")
        for (method, code), count in self.answers.items():
            shown = labels({"code": str(code) if code else "<error>", "host": host, "method": method})
            yield f"{name}{{{shown}}} {count}"
        name = "rest_client_request_retries_total"
        if self.retries:
            yield family(name, "counter", "Number of request retries, partitioned by status code, verb, and host.")
        for (code, method), count in self.retries.items():
            yield f"{name}{{{labels({'code': str(code), 'host': host, 'verb': method})}}} {count}"
