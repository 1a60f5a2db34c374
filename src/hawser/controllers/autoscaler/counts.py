"""What the autoscaler counts, under kube-controller-manager's names.

Source: Kubernetes metrics reference, horizontal_pod_autoscaler_controller_*.
"""

from __future__ import annotations

from collections.abc import Iterator

from hawser.exposition import exponential
from hawser.series import Counters, Histograms

_PREFIX = "horizontal_pod_autoscaler_controller_"
_EDGES = exponential(0.001, 2.0, 15)
_LABELS = (
    "The label 'action' should be either 'scale_down', 'scale_up', or 'none'. Also, the label 'error' should be either "
    "'spec', 'internal', or 'none'. Note that if both spec and internal errors happen during a {}, the first one to "
    "occur is reported in `error` label."
)


class Counts:
    """Of one controller."""

    def __init__(self) -> None:
        of_one, of_metric = ("action", "error"), ("action", "error", "metric_type")
        told, told_of_metric = _LABELS.format("reconciliation"), _LABELS.format("metric computation")
        text = f"Number of reconciliations of HPA controller. {told}"
        self._total = Counters(f"{_PREFIX}reconciliations_total", text, of_one)
        text = f"The time(seconds) that the HPA controller takes to reconcile once. {told}"
        self._seconds = Histograms(f"{_PREFIX}reconciliation_duration_seconds", text, of_one, _EDGES)
        also = "The label 'metric_type' corresponds to HPA.spec.metrics[*].type"
        text = f"Number of metric computations. {told_of_metric} {also}"
        self._metrics = Counters(f"{_PREFIX}metric_computation_total", text, of_metric)
        text = f"The time(seconds) that the HPA controller takes to calculate one metric. {told_of_metric} {also}"
        self._metric_seconds = Histograms(f"{_PREFIX}metric_computation_duration_seconds", text, of_metric, _EDGES)

    def reconciled(self, before: int, after: int, error: str, seconds: float) -> None:
        """An autoscaler was looked at. before, after: replicas; error: "none", "spec" or "internal"."""
        labels = _action(before, after), error
        self._total.add(*labels)
        self._seconds.of(*labels).observe(seconds)

    def computed(self, kind: str, before: int, after: int, error: str, seconds: float) -> None:
        """One metric, of a type, asks for so many replicas."""
        labels = _action(before, after), error, kind
        self._metrics.add(*labels)
        self._metric_seconds.of(*labels).observe(seconds)

    def lines(self) -> Iterator[str]:
        """In Prometheus' text format."""
        for family in (self._total, self._seconds, self._metrics, self._metric_seconds):
            yield from family.lines()


def _action(before: int, after: int) -> str:
    return "none" if before == after else "scale_up" if after > before else "scale_down"
