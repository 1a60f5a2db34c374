"""``/metrics/cadvisor``: everything that cgroups tell of node, pods and containers.

Source: cAdvisor documentation, "Monitoring cAdvisor with Prometheus"; labels as the kubelet gives them.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hawser.exposition import family, labels
from hawser.node.cri.model import Container
from hawser.node.metrics.resource import NANO
from hawser.node.stats.cgroup import Cpu, Memory
from hawser.node.stats.disk import Disk
from hawser.node.stats.interfaces import Interface
from hawser.node.stats.model import Group, PodUse, Snapshot

_PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Row:
    """One cgroup with its labels. started: seconds since the epoch, 0 when unknown."""

    names: str
    group: Group
    started: float = 0
    disk: Disk | None = None
    network: tuple[Interface, ...] = ()


class Metric(NamedTuple):
    """One number of each cgroup: how it is called, and where it is found; None for none."""

    name: str
    kind: str
    text: str
    value: Callable[[Row], float | None]


def _cpu(pick: Callable[[Cpu], float]) -> Callable[[Row], float | None]:
    return lambda row: None if row.group.cpu is None else pick(row.group.cpu)


def _limited(pick: Callable[[Cpu], float]) -> Callable[[Row], float | None]:
    """Only of cgroups with a quota."""
    return lambda row: None if row.group.cpu is None or _setting(row, "quota") <= 0 else pick(row.group.cpu)


def _memory(pick: Callable[[Memory], float | None]) -> Callable[[Row], float | None]:
    return lambda row: None if row.group.memory is None else pick(row.group.memory)


def _disk(pick: Callable[[Disk], float]) -> Callable[[Row], float | None]:
    return lambda row: None if row.disk is None else pick(row.disk)


def _setting(row: Row, name: str) -> int:
    return row.group.usage.settings.get(name, 0)


def _set(name: str) -> Callable[[Row], float | None]:
    return lambda row: _setting(row, name) if _setting(row, name) > 0 else None


_METRICS = (
    Metric(
        *("container_cpu_cfs_periods_total", "counter", "Number of elapsed enforcement period intervals."),
        _limited(lambda cpu: cpu.periods),
    ),
    Metric(
        *("container_cpu_cfs_throttled_periods_total", "counter", "Number of throttled period intervals."),
        _limited(lambda cpu: cpu.throttled_periods),
    ),
    Metric(
        *(
            "container_cpu_cfs_throttled_seconds_total",
            "counter",
            "Total time duration the container has been throttled.",
        ),
        _limited(lambda cpu: cpu.throttled * NANO),
    ),
    Metric(
        *("container_cpu_system_seconds_total", "counter", "Cumulative system cpu time consumed in seconds."),
        _cpu(lambda cpu: cpu.system * NANO),
    ),
    Metric(
        *("container_cpu_user_seconds_total", "counter", "Cumulative user cpu time consumed in seconds."),
        _cpu(lambda cpu: cpu.user * NANO),
    ),
    Metric(
        *("container_memory_cache", "gauge", "Number of bytes of page cache memory."),
        _memory(lambda memory: memory.cache),
    ),
    Metric(
        *("container_memory_failcnt", "counter", "Number of memory usage hits limits"),
        _memory(lambda memory: memory.failures),
    ),
    Metric(
        *("container_memory_mapped_file", "gauge", "Size of memory mapped files in bytes."),
        _memory(lambda memory: memory.mapped),
    ),
    Metric(
        *("container_memory_max_usage_bytes", "gauge", "Maximum memory usage recorded in bytes"),
        _memory(lambda memory: memory.peak),
    ),
    Metric(*("container_memory_rss", "gauge", "Size of RSS in bytes."), _memory(lambda memory: memory.rss)),
    Metric(*("container_memory_swap", "gauge", "Container swap usage in bytes."), _memory(lambda memory: memory.swap)),
    Metric(
        *("container_memory_total_active_file_bytes", "gauge", "Current total active file in bytes."),
        _memory(lambda memory: memory.active_file),
    ),
    Metric(
        *("container_memory_total_inactive_file_bytes", "gauge", "Current total inactive file in bytes."),
        _memory(lambda memory: memory.inactive_file),
    ),
    Metric(
        *(
            "container_memory_usage_bytes",
            "gauge",
            "Current memory usage in bytes, including all memory regardless of when it was accessed",
        ),
        _memory(lambda memory: memory.usage),
    ),
    Metric(
        *("container_memory_working_set_bytes", "gauge", "Current working set in bytes."),
        _memory(lambda memory: memory.working_set),
    ),
    Metric(
        *("container_oom_events_total", "counter", "Count of out of memory events observed for the container"),
        _memory(lambda memory: memory.oom_kills),
    ),
    Metric(
        *("container_processes", "gauge", "Number of processes running inside the container."),
        lambda row: row.group.usage.processes,
    ),
    Metric(
        *(
            "container_threads_max",
            "gauge",
            "Maximum number of threads allowed inside the container, infinity if value is zero",
        ),
        lambda row: row.group.usage.threads_limit or 0,
    ),
    Metric(*("container_spec_cpu_period", "gauge", "CPU period of the container."), _set("period")),
    Metric(*("container_spec_cpu_quota", "gauge", "CPU quota of the container."), _set("quota")),
    Metric(*("container_spec_cpu_shares", "gauge", "CPU share of the container."), _set("shares")),
    Metric(
        *("container_spec_memory_limit_bytes", "gauge", "Memory limit for the container."),
        _memory(lambda memory: memory.limit or 0),
    ),
    Metric(
        *("container_spec_memory_reservation_limit_bytes", "gauge", "Memory reservation limit for the container."),
        _memory(lambda memory: 0),
    ),
    Metric(
        *("container_spec_memory_swap_limit_bytes", "gauge", "Memory swap limit for the container."),
        _memory(lambda memory: memory.swap_limit or 0),
    ),
    Metric(
        *("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds."),
        lambda row: row.started or None,
    ),
    Metric(
        *("container_last_seen", "gauge", "Last time a container was seen by the exporter"),
        lambda row: int(row.group.at),
    ),
)
_DISKS = (
    Metric(*("container_fs_inodes_free", "gauge", "Number of available Inodes"), _disk(lambda disk: disk.inodes_free)),
    Metric(*("container_fs_inodes_total", "gauge", "Number of Inodes"), _disk(lambda disk: disk.inodes)),
    Metric(
        *(
            "container_fs_limit_bytes",
            "gauge",
            "Number of bytes that can be consumed by the container on this filesystem.",
        ),
        _disk(lambda disk: disk.capacity),
    ),
    Metric(
        *(
            "container_fs_usage_bytes",
            "gauge",
            "Number of bytes that are consumed by the container on this filesystem.",
        ),
        _disk(lambda disk: disk.used),
    ),
)
_STALLS = (
    ("stalled", "full", "Total time duration tasks in the container have been stalled due to {} congestion"),
    ("waiting", "some", "Total time duration tasks in the container have waited due to {} congestion"),
)
_CONGESTED = {"cpu": "CPU", "io": "IO", "memory": "memory"}
_TRAFFIC = (
    ("receive_bytes", "Cumulative count of bytes received", "rx_bytes"),
    ("receive_errors", "Cumulative count of errors encountered while receiving", "rx_errors"),
    ("receive_packets_dropped", "Cumulative count of packets dropped while receiving", "rx_dropped"),
    ("receive_packets", "Cumulative count of packets received", "rx_packets"),
    ("transmit_bytes", "Cumulative count of bytes transmitted", "tx_bytes"),
    ("transmit_errors", "Cumulative count of errors encountered while transmitting", "tx_errors"),
    ("transmit_packets_dropped", "Cumulative count of packets dropped while transmitting", "tx_dropped"),
    ("transmit_packets", "Cumulative count of packets transmitted", "tx_packets"),
)
_IO = (
    ("container_fs_reads_bytes_total", "Cumulative count of bytes read", "Read", True),
    ("container_fs_writes_bytes_total", "Cumulative count of bytes written", "Write", True),
    ("container_fs_reads_total", "Cumulative count of reads completed", "Read", False),
    ("container_fs_writes_total", "Cumulative count of writes completed", "Write", False),
)


def render(snapshot: Snapshot) -> Iterator[str]:
    """The lines of the page. snapshot: a full one."""
    rows = list(_rows(snapshot))
    yield family(
        "cadvisor_version_info", "gauge", "A metric with a constant '1' value labeled by kernel version, OS version."
    )
    yield f"cadvisor_version_info{{{labels({'kernelVersion': platform.release(), 'cadvisorVersion': ''})}}} 1"
    yield family(
        "container_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise"
    )
    yield "container_scrape_error 0"
    name = "container_cpu_usage_seconds_total"
    yield family(name, "counter", "Cumulative cpu time consumed in seconds.")
    for row in rows:
        if row.group.cpu is not None:
            yield f'{name}{{{row.names},cpu="total"}} {row.group.cpu.usage * NANO} {_stamp(row)}'
    for metric in _METRICS:
        yield from _plain(metric, rows)
    yield from _faults(rows)
    for metric in _DISKS:
        yield from _plain(metric, [row for row in rows if row.disk is not None], ',device=""')
    yield from _io(rows)
    for word, text, field in _TRAFFIC:
        name = f"container_network_{word}_total"
        yield family(name, "counter", text)
        for row in rows:
            for link in row.network:
                yield f'{name}{{{row.names},interface="{link.name}"}} {getattr(link, field)} {_stamp(row)}'
    yield from _pressure(rows)
    yield from _machine(snapshot)


def _pressure(rows: Iterable[Row]) -> Iterator[str]:
    """Only the unified hierarchy knows it."""
    known = [row for row in rows if row.group.usage.pressure]
    for resource in ("cpu", "io", "memory") if known else ():
        for word, who, text in _STALLS:
            name = f"container_pressure_{resource}_{word}_seconds_total"
            yield family(name, "counter", text.format(_CONGESTED[resource]))
            for row in known:
                stall = row.group.usage.pressure.get((resource, who))
                if stall is not None:
                    yield f"{name}{{{row.names}}} {stall.total / 1e6} {_stamp(row)}"


def _plain(metric: Metric, rows: Iterable[Row], more: str = "") -> Iterator[str]:
    yield family(metric.name, metric.kind, metric.text)
    for row in rows:
        value = metric.value(row)
        if value is not None:
            yield f"{metric.name}{{{row.names}{more}}} {value} {_stamp(row)}"


def _faults(rows: Iterable[Row]) -> Iterator[str]:
    name = "container_memory_failures_total"
    yield family(name, "counter", "Cumulative count of memory allocation failures.")
    for row in rows:
        if row.group.memory is None:
            continue
        for kind, count in (("pgfault", row.group.memory.faults), ("pgmajfault", row.group.memory.major_faults)):
            yield f'{name}{{{row.names},failure_type="{kind}",scope="hierarchy"}} {count} {_stamp(row)}'


def _io(rows: Iterable[Row]) -> Iterator[str]:
    for name, text, way, sizes in _IO:
        yield family(name, "counter", text)
        for row in rows:
            usage = row.group.usage
            for (device, word), count in (usage.io_bytes if sizes else usage.io_operations).items():
                if word == way:
                    yield f'{name}{{{row.names},device="{device}"}} {count} {_stamp(row)}'


def _machine(snapshot: Snapshot) -> Iterator[str]:
    node = snapshot.node
    cores = os.cpu_count() or 1
    values = (
        ("machine_cpu_cores", "Number of logical CPU cores.", cores),
        ("machine_memory_bytes", "Amount of memory installed on the machine.", node.memory_capacity),
        ("machine_swap_bytes", "Amount of swap memory available on the machine.", node.swap_capacity),
        ("machine_scrape_error", "1 if there was an error while getting machine metrics, 0 otherwise.", 0),
    )
    for name, text, value in values:
        yield family(name, "gauge", text)
        yield f"{name} {value}"


def _rows(snapshot: Snapshot) -> Iterator[Row]:
    node = snapshot.node
    yield Row(_labels("/"), node.group, node.started, node.disk, node.network)
    yield Row(_labels(node.pods.path), node.pods)
    for pod in snapshot.pods:
        where = {"namespace": pod.namespace, "pod": pod.name}
        yield Row(_labels(pod.group.path, where), pod.group)
        sandbox = pod.subject.sandbox
        if pod.sandbox is not None and sandbox is not None:
            names = _labels(pod.sandbox.path, where, image=_PAUSE, name=sandbox.id)
            yield Row(names, pod.sandbox, sandbox.created_at, network=pod.network)
        yield from _containers(pod, where)


def _containers(pod: PodUse, where: dict[str, str]) -> Iterator[Row]:
    for use in pod.containers:
        held: Container = use.container
        names = _labels(use.group.path, where, use.name, held.image or held.image_ref, held.id)
        yield Row(names, use.group, held.started_at or held.created_at, use.rootfs)


def _labels(
    path: str, where: dict[str, str] | None = None, container: str = "", image: str = "", name: str = ""
) -> str:
    where = where or {"namespace": "", "pod": ""}
    return labels({"container": container, "id": path, "image": image, "name": name, **where})


def _stamp(row: Row) -> int:
    return int((row.group.at or time.time()) * 1000)
