"""``/metrics`` and ``/metrics/probes``: what the agent does, under the kubelet's names.

Source: Kubernetes documentation, "Kubernetes Metrics Reference".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hawser.exposition import Histogram, build_info, family, histogram, labels, process
from hawser.node.cri.operations import Operations
from hawser.node.metrics.counters import Counters
from hawser.node.stats.model import PodUse


@dataclass(frozen=True, slots=True)
class State:
    """What there is now. containers: how many by state (created, running, exited, unknown)."""

    node: str
    build: Mapping[str, str]
    pods: int
    running_pods: int
    containers: Mapping[str, int]
    static_pods: int = 0


def render(state: State, counters: Counters, operations: Operations, pods: Iterable[PodUse]) -> Iterator[str]:
    """The lines of ``/metrics``. pods: with what their volumes hold."""
    yield from _gauge("kubelet_node_name", "The node's name. The count is always 1.", {f'node="{state.node}"': 1})
    yield from _gauge(
        "kubelet_running_pods", "Number of pods that have a running pod sandbox", {"": state.running_pods}
    )
    text = "Number of containers currently running"
    yield from _gauge(
        "kubelet_running_containers", text, {f'container_state="{k}"': v for k, v in state.containers.items()}
    )
    text = "The number of pods the kubelet is being instructed to run. static is true if the pod is not from the "
    text += "apiserver."
    desired = {'static=""': state.pods - state.static_pods, 'static="true"': state.static_pods}
    yield from _gauge("kubelet_desired_pods", text, desired)
    text = "The number of mirror pods the kubelet will try to create (one per admitted static pod)"
    yield from _gauge("kubelet_mirror_pods", text, {"": state.static_pods})
    yield from _starts(counters)
    yield from _operations(operations)
    yield from _relists(counters)
    name = "kubelet_evictions"
    yield family(name, "counter", "Cumulative number of pod evictions by eviction signal")
    yield from (f'{name}{{eviction_signal="{signal}"}} {count}' for signal, count in counters.evictions.items())
    name = "kubelet_eviction_stats_age_seconds"
    text = "Time between when stats are collected, and when pod is evicted based on those stats by eviction signal"
    yield family(name, "histogram", text)
    for signal, ages in counters.eviction_age.items():
        yield from histogram(name, f'eviction_signal="{signal}"', ages)
    name = "kubelet_image_garbage_collected_total"
    text = "Total number of images garbage collected by the kubelet, whether through disk usage or image age."
    yield family(name, "counter", text)
    yield from (f'{name}{{reason="{reason}"}} {count}' for reason, count in counters.images_collected.items())
    yield from _requests(counters)
    yield from _volumes(pods)
    yield from process()
    yield from build_info(state.build)


def render_probes(counters: Counters) -> Iterator[str]:
    """The lines of ``/metrics/probes``."""
    name = "prober_probe_total"
    text = "Cumulative number of a liveness, readiness or startup probe for a container by result."
    yield family(name, "counter", text)
    for (kind, result, container, pod, namespace, uid), count in counters.probes.items():
        shown = {"container": container, "namespace": namespace, "pod": pod, "pod_uid": uid, "probe_type": kind}
        yield f"{name}{{{labels({**shown, 'result': result})}}} {count}"
    name = "prober_probe_duration_seconds"
    yield family(name, "histogram", "Duration in seconds for a probe response.")
    for (kind, container, pod, namespace), seconds in counters.probe_seconds.items():
        shown = {"container": container, "namespace": namespace, "pod": pod, "probe_type": kind}
        yield from histogram(name, labels(shown), seconds)


def _gauge(name: str, text: str, values: Mapping[str, float]) -> Iterator[str]:
    yield family(name, "gauge", text)
    for shown, value in values.items():
        yield f"{name}{{{shown}}} {value}" if shown else f"{name} {value}"


def _counter(name: str, text: str, value: float) -> Iterator[str]:
    yield family(name, "counter", text)
    yield f"{name} {value}"


def _one(name: str, text: str, values: Histogram, shown: str = "") -> Iterator[str]:
    yield family(name, "histogram", text)
    yield from histogram(name, shown, values)


def _starts(counters: Counters) -> Iterator[str]:
    text = "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run"
    yield from _one("kubelet_pod_start_duration_seconds", text, counters.pod_start)
    text = (
        "Duration in seconds to start a pod, excluding time to pull images and run init containers, measured from pod "
        "creation timestamp to when all its containers are reported as started and observed via watch"
    )
    yield from _one("kubelet_pod_start_sli_duration_seconds", text, counters.pod_start_sli)
    yield from _counter("kubelet_started_pods_total", "Cumulative number of pods started", counters.pods_started)
    name = "kubelet_started_pods_errors_total"
    yield family(name, "counter", "Cumulative number of errors when starting pods")
    yield f"{name} {sum(counters.pods_failed.values())}"
    name = "kubelet_run_podsandbox_errors_total"
    yield family(name, "counter", "Cumulative number of the run_podsandbox operation errors by RuntimeClass.Handler.")
    yield from (f'{name}{{runtime_handler="{handler}"}} {n}' for handler, n in counters.pods_failed.items())
    name = "kubelet_started_containers_total"
    yield family(name, "counter", "Cumulative number of containers started")
    yield from (f'{name}{{container_type="{kind}"}} {count}' for kind, count in counters.started.items())
    name = "kubelet_started_containers_errors_total"
    yield family(name, "counter", "Cumulative number of errors when starting containers")
    for (kind, code), count in counters.start_failed.items():
        yield f'{name}{{code="{code}",container_type="{kind}"}} {count}'


def _operations(operations: Operations) -> Iterator[str]:
    rows = operations.named()
    name = "kubelet_runtime_operations_total"
    yield family(name, "counter", "Cumulative number of runtime operations by operation type.")
    yield from (f'{name}{{operation_type="{word}"}} {sum(row.durations.buckets)}' for word, row in rows)
    name = "kubelet_runtime_operations_errors_total"
    yield family(name, "counter", "Cumulative number of runtime operation errors by operation type.")
    yield from (f'{name}{{operation_type="{word}"}} {row.errors}' for word, row in rows if row.errors)
    name = "kubelet_runtime_operations_duration_seconds"
    yield family(name, "histogram", "Duration in seconds of runtime operations. Broken down by operation type.")
    for word, row in rows:
        yield from histogram(name, f'operation_type="{word}"', row.durations)
    name = "kubelet_run_podsandbox_duration_seconds"
    yield family(
        name, "histogram", "Duration in seconds of the run_podsandbox operations. Broken down by RuntimeClass.Handler."
    )
    for word, row in rows:
        if word == "run_podsandbox":
            yield from histogram(name, 'runtime_handler=""', row.durations)


def _relists(counters: Counters) -> Iterator[str]:
    text = "Duration in seconds for relisting pods in PLEG."
    yield from _one("kubelet_pleg_relist_duration_seconds", text, counters.relists)
    text = "Interval in seconds between relisting in PLEG."
    yield from _one("kubelet_pleg_relist_interval_seconds", text, counters.relist_intervals)
    text = "Timestamp in seconds when PLEG was last seen active."
    yield from _gauge("kubelet_pleg_last_seen_seconds", text, {"": counters.relisted_at})


def _requests(counters: Counters) -> Iterator[str]:
    name = "kubelet_http_requests_total"
    yield family(name, "counter", "Number of the http requests received since the server started")
    for key, count in counters.requests.items():
        yield f"{name}{{{_request(key)}}} {count}"
    name = "kubelet_http_requests_duration_seconds"
    yield family(name, "histogram", "Duration in seconds to serve http requests")
    for key, seconds in counters.request_seconds.items():
        yield from histogram(name, _request(key), seconds)


def _request(key: tuple[str, str, bool]) -> str:
    method, path, long_running = key
    shown = {"long_running": "true" if long_running else "false", "method": method, "path": path}
    return labels({**shown, "server_type": "readwrite"})


_VOLUME = (
    ("available_bytes", "Number of available bytes in the volume", "available"),
    ("capacity_bytes", "Capacity in bytes of the volume", "capacity"),
    ("inodes", "Maximum number of inodes in the volume", "inodes"),
    ("inodes_free", "Number of free inodes in the volume", "inodes_free"),
    ("inodes_used", "Number of used inodes in the volume", "inodes_used"),
    ("used_bytes", "Number of used bytes in the volume", "used"),
)


def _volumes(pods: Iterable[PodUse]) -> Iterator[str]:
    """Of volumes with a claim; two pods may share one."""
    found = {(pod.namespace, v.claim): v.disk for pod in pods for v in pod.volumes if v.claim}
    for word, text, field in _VOLUME:
        name = f"kubelet_volume_stats_{word}"
        yield family(name, "gauge", text)
        for (namespace, claim), disk in found.items():
            shown = labels({"namespace": namespace, "persistentvolumeclaim": claim})
            yield f"{name}{{{shown}}} {getattr(disk, field)}"
