"""Defaults of workloads that keep pods running.

Source: API reference of apps/v1 (the specs of each kind), ReplicationControllerSpec and PodTemplate (v1).
"""

from __future__ import annotations

from hawser.api.defaults.pod import pod_spec, round_amounts
from hawser.api.types import Obj


def deployment(obj: Obj) -> None:
    spec = _workload(obj)
    _rolling(spec, "strategy", maxUnavailable="25%", maxSurge="25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def replica_set(obj: Obj) -> None:
    _workload(obj)


def stateful_set(obj: Obj) -> None:
    """Pods one after another, rolling updates, claims that are kept."""
    spec = _workload(obj)
    if not spec.get("podManagementPolicy"):
        spec["podManagementPolicy"] = "OrderedReady"
    strategy: Obj | None = spec.get("updateStrategy")
    if strategy is None:
        strategy = spec["updateStrategy"] = {}
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    rolling = strategy.get("rollingUpdate")
    if strategy["type"] == "RollingUpdate" and rolling is not None:
        rolling.setdefault("partition", 0)
        rolling.setdefault("maxUnavailable", 1)
    policy: Obj | None = spec.get("persistentVolumeClaimRetentionPolicy")
    if policy is None:
        policy = spec["persistentVolumeClaimRetentionPolicy"] = {}
    for field in ("whenDeleted", "whenScaled"):
        if not policy.get(field):
            policy[field] = "Retain"
    spec.setdefault("revisionHistoryLimit", 10)
    for claim in spec.get("volumeClaimTemplates") or ():
        _claim(claim)


def _claim(claim: Obj) -> None:
    """A claim in a template is a whole PersistentVolumeClaim, and is shown as one."""
    claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"
    spec: Obj | None = claim.get("spec")
    if spec is None:
        spec = claim["spec"] = {}
    spec.setdefault("volumeMode", "Filesystem")
    resources = spec.get("resources") or {}
    for field in ("limits", "requests"):
        round_amounts(resources.get(field))
    status: Obj | None = claim.get("status")
    if status is None:
        status = claim["status"] = {}
    if not status.get("phase"):
        status["phase"] = "Pending"


def daemon_set(obj: Obj) -> None:
    """One pod at a time is replaced."""
    spec = _spec(obj)
    _template(spec)
    _rolling(spec, "updateStrategy", maxUnavailable=1, maxSurge=0)
    spec.setdefault("revisionHistoryLimit", 10)


def replication_controller(obj: Obj) -> None:
    """Selector and labels are those of the template."""
    spec = _spec(obj)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        own_labels(obj, labels)
    _workload(obj)


def own_labels(obj: Obj, labels: dict[str, str]) -> None:
    """An object without labels has those of its pod template (ReplicationControllers and Jobs)."""
    metadata: Obj | None = obj.get("metadata")
    if metadata is None:
        metadata = obj["metadata"] = {}
    if not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def pod_template(obj: Obj) -> None:
    template: Obj | None = obj.get("template")
    if template is None:
        template = obj["template"] = {}
    pod_spec(template.setdefault("spec", {}))


def _spec(obj: Obj) -> Obj:
    spec: Obj | None = obj.get("spec")
    if spec is None:
        spec = obj["spec"] = {}
    return spec


def _template(spec: Obj) -> None:
    template = spec.get("template")
    if template is not None:
        pod_spec(template.setdefault("spec", {}))


def _workload(obj: Obj) -> Obj:
    """Defaults of everything with a number of replicas; returns the spec."""
    spec = _spec(obj)
    spec.setdefault("replicas", 1)
    _template(spec)
    return spec


def _rolling(spec: Obj, field: str, **bounds: int | str) -> None:
    """An update strategy: rolling, within these bounds, where nothing else is said."""
    strategy: Obj | None = spec.get(field)
    if strategy is None:
        strategy = spec[field] = {}
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling: Obj | None = strategy.get("rollingUpdate")
        if rolling is None:
            rolling = strategy["rollingUpdate"] = {}
        for name, value in bounds.items():
            rolling.setdefault(name, value)
