"""The server's own metrics, in Prometheus' text format.

Names and labels follow Kubernetes' metrics reference where it has them, so that its dashboards work.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from hawser.api import kinds
from hawser.store.base import Store

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (
    0.005,
    0.025,
    0.05,
    0.1,
    0.2,
    0.4,
    0.6,
    0.8,
    1.0,
    1.25,
    1.5,
    2.0,
    3.0,
    4.0,
    5.0,
    6.0,
    8.0,
    10.0,
    15.0,
    20.0,
    30.0,
    45.0,
    60.0,
)
_Key = tuple[str, str, str, str]


class _Histogram:
    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BUCKETS) + 1)
        self.total = 0.0


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self._requests: dict[tuple[_Key, int], int] = {}
        self._durations: dict[_Key, _Histogram] = {}

    def request(self, verb: str, group: str, resource: str, subresource: str, code: int, seconds: float) -> None:
        """Count one answered request; watches have no duration (seconds < 0)."""
        key = (verb, group, resource, subresource)
        counted = (key, code)
        self._requests[counted] = self._requests.get(counted, 0) + 1
        if seconds < 0:
            return
        histogram = self._durations.get(key)
        if histogram is None:
            histogram = self._durations[key] = _Histogram()
        histogram.buckets[bisect_left(_BUCKETS, seconds)] += 1
        histogram.total += seconds

    def render(self, store: Store) -> bytes:
        """Everything as text."""
        return ("\n".join([*self._counters(), *self._histograms(), *_objects(store)]) + "\n").encode()

    def _counters(self) -> Iterable[str]:
        yield "# HELP apiserver_request_total Counter of API requests by verb, group, resource, subresource and code."
        yield "# TYPE apiserver_request_total counter"
        for (key, code), count in self._requests.items():
            yield f'apiserver_request_total{{{_labels(key)},code="{code}"}} {count}'

    def _histograms(self) -> Iterable[str]:
        name = "apiserver_request_duration_seconds"
        yield f"# HELP {name} Response latency in seconds by verb, group, resource and subresource."
        yield f"# TYPE {name} histogram"
        for key, histogram in self._durations.items():
            labels = _labels(key)
            count = 0
            for edge, number in zip((*_BUCKETS, "+Inf"), histogram.buckets, strict=True):
                count += number
                yield f'{name}_bucket{{{labels},le="{edge}"}} {count}'
            yield f"{name}_sum{{{labels}}} {histogram.total}"
            yield f"{name}_count{{{labels}}} {count}"


def _labels(key: _Key) -> str:
    verb, group, resource, subresource = key
    return f'verb="{verb.upper()}",group="{group}",resource="{resource}",subresource="{subresource}"'


def _objects(store: Store) -> Iterable[str]:
    yield "# HELP apiserver_storage_objects Number of stored objects by resource."
    yield "# TYPE apiserver_storage_objects gauge"
    for kind in kinds.watched():
        name = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
        count = store.count(f"{kind.group or 'core'}/{kind.plural}/")
        yield f'apiserver_storage_objects{{resource="{name}"}} {count}'
    yield "# HELP apiserver_storage_revision The newest committed revision."
    yield "# TYPE apiserver_storage_revision gauge"
    yield f"apiserver_storage_revision {store.revision}"
