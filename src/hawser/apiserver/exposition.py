"""Metrics in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hawser.api import discovery, kinds
from hawser.apiserver.metrics import SENT, TERMINATING, Metrics, Requests
from hawser.exposition import CONTENT_TYPE, build_info, family, histogram, process
from hawser.store.base import Store

__all__ = ["CONTENT_TYPE", "family", "histogram", "render"]


def render(metrics: Metrics, store: Store) -> bytes:
    """Everything the server counts."""
    parts = (_requests(metrics), _flights(metrics), _watches(), _storage(store))
    lines = [line for part in (*parts, process(), build_info(discovery.version_document())) for line in part]
    for extra in metrics.extra:
        lines += extra()
    return ("\n".join(lines) + "\n").encode()


def _requests(metrics: Metrics) -> Iterator[str]:
    series = list(metrics.requests.values())
    name = "apiserver_request_total"
    yield family(name, "counter", "Counter of apiserver requests broken out for each verb, resource and HTTP code.")
    for requests in series:
        for code, count in requests.codes.items():
            if code:
                yield f'{name}{{{requests.labels},code="{code}"}} {count}'
    name = "apiserver_request_terminations_total"
    yield family(name, "counter", "Number of requests which apiserver terminated in self-defense.")
    for requests in series:
        for code in TERMINATING:
            if code in requests.codes:
                yield f'{name}{{{requests.labels},code="{code}"}} {requests.codes[code]}'
    yield from _aborted(series)
    # Durations without the time of webhooks would need that time; edges below 50 ms are not part of the second.
    yield from _histograms("apiserver_request_duration_seconds", "Response latency distribution in seconds.", series)
    text = "Response latency distribution in seconds, for service level indicators."
    yield from _histograms("apiserver_request_sli_duration_seconds", text, series, first=2)
    name = "apiserver_response_sizes"
    yield family(name, "histogram", "Response size distribution in bytes.")
    for requests in series:
        if requests.sizes is not None:
            yield from histogram(name, requests.labels, requests.sizes)


def _aborted(series: list[Requests]) -> Iterator[str]:
    name = "apiserver_request_aborts_total"
    yield family(name, "counter", "Number of requests which apiserver aborted possibly due to a timeout.")
    for requests in series:
        if 0 in requests.codes:
            yield f"{name}{{{requests.labels}}} {requests.codes[0]}"


def _histograms(name: str, text: str, series: Iterable[Requests], first: int = 0) -> Iterator[str]:
    yield family(name, "histogram", text)
    for requests in series:
        if any(requests.durations.buckets):
            yield from histogram(name, requests.labels, requests.durations, first)


def _flights(metrics: Metrics) -> Iterator[str]:
    name = "apiserver_current_inflight_requests"
    yield family(name, "gauge", "Currently used inflight request limit of this apiserver per request kind.")
    for flight in ("mutating", "readOnly"):
        running = sum(requests.running for requests in metrics.requests.values() if requests.flight == flight)
        yield f'{name}{{request_kind="{flight}"}} {running}'
    name = "apiserver_longrunning_requests"
    yield family(name, "gauge", "Gauge of all active long-running apiserver requests.")
    for requests in metrics.requests.values():
        if requests.running and not requests.flight:
            yield f"{name}{{{requests.labels}}} {requests.running}"


def _watches() -> Iterator[str]:
    name = "apiserver_watch_events_total"
    yield family(name, "counter", "Number of events sent in watch clients.")
    known = [(f'group="{g}",version="{v}",resource="{r}"', sent) for (g, v, r), sent in SENT.items() if sent.events]
    yield from (f"{name}{{{labels}}} {sent.events}" for labels, sent in known)
    name = "apiserver_watch_events_sizes"
    yield family(name, "histogram", "Watch event size distribution in bytes.")
    for labels, sent in known:
        yield from histogram(name, labels, sent.sizes)


def _storage(store: Store) -> Iterator[str]:
    counts = []
    for kind in kinds.watched():
        full = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
        counts.append((kind, full, store.count(f"{kind.group or 'core'}/{kind.plural}/")))
    name = "apiserver_storage_objects"
    yield family(name, "gauge", "Number of stored objects at the time of last check split by kind.")
    yield from (f'{name}{{resource="{full}"}} {count}' for _, full, count in counts)
    name = "apiserver_resource_objects"
    yield family(name, "gauge", "Number of stored objects at the time of last check split by kind.")
    yield from (f'{name}{{group="{kind.group}",resource="{kind.plural}"}} {count}' for kind, _, count in counts)
    name = "apiserver_storage_size_bytes"
    yield family(name, "gauge", "Size of the storage database file physically allocated in bytes.")
    yield f'{name}{{storage_cluster_id="hawser"}} {store.size()}'
    name = "apiserver_storage_revision"
    yield family(name, "gauge", "The newest committed revision.")
    yield f"{name} {store.revision}"
    name = "etcd_request_duration_seconds"
    yield family(name, "histogram", "Time of a group commit to the store, waiting for the disk included.")
    yield from histogram(name, 'operation="txn",type="store"', store.commits)
