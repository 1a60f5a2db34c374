"""What is counted of devices, and its lines of ``/metrics``, under the kubelet's names.

Source: Kubernetes documentation, "Kubernetes Metrics Reference".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from hawser.exposition import Histogram, family, histogram, labels
from hawser.node.metrics.counters import DEFAULT

_OPERATIONS = (
    "Latency histogram in seconds for the duration of handling all ResourceClaims referenced by a pod when the pod "
    "starts or stops. Identified by the name of the operation (PrepareResources or UnprepareResources) and separated "
    "by the success of the operation. The number of failed operations is provided through the histogram's overall "
    "count."
)
_IN_USE = (
    "The number of ResourceClaims that are currently in use on the node, by driver name (driver_name label value) and "
    "across all drivers (special value <any> for driver_name). Note that the sum of all by-driver counts is not the "
    "total number of in-use ResourceClaims because the same ResourceClaim might use devices from different drivers. "
    "Instead, use the count for the <any> driver_name."
)


class DeviceCounters:
    """operations: of claims, by name and whether they failed; calls: of drivers, by driver, method and status.

    registrations: of device plugins, allocations: by them, both by resource.
    """

    def __init__(self) -> None:
        self.operations: dict[tuple[str, bool], Histogram] = {}
        self.calls: dict[tuple[str, str, str], Histogram] = {}
        self.registrations: Counter[str] = Counter()
        self.allocations: dict[str, Histogram] = {}

    def operation(self, name: str, seconds: float, *, failed: bool) -> None:
        """A pod's claims were prepared or given back, or were not."""
        self.operations.setdefault((name, failed), Histogram(DEFAULT)).observe(seconds)

    def call(self, driver: str, method: str, status: str, seconds: float) -> None:
        """A driver has answered. status: gRPC's, as ``DeadlineExceeded``."""
        self.calls.setdefault((driver, method, status), Histogram(DEFAULT)).observe(seconds)

    def allocated(self, resource: str, seconds: float) -> None:
        """A plugin has given devices to a container, or refused."""
        self.allocations.setdefault(resource, Histogram(DEFAULT)).observe(seconds)


def render(counters: DeviceCounters, in_use: Mapping[str, int]) -> Iterator[str]:
    """The lines. in_use: claims by driver, ``<any>`` for all."""
    rows: Iterable[tuple[dict[str, str], Histogram]]
    rows = (
        ({"operation_name": name, "is_error": "true" if failed else "false"}, seconds)
        for (name, failed), seconds in counters.operations.items()
    )
    yield from _histograms("dra_operations_duration_seconds", _OPERATIONS, rows)
    rows = (
        ({"driver_name": driver, "grpc_status_code": status, "method_name": method}, seconds)
        for (driver, method, status), seconds in counters.calls.items()
    )
    text = "Duration in seconds of the DRA gRPC operations"
    yield from _histograms("dra_grpc_operations_duration_seconds", text, rows)
    name = "dra_resource_claims_in_use"
    yield family(name, "gauge", _IN_USE)
    yield from (f"{name}{{{labels({'driver_name': driver})}}} {count}" for driver, count in in_use.items())
    name = "kubelet_device_plugin_registration_total"
    text = "Cumulative number of device plugin registrations. Broken down by resource name."
    yield family(name, "counter", text)
    for resource, count in counters.registrations.items():
        yield f"{name}{{{labels({'resource_name': resource})}}} {count}"
    text = "Duration in seconds to serve a device plugin Allocation request. Broken down by resource name."
    rows = (({"resource_name": resource}, seconds) for resource, seconds in counters.allocations.items())
    yield from _histograms("kubelet_device_plugin_alloc_duration_seconds", text, rows)


def _histograms(name: str, text: str, rows: Iterable[tuple[dict[str, str], Histogram]]) -> Iterator[str]:
    yield family(name, "histogram", text)
    for shown, seconds in rows:
        yield from histogram(name, labels(shown), seconds)
