"""Metrics in Prometheus' text format."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from hawser.api import discovery, kinds
from hawser.apiserver.metrics import SENT, TERMINATING, Metrics, Requests
from hawser.store.base import Store
from hawser.store.timing import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_UNBOUNDED = "+Inf"


def render(metrics: Metrics, store: Store) -> bytes:
    """Everything the server counts."""
    parts = (_requests(metrics), _flights(metrics), _watches(), _storage(store), _process())
    lines = [line for part in parts for line in part]
    for extra in metrics.extra:
        lines += extra()
    return ("\n".join(lines) + "\n").encode()


def family(name: str, kind: str, text: str) -> str:
    """The head of a metric. kind: counter, gauge or histogram."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}"


def histogram(name: str, labels: str, values: Histogram, first: int = 0) -> Iterator[str]:
    """The lines of a histogram; first: its buckets start at this edge."""
    count = 0
    start = labels + "," if labels else ""
    for number, edge in enumerate((*values.edges, _UNBOUNDED)):
        count += values.buckets[number]
        if number >= first:
            text = edge if edge is _UNBOUNDED else f"{edge:g}"
            yield f'{name}_bucket{{{start}le="{text}"}} {count}'
    yield f"{name}_sum{{{labels}}} {values.total}"
    yield f"{name}_count{{{labels}}} {count}"


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
    for (group, version, plural), sent in SENT.items():
        yield f'{name}{{group="{group}",version="{version}",resource="{plural}"}} {sent.events}'


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


@lru_cache(maxsize=1)
def _ticks() -> tuple[float, float]:
    """Clock ticks a second, and when the machine booted."""
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return float(os.sysconf("SC_CLK_TCK")), float(boot.split()[1])


def _process() -> Iterator[str]:
    """The standard process metrics of Prometheus' client libraries, and what this server is."""
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    ticks, boot = _ticks()
    page = resource.getpagesize()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    values: tuple[tuple[str, str, float, str], ...] = (
        ("cpu_seconds_total", "counter", time.process_time(), "Total user and system CPU time spent in seconds."),
        ("resident_memory_bytes", "gauge", int(stat[21]) * page, "Resident memory size in bytes."),
        ("virtual_memory_bytes", "gauge", int(stat[20]), "Virtual memory size in bytes."),
        ("start_time_seconds", "gauge", boot + int(stat[19]) / ticks, "Start time since unix epoch in seconds."),
        ("open_fds", "gauge", sum(1 for _ in Path("/proc/self/fd").iterdir()), "Number of open file descriptors."),
        ("max_fds", "gauge", files, "Maximum number of open file descriptors."),
    )
    for name, kind, value, text in values:
        yield family(f"process_{name}", kind, text)
        yield f"process_{name} {value}"
    build = discovery.version_document()
    labels = {"git_version": "gitVersion", "git_commit": "gitCommit", "major": "major", "minor": "minor"}
    shown = ",".join(f'{label}="{build.get(key, "")}"' for label, key in labels.items())
    yield family("kubernetes_build_info", "gauge", "A metric with a constant '1' value labeled by version.")
    yield f"kubernetes_build_info{{{shown}}} 1"
