"""Validation of StatefulSets, DaemonSets, ControllerRevisions, ReplicationControllers and PodTemplates.

Source: API reference of each kind; "StatefulSets", "DaemonSet" and "ReplicationController".
"""

from __future__ import annotations

from typing import Any

from hawser.api.errors import APIError
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.apps import replica_set_status_update
from hawser.api.validation.claims import claim_spec
from hawser.api.validation.pod import pod_template as template_rules
from hawser.api.validation.pod_update import plain
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

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_MISMATCH = "`selector` does not match template `labels`"
_UPDATABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_OTHERS = ", ".join(f"'{name}'" for name in _UPDATABLE[:-1]) + f" and '{_UPDATABLE[-1]}'"

replication_controller_status_update = replica_set_status_update


def stateful_set_create(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    yield from _stateful_set(spec)
    if name := spec.get("serviceName"):
        yield from each("spec.serviceName", name, rules.label_errors(name))
    for i, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        yield from claim_spec(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{i}].spec")
    yield from _stateful_template(spec)


def stateful_set_update(obj: Obj, old: Obj) -> Errors:
    """Only some fields may change; a template that was accepted once may stay as it is."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    yield from _stateful_set(spec)
    if spec.get("template") != before.get("template") and not any(_stateful_template(before)):
        yield from _stateful_template(spec)
    kept, was = (plain({key: s[key] for key in s if key not in _UPDATABLE}) for s in (spec, before))
    if kept != was:
        yield forbidden("spec", f"updates to statefulset spec for fields other than {_OTHERS} are forbidden")


def _stateful_set(spec: Obj) -> Errors:
    management = spec.get("podManagementPolicy")
    if not management:
        yield required("spec.podManagementPolicy")
    elif management not in ("OrderedReady", "Parallel"):
        yield invalid("spec.podManagementPolicy", management, "must be 'OrderedReady' or 'Parallel'")
    yield from _stateful_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy")
    policy = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        if policy and policy.get(field) not in ("Retain", "Delete"):
            path = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
            yield unsupported(path, policy.get(field, ""), ("Retain", "Delete"))
    yield from not_negative(spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit")
    yield from not_negative(spec.get("ordinals") or {}, "spec.ordinals", "start")
    selector = spec.get("selector")
    if selector is None:
        yield required("spec.selector")
    else:
        yield from label_selector(selector, "spec.selector")
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            yield invalid("spec.selector", selector, "empty selector is invalid for statefulset")
    yield from _selects(selector, spec.get("template") or {})
    yield from _runs_forever(spec.get("template") or {}, "StatefulSet")


def _stateful_strategy(strategy: Obj, path: str) -> Errors:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if not kind:
        yield required(path)
    elif kind == "OnDelete":
        if rolling is not None:
            yield invalid(f"{path}.rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'")
    elif kind != "RollingUpdate":
        yield invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'")
    elif rolling is not None:
        yield from not_negative(rolling, f"{path}.rollingUpdate", "partition")
        unavailable = rolling.get("maxUnavailable")
        if unavailable is not None:
            at = f"{path}.rollingUpdate.maxUnavailable"
            yield from amount(unavailable, at)
            if number(unavailable) == 0:
                yield invalid(at, unavailable, "cannot be 0")


def _stateful_template(spec: Obj) -> Errors:
    """The template's pods have volumes of the names of the claims, whatever the template says of them."""
    template = spec.get("template") or {}
    names = [(claim.get("metadata") or {}).get("name", "") for claim in spec.get("volumeClaimTemplates") or ()]
    if names:
        pod = template.get("spec") or {}
        kept = [volume for volume in pod.get("volumes") or () if volume.get("name") not in names]
        claimed = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in dict.fromkeys(names)]
        template = {**template, "spec": {**pod, "volumes": kept + claimed}}
    yield from template_rules(template, "spec.template")


def _selects(selector: Obj | None, template: Obj) -> Errors:
    """An absent selector selects nothing; an invalid one is spoken of elsewhere."""
    labels = (template.get("metadata") or {}).get("labels") or {}
    try:
        fits = LabelSelector.from_object(selector).matches(labels)
    except APIError:
        return
    if not fits:
        yield invalid("spec.template.metadata.labels", labels, _MISMATCH)


def _runs_forever(template: Obj, what: str) -> Errors:
    """Pods of these controllers are always restarted, and have no deadline."""
    pod = template.get("spec") or {}
    policy = pod.get("restartPolicy", "")
    if policy != "Always":
        yield unsupported("spec.template.spec.restartPolicy", policy, ("Always",))
    if pod.get("activeDeadlineSeconds") is not None:
        path = "spec.template.spec.activeDeadlineSeconds"
        yield forbidden(path, f"activeDeadlineSeconds in {what} is not Supported")


def stateful_set_status_update(obj: Obj, old: Obj) -> Errors:
    status = obj.get("status") or {}
    counts = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    yield from not_negative(status, "status", *counts, "observedGeneration", "collisionCount")
    for field in counts[1:]:
        if status.get(field, 0) > status.get("replicas", 0):
            yield invalid(f"status.{field}", status.get(field, 0), "cannot be greater than status.replicas")
    available = status.get("availableReplicas", 0)
    if available > status.get("readyReplicas", 0):
        yield invalid("status.availableReplicas", available, "cannot be greater than status.readyReplicas")
    yield from _collisions(status, old.get("status") or {})


def _collisions(status: Obj, before: Obj) -> Errors:
    count, was = status.get("collisionCount"), before.get("collisionCount")
    if was is not None and (count is None or count < was):
        yield invalid("status.collisionCount", count or 0, "cannot be decremented")


def daemon_set(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    selector, template = spec.get("selector"), spec.get("template") or {}
    yield from label_selector(selector, "spec.selector")
    yield from _selects(selector, template)
    if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield invalid("spec.selector", selector, "empty selector is invalid for daemonset")
    yield from template_rules(template, "spec.template")
    yield from _runs_forever(template, "DaemonSet")
    yield from not_negative(spec, "spec", "minReadySeconds")
    yield from _daemon_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy")
    yield from not_negative(spec, "spec", "revisionHistoryLimit")


def _daemon_strategy(strategy: Obj, path: str) -> Errors:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        yield unsupported(path, strategy, ("RollingUpdate", "OnDelete"))
        return
    if rolling is None:
        yield required(f"{path}.rollingUpdate")
        return
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    yield from amount(unavailable, f"{path}.rollingUpdate.maxUnavailable")
    yield from amount(surge, f"{path}.rollingUpdate.maxSurge")
    if number(unavailable) and number(surge):
        yield invalid(f"{path}.rollingUpdate.maxSurge", surge, "may not be set when maxUnavailable is non-zero")
    elif not number(unavailable) and not number(surge):
        yield required(f"{path}.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0")


def daemon_set_update(obj: Obj, old: Obj) -> Errors:
    """The selector stays (apps/v1)."""
    selector, before = ((o.get("spec") or {}).get("selector") for o in (obj, old))
    yield from immutable("spec.selector", selector, before)


def daemon_set_status_update(obj: Obj, old: Obj) -> Errors:
    status = obj.get("status") or {}
    counts = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
    more = ("updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount")
    yield from not_negative(status, "status", *counts, "observedGeneration", *more)
    yield from _collisions(status, old.get("status") or {})


def amount(value: int | str, path: str) -> Errors:
    """A number of pods or a percentage, at most all of them."""
    wrong = rules.int_or_percent_errors(value)
    yield from each(path, value, wrong)
    if isinstance(value, str) and not wrong and int(value[:-1]) > 100:
        yield invalid(path, value, "must not be greater than 100%")


def number(value: int | str) -> int:
    """The number in a number or percentage; what is neither counts as 0."""
    if isinstance(value, int):
        return value
    return int(value[:-1]) if not rules.int_or_percent_errors(value) else 0


def controller_revision(obj: Obj) -> Errors:
    if obj.get("data") is None:
        yield required("data", "data is mandatory")
    revision = obj.get("revision", 0)
    if revision < 0:
        yield invalid("revision", revision, rules.NEGATIVE)


def controller_revision_update(obj: Obj, old: Obj) -> Errors:
    data: Any = obj.get("data")
    yield from immutable("data", data, old.get("data"))


def replication_controller(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    selector, template = spec.get("selector") or {}, spec.get("template")
    yield from not_negative(spec, "spec", "minReadySeconds")
    if not selector:
        yield required("spec.selector")
    yield from not_negative(spec, "spec", "replicas")
    if template is None:
        yield required("spec.template")
        return
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not selector.items() <= labels.items():
        yield invalid("spec.template.metadata.labels", labels, _MISMATCH)
    yield from template_rules(template, "spec.template")
    yield from _runs_forever(template, "ReplicationController")


def pod_template(obj: Obj) -> Errors:
    yield from template_rules(obj.get("template") or {}, "template")
