"""HorizontalPodAutoscalers: autoscaling/v2 (kept) and v1.

v1 knows one metric, the utilization of CPU; everything else it shows as JSON in annotations, where it may also be
written. Source: API reference of both versions; "Horizontal Pod Autoscaling", "API Object".
"""

from __future__ import annotations

from typing import Any

import orjson

from hawser.api.encoding import dumps
from hawser.api.types import Obj

METRICS = "autoscaling.alpha.kubernetes.io/metrics"
CURRENT_METRICS = "autoscaling.alpha.kubernetes.io/current-metrics"
BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
_ROUND_TRIP = (METRICS, CURRENT_METRICS, BEHAVIOR, CONDITIONS)
# The field of a metric's source by its type, and whether v1 says targetX or X of an amount.
_SOURCES = {
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "External": "external",
}


def to_v1(obj: Obj) -> Obj:
    """A v2 autoscaler as v1."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    annotations = _plain(obj)
    metrics, current = spec.pop("metrics", None) or [], status.pop("currentMetrics", None) or []
    others = []
    for metric in metrics:
        percent = _cpu(metric, "target")
        if percent is None:
            others.append(metric)
        else:
            spec["targetCPUUtilizationPercentage"] = percent
    for metric in current:
        percent = _cpu(metric, "current")
        if percent is not None:
            status["currentCPUUtilizationPercentage"] = percent
    if others:
        annotations[METRICS] = _text([_old_metric(metric, "target") for metric in others])
    if current:
        annotations[CURRENT_METRICS] = _text([_old_metric(metric, "current") for metric in current])
    if (behavior := spec.pop("behavior", None)) is not None:
        annotations[BEHAVIOR] = _text(behavior)
    if conditions := status.pop("conditions", None):
        annotations[CONDITIONS] = _text(conditions)
    return _with(obj, annotations, spec, status)


def to_v2(obj: Obj) -> Obj:
    """A v1 autoscaler as v2; annotations that cannot be read are dropped."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    given = (obj.get("metadata") or {}).get("annotations") or {}
    metrics = [_new_metric(metric, "target") for metric in _read(given, METRICS, list)]
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if metrics:
        spec["metrics"] = metrics
    if behavior := _read(given, BEHAVIOR, dict):
        spec["behavior"] = behavior
    current = [_new_metric(metric, "current") for metric in _read(given, CURRENT_METRICS, list)]
    percent = status.pop("currentCPUUtilizationPercentage", None)
    if percent is not None and not current:
        current.append({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}})
    if current:
        status["currentMetrics"] = current
    if conditions := _read(given, CONDITIONS, list):
        status["conditions"] = conditions
    return _with(obj, _plain(obj), spec, status)


def _plain(obj: Obj) -> dict[str, str]:
    """The annotations that are the user's."""
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    return {key: value for key, value in annotations.items() if key not in _ROUND_TRIP}


def _with(obj: Obj, annotations: dict[str, str], spec: Obj, status: Obj) -> Obj:
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key != "annotations"}
    if annotations:
        metadata["annotations"] = annotations
    parts = {"spec": spec, "status": status}
    return {**obj, "metadata": metadata, **{name: part for name, part in parts.items() if part or name in obj}}


def _text(value: Any) -> str:
    return dumps(value).decode()


def _read(annotations: dict[str, str], key: str, kind: type[Any]) -> Any:
    """What an annotation holds, empty when that is nothing of the kind."""
    try:
        value = orjson.loads(annotations.get(key) or "null")
    except orjson.JSONDecodeError:
        return kind()
    if not isinstance(value, kind) or (kind is list and not all(isinstance(item, dict) for item in value)):
        return kind()
    return value


def _cpu(metric: Obj, amount: str) -> int | None:
    """The utilization of CPU that a metric asks for or shows."""
    resource = metric.get("resource") or {}
    if metric.get("type") != "Resource" or resource.get("name") != "cpu":
        return None
    percent: int | None = (resource.get(amount) or {}).get("averageUtilization")
    return percent


def _key(amount: str, name: str) -> str:
    return f"{amount}{name[0].upper()}{name[1:]}"


def _old_metric(metric: Obj, amount: str) -> Obj:
    """A v2 metric in the form of v1's annotations. amount: target or current."""
    field = _SOURCES.get(metric.get("type", ""), "")
    source = metric.get(field)
    if source is None:
        return metric
    found, old = source.get(amount) or {}, {}
    for name in ("name", "container"):
        if name in source:
            old[name] = source[name]
    named = source.get("metric") or {}
    if "name" in named:
        old["metricName"] = named["name"]
    if "selector" in named:
        old["metricSelector" if field == "external" else "selector"] = named["selector"]
    if field == "object":
        old["target"] = source.get("describedObject") or {}
        old[_key(amount, "value")] = found.get("value", "0")
        if "averageValue" in found:
            old["averageValue"] = found["averageValue"]
    else:
        for name in ("value", "averageValue", "averageUtilization"):
            if name in found:
                old[_key(amount, name)] = found[name]
    return {"type": metric["type"], field: old}


def _new_metric(metric: Obj, amount: str) -> Obj:
    """A metric of v1's annotations in the form of v2."""
    field = _SOURCES.get(metric.get("type", ""), "")
    old = metric.get(field)
    if not isinstance(old, dict):
        return metric
    source: Obj = {name: old[name] for name in ("name", "container") if name in old}
    named: Obj = {}
    if "metricName" in old:
        named["name"] = old["metricName"]
    for selector in ("selector", "metricSelector"):
        if selector in old:
            named["selector"] = old[selector]
    if field in ("object", "pods", "external"):
        source["metric"] = named
    found = {n: old[_key(amount, n)] for n in ("value", "averageValue", "averageUtilization") if _key(amount, n) in old}
    if field == "object":
        source["describedObject"] = old.get("target") or {}
        if "averageValue" in old:
            found["averageValue"] = old["averageValue"]
            if found.get("value") == "0":
                found.pop("value")
    if amount == "target":
        found["type"] = _type(found)
    source[amount] = found
    return {"type": metric["type"], field: source}


def _type(target: Obj) -> str:
    if "averageUtilization" in target:
        return "Utilization"
    return "AverageValue" if "averageValue" in target else "Value"
