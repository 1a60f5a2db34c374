"""Validation of workloads. Source: API reference, DeploymentSpec and ReplicaSetSpec; "Deployments"."""

from __future__ import annotations

from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.pod import pod_template
from hawser.api.validation.rules import (
    Errors,
    each,
    forbidden,
    immutable,
    invalid,
    label_selector,
    not_negative,
    required,
    unsupported,
)


def deployment(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    yield from not_negative(spec, "spec", "replicas")
    yield from _selector_and_template(spec)
    yield from _strategy(spec.get("strategy") or {}, "spec.strategy")
    yield from not_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        yield invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def replica_set(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    yield from not_negative(spec, "spec", "replicas", "minReadySeconds")
    yield from _selector_and_template(spec)


def _selector_and_template(spec: Obj) -> Errors:
    """The selector is said by the user and selects the template's pods."""
    selector = spec.get("selector")
    wrong = list(label_selector(selector, "spec.selector"))
    if selector is None:
        yield required("spec.selector")
    else:
        yield from wrong
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            yield invalid("spec.selector", selector, "empty selector is invalid for deployment")
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not wrong and (selector is None or not LabelSelector.from_object(selector).matches(labels)):
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from pod_template(template, "spec.template")
    pod = template.get("spec") or {}
    policy = pod.get("restartPolicy")
    if policy in ("OnFailure", "Never"):
        yield unsupported("spec.template.spec.restartPolicy", policy, ("Always",))
    if pod.get("activeDeadlineSeconds") is not None:
        path = "spec.template.spec.activeDeadlineSeconds"
        yield forbidden(path, "activeDeadlineSeconds in ReplicaSet is not Supported")


def _strategy(strategy: Obj, path: str) -> Errors:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    match kind:
        case "Recreate":
            if rolling is not None:
                yield forbidden(f"{path}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
        case "RollingUpdate":
            if rolling is None:
                yield required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")
            else:
                yield from _rolling(rolling, f"{path}.rollingUpdate")
        case _:
            yield unsupported(f"{path}.type", kind or "", ("Recreate", "RollingUpdate"))


def _rolling(rolling: Obj, path: str) -> Errors:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    yield from each(f"{path}.maxUnavailable", unavailable, rules.int_or_percent_errors(unavailable))
    yield from each(f"{path}.maxSurge", surge, rules.int_or_percent_errors(surge))
    if _is_zero(unavailable) and _is_zero(surge):
        yield invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0")
    if isinstance(unavailable, str) and not rules.int_or_percent_errors(unavailable) and int(unavailable[:-1]) > 100:
        yield invalid(f"{path}.maxUnavailable", unavailable, "must not be greater than 100%")


def _is_zero(value: int | str) -> bool:
    return value == 0 if isinstance(value, int) else value.rstrip("%").strip("0") == "" and value.endswith("%")


def workload_update(obj: Obj, old: Obj) -> Errors:
    selector, before = (o.get("spec", {}).get("selector") for o in (obj, old))
    yield from immutable("spec.selector", selector, before)


def deployment_status_update(obj: Obj, old: Obj) -> Errors:
    status = obj.get("status") or {}
    counts = ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    yield from not_negative(status, "status", *counts, "unavailableReplicas", "terminatingReplicas", "collisionCount")
    yield from _at_most(status, "updatedReplicas", "replicas")
    yield from _at_most(status, "readyReplicas", "replicas")
    yield from _at_most(status, "availableReplicas", "replicas")
    yield from _at_most(status, "availableReplicas", "readyReplicas")
    old_count, count = (old.get("status") or {}).get("collisionCount"), status.get("collisionCount")
    if old_count is not None and (count is None or count < old_count):
        yield invalid("status.collisionCount", count, "cannot be decremented")


def replica_set_status_update(obj: Obj, old: Obj) -> Errors:
    status = obj.get("status") or {}
    counts = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")
    yield from not_negative(status, "status", *counts, "terminatingReplicas")
    yield from _at_most(status, "fullyLabeledReplicas", "replicas")
    yield from _at_most(status, "readyReplicas", "replicas")
    yield from _at_most(status, "availableReplicas", "replicas")
    yield from _at_most(status, "availableReplicas", "readyReplicas")


def _at_most(status: Obj, field: str, limit: str) -> Errors:
    count = status.get(field, 0)
    if count > status.get(limit, 0):
        yield invalid(
            f"status.{field}", count, f"cannot be greater than {'status.' + limit if limit == 'replicas' else limit}"
        )
