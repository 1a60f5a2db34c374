"""Defaults of workloads. Source: API reference, DeploymentSpec and ReplicaSetSpec (apps/v1)."""

from __future__ import annotations

from hawser.api.defaults.pod import pod_spec
from hawser.api.types import Obj


def deployment(obj: Obj) -> None:
    spec = _workload(obj)
    strategy = spec.get("strategy")
    if strategy is None:
        strategy = spec["strategy"] = {}
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling: Obj | None = strategy.get("rollingUpdate")
        if rolling is None:
            rolling = strategy["rollingUpdate"] = {}
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def replica_set(obj: Obj) -> None:
    _workload(obj)


def _workload(obj: Obj) -> Obj:
    """Defaults that all workloads share; returns the spec."""
    spec: Obj | None = obj.get("spec")
    if spec is None:
        spec = obj["spec"] = {}
    spec.setdefault("replicas", 1)
    template = spec.get("template")
    if template is not None:
        pod_spec(template.setdefault("spec", {}))
    return spec
