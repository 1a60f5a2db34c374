"""What the process of controllers and scheduler counts, in Prometheus' text format.

Names, types and helps are those of Kubernetes' metrics reference, so that dashboards and alerts work. What a controller
counts of its own work is its own to tell (``Controller.exposed``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from hawser.client.controller import Controller
from hawser.client.transport import Transport
from hawser.client.workqueue import WorkQueue
from hawser.exposition import Histogram, build_info, family, gauge, histogram, process

_QUEUES = {
    "node-lifecycle-controller": "node_lifecycle_controller",
    "ttl-controller": "ttlcontroller",
    "taint-eviction-controller": "noexec_taint_pod",
    "pod-garbage-collector-controller": "orphaned_pods_nodes",
    "clusterrole-aggregation-controller": "ClusterRoleAggregator",
    "serviceaccount-token-controller": "serviceaccount_tokens_secret",
    "token-cleaner-controller": "token_cleaner",
    "bootstrap-signer-controller": "bootstrap_signer_queue",
    "root-ca-certificate-publisher-controller": "root_ca_cert_publisher",
    "certificatesigningrequest-signing-controller": "certificate",
    "garbage-collector-controller": "garbage_collector_attempt_to_delete",
    "replicationcontroller-controller": "replicationmanager",
    "ttl-after-finished-controller": "ttl_jobs_to_delete",
    "endpointslice-controller": "endpoint_slice",
    "endpoints-controller": "endpoint",
    "endpointslice-mirroring-controller": "endpoint_slice_mirroring",
    "service-lb-controller": "service",
    "horizontal-pod-autoscaler-controller": "horizontalpodautoscaler",
    "resourceclaim-controller": "resource_claim",
    "resourcequota-controller": "resourcequota_primary",
    "persistentvolume-binder-controller": "claims",
    "persistentvolume-expander-controller": "volume_expand",
    "ephemeral-volume-controller": "ephemeral_volume",
    "persistentvolumeclaim-protection-controller": "pvcprotection",
    "persistentvolume-protection-controller": "pvprotection",
    "volumeattributesclass-protection-controller": "vacprotection",
}
"""Kubernetes' names of queues where they are not the controller's without "-controller"."""

_COUNTERS: tuple[tuple[str, str, Callable[[WorkQueue], int]], ...] = (
    ("adds_total", "Total number of adds handled by workqueue", lambda queue: queue.adds),
    ("retries_total", "Total number of retries handled by workqueue", lambda queue: queue.retries),
)
_UNFINISHED = (
    "How many seconds of work has done that is in progress and hasn't been observed by work_duration. Large values "
    "indicate stuck threads. One can deduce the number of stuck threads by observing the rate at which this increases."
)
_GAUGES: tuple[tuple[str, str, Callable[[WorkQueue], float]], ...] = (
    ("depth", "Current depth of workqueue", len),
    (
        "unfinished_work_seconds",
        _UNFINISHED,
        lambda queue: sum(queue.running()),
    ),
    (
        "longest_running_processor_seconds",
        "How many seconds has the longest running processor for workqueue been running.",
        lambda queue: max(queue.running(), default=0.0),
    ),
)
_HISTOGRAMS: tuple[tuple[str, str, Callable[[WorkQueue], Histogram]], ...] = (
    (
        "queue_duration_seconds",
        "How long in seconds an item stays in workqueue before being requested.",
        lambda queue: queue.waited,
    ),
    (
        "work_duration_seconds",
        "How long in seconds processing an item from workqueue takes.",
        lambda queue: queue.worked,
    ),
)


def lines(client: Transport, controllers: Sequence[Controller], leases: Mapping[str, bool]) -> Iterator[str]:
    """Everything that is counted. leases: whether this process holds each that it is a candidate for."""
    from hawser.api import discovery

    yield from _queues({_queue_name(c.name): c.queue for c in controllers if c.workers})
    yield from client.traffic.lines(urlsplit(client.server).netloc)
    text = "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master."
    held: dict[tuple[str, ...], float] = {(name,): float(holds) for name, holds in leases.items()}
    yield from gauge("leader_election_master_status", text, held, ("name",))
    for controller in controllers:
        yield from controller.exposed()
    yield from process()
    yield from build_info(discovery.version_document())


def _queue_name(controller: str) -> str:
    return _QUEUES.get(controller) or controller.removesuffix("-controller").replace("-", "_")


def _queues(queues: Mapping[str, WorkQueue]) -> Iterable[str]:
    for name, text, count in _COUNTERS:
        yield family(f"workqueue_{name}", "counter", text)
        for label, queue in queues.items():
            yield f'workqueue_{name}{{name="{label}"}} {count(queue)}'
    for name, text, measure in _GAUGES:
        values: dict[tuple[str, ...], float] = {(label,): float(measure(queue)) for label, queue in queues.items()}
        yield from gauge(f"workqueue_{name}", text, values, ("name",))
    for name, text, values_of in _HISTOGRAMS:
        yield family(f"workqueue_{name}", "histogram", text)
        for label, queue in queues.items():
            yield from histogram(f"workqueue_{name}", f'name="{label}"', values_of(queue))
