"""Validation of HorizontalPodAutoscalers (autoscaling/v2).

Source: API reference, HorizontalPodAutoscalerSpec; "Horizontal Pod Autoscaling"; KEP-4951 (tolerances).
"""

from __future__ import annotations

from hawser.api.quantity import parse_quantity
from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.resources import container_resource
from hawser.api.validation.rules import NEGATIVE, Errors, each, forbidden, invalid, not_negative, required, unsupported
from hawser.api.validation.values import path_segment_errors

_MAX_WINDOW = 3600
_MAX_PERIOD = 1800
_SELECT = ("Disabled", "Max", "Min")
_POLICIES = ("Percent", "Pods")
# The field of each type of metric, in the order in which they are looked at.
_SOURCES = {
    "Object": "object",
    "External": "external",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}
_TYPES = sorted(_SOURCES)
_TARGETS = ("Utilization", "Value", "AverageValue")


def autoscaler_create(obj: Obj) -> Errors:
    yield from _autoscaler(obj.get("spec") or {}, None)


def autoscaler_update(obj: Obj, old: Obj) -> Errors:
    """A lowest number of 0, and references that were not valid, may stay as they are."""
    yield from _autoscaler(obj.get("spec") or {}, old.get("spec") or {})


def autoscaler_status_update(obj: Obj, old: Obj) -> Errors:
    yield from not_negative(obj.get("status") or {}, "status", "currentReplicas", "desiredReplicas")


def _autoscaler(spec: Obj, before: Obj | None) -> Errors:
    low, high = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    least = 0 if before is not None and before.get("minReplicas") == 0 else 1
    if low is not None and low < least:
        yield invalid("spec.minReplicas", low, f"must be greater than or equal to {least}")
    if high < 1:
        yield invalid("spec.maxReplicas", high, "must be greater than 0")
    if low is not None and high < low:
        yield invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`")
    target = spec.get("scaleTargetRef") or {}
    yield from _reference(target, "spec.scaleTargetRef")
    was = (before or {}).get("scaleTargetRef") or {}
    same = before is not None and all(target.get(key) == was.get(key) for key in ("apiVersion", "kind"))
    if not same:
        # The only kind of the core group that can be scaled.
        core = target.get("kind") == "ReplicationController"
        yield from _version(target.get("apiVersion", ""), core, "spec.scaleTargetRef.apiVersion")
    yield from _metrics(spec.get("metrics") or [], (before or {}).get("metrics") or [], low)
    for field in ("scaleUp", "scaleDown"):
        found = (spec.get("behavior") or {}).get(field)
        if found is not None:
            yield from _rules(found, f"spec.behavior.{field}")


def _reference(reference: Obj, path: str) -> Errors:
    for field in ("kind", "name"):
        value = reference.get(field, "")
        if not value:
            yield required(f"{path}.{field}")
        else:
            yield from each(f"{path}.{field}", value, path_segment_errors(value))


def _version_error(version: str, core: bool) -> str:
    if version.count("/") > 1:
        return f"unexpected GroupVersion string: {version}"
    return "" if core or version.partition("/")[1] else "apiVersion must specify API group"


def _version(version: str, core: bool, path: str) -> Errors:
    if wrong := _version_error(version, core):
        yield invalid(path, version, wrong)


def _metrics(metrics: list[Obj], before: list[Obj], low: int | None) -> Errors:
    tolerant = any(_version_error(_described(metric).get("apiVersion", ""), True) for metric in before)
    for i, metric in enumerate(metrics):
        yield from _metric(metric, f"spec.metrics[{i}]", tolerant)
    if low == 0 and not any(metric.get("type") in ("Object", "External") for metric in metrics):
        detail = "must specify at least one Object or External metric to support scaling to zero replicas"
        yield forbidden("spec.metrics", detail)


def _described(metric: Obj) -> Obj:
    found: Obj = (metric.get("object") or {}).get("describedObject") or {}
    return found


def _metric(metric: Obj, path: str, tolerant: bool) -> Errors:
    kind = metric.get("type", "")
    if not kind:
        yield required(f"{path}.type", "must specify a metric source type")
    if kind not in _SOURCES:
        yield unsupported(f"{path}.type", kind, _TYPES)
    present = [field for field in _SOURCES.values() if field in metric]
    if present:
        yield from _source(metric[present[0]], present[0], f"{path}.{present[0]}", tolerant)
    expected = _SOURCES.get(kind)
    if expected is None:
        yield unsupported(f"{path}.type", kind, _TYPES)
    elif expected not in present:
        yield required(f"{path}.{expected}", "must populate information for the given metric source")
    if len(present) != 1:
        for field in present:
            if field != expected:
                yield forbidden(f"{path}.{field}", "must populate the given metric source only")


def _source(source: Obj, field: str, path: str, tolerant: bool) -> Errors:
    target = source.get("target") or {}
    if field in ("resource", "containerResource"):
        yield from _resource(source, field, target, path)
        return
    if field == "object":
        described = source.get("describedObject") or {}
        yield from _reference(described, f"{path}.describedObject")
        if not tolerant:
            yield from _version(described.get("apiVersion", ""), True, f"{path}.describedObject.apiVersion")
    name = (source.get("metric") or {}).get("name", "")
    if not name:
        yield required(f"{path}.metric.name", "must specify a metric name")
    else:
        yield from each(f"{path}.metric.name", name, path_segment_errors(name))
    yield from _target(target, f"{path}.target")
    value, average = target.get("value"), target.get("averageValue")
    at = f"{path}.target.averageValue"
    if field == "pods":
        if average is None:
            yield required(at, "must specify a positive target averageValue")
    elif value is None and average is None:
        what = "value or averageValue" if field == "object" else "value for metric or a per-pod target"
        yield required(at, f"must set either a target {what}")
    elif field == "external" and value is not None and average is not None:
        yield forbidden(f"{path}.target.value", "may not set both a target value for metric and a per-pod target")


def _resource(source: Obj, field: str, target: Obj, path: str) -> Errors:
    name, container = source.get("name", ""), source.get("container", "")
    if not name:
        yield required(f"{path}.name", "must specify a resource name")
    elif field == "containerResource":
        yield from container_resource(name, f"{path}.name")
    if field == "containerResource":
        if not container:
            yield required(f"{path}.container", "must specify a container")
        else:
            yield from each(f"{path}.container", container, rules.label_errors(container))
    yield from _target(target, f"{path}.target")
    utilization, average = target.get("averageUtilization"), target.get("averageValue")
    if utilization is None and average is None:
        detail = "must set either a target raw value or a target utilization"
        yield required(f"{path}.target.averageUtilization", detail)
    if utilization is not None and average is not None:
        yield forbidden(f"{path}.target.averageValue", "may not set both a target raw value and a target utilization")


def _target(target: Obj, path: str) -> Errors:
    kind = target.get("type", "")
    if not kind:
        yield required(f"{path}.type", "must specify a metric target type")
    if kind not in _TARGETS:
        yield invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue")
    for field in ("value", "averageValue"):
        amount = target.get(field)
        if amount is not None and parse_quantity(amount) <= 0:
            yield invalid(f"{path}.{field}", amount, "must be positive")
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        yield invalid(f"{path}.averageUtilization", utilization, "must be greater than 0")


def _rules(found: Obj, path: str) -> Errors:
    window, select = found.get("stabilizationWindowSeconds"), found.get("selectPolicy")
    at = f"{path}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        yield invalid(at, window, "must be greater than or equal to zero")
    if window is not None and window > _MAX_WINDOW:
        yield invalid(at, window, f"must be less than or equal to {_MAX_WINDOW}")
    if select is not None and select not in _SELECT:
        yield unsupported(f"{path}.selectPolicy", select, _SELECT)
    policies = found.get("policies") or []
    if not policies:
        yield required(f"{path}.policies", "must specify at least one Policy")
    for i, policy in enumerate(policies):
        yield from _policy(policy, f"{path}.policies[{i}]")
    tolerance = found.get("tolerance")
    if tolerance is not None and parse_quantity(tolerance) < 0:
        yield invalid(f"{path}.tolerance", tolerance, NEGATIVE)


def _policy(policy: Obj, path: str) -> Errors:
    kind, value, period = policy.get("type", ""), policy.get("value", 0), policy.get("periodSeconds", 0)
    if kind not in _POLICIES:
        yield unsupported(f"{path}.type", kind, _POLICIES)
    if value <= 0:
        yield invalid(f"{path}.value", value, "must be greater than zero")
    if period <= 0:
        yield invalid(f"{path}.periodSeconds", period, "must be greater than zero")
    if period > _MAX_PERIOD:
        yield invalid(f"{path}.periodSeconds", period, f"must be less than or equal to {_MAX_PERIOD}")
