"""Validation of Jobs: the specification and what may change in it.

Source: API reference, JobSpec; "Jobs"; KEP-3329 (pod failure policy), KEP-3850 (limits for each index), KEP-3998
(success policy), KEP-2926 and KEP-5440 (what of a suspended Job's template may change).
"""

from __future__ import annotations

import copy
import re
from typing import Any

from hawser.api.errors import APIError, Cause, FieldError
from hawser.api.job_indexes import count_indexes
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.pod import pod_template
from hawser.api.validation.pod_update import plain
from hawser.api.validation.rules import (
    Errors,
    duplicate,
    each,
    immutable,
    invalid,
    label_selector,
    not_negative,
    required,
    too_long,
    too_many,
    unsupported,
)

PREFIXED_LABELS = ("batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")
LEGACY_LABELS = ("controller-uid", "job-name")
_MODES = ("NonIndexed", "Indexed")
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")
_REPLACEMENTS = ("Failed", "TerminatingOrFailed")
_RESTARTS = ("OnFailure", "Never")
_MANY = 100_000
_FEWER = 10_000
_MAX_RULES = 20
_MAX_CODES = 255
_MAX_MANAGER = 63
_MAX_INDEXES = 64 * 1024
_IMMUTABLE = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
_is_path = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+").fullmatch


def _quoted(values: tuple[str, ...]) -> str:
    """As Go prints a list of strings."""
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def job_create(obj: Obj) -> Errors:
    yield from _job(obj, prefixed=True)


def job_update(obj: Obj, old: Obj) -> Errors:
    """The template and what decides the Job's course stay; a suspended Job may be aimed and sized anew."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    had = ((before.get("template") or {}).get("metadata") or {}).get("labels") or {}
    yield from _job(obj, prefixed=all(label in had for label in PREFIXED_LABELS))
    yield from _completions(spec, before)
    yield from immutable("spec.selector", spec.get("selector"), before.get("selector"))
    yield from _template_update(spec.get("template") or {}, old)
    for field in _IMMUTABLE:
        yield from immutable(f"spec.{field}", spec.get(field), before.get(field))


def _job(obj: Obj, prefixed: bool) -> Errors:
    meta, spec = obj.get("metadata") or {}, obj.get("spec") or {}
    yield from _generated(meta, spec, prefixed)
    yield from job_spec(spec, "spec")
    selector = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if selector is None:
        yield required("spec.selector")
    else:
        yield from label_selector(selector, "spec.selector")
    if not _selects(selector, labels):
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    completions = spec.get("completions")
    if spec.get("completionMode") == "Indexed" and completions:
        name = meta.get("name", "")
        longest = f"{name}-{completions - 1}"
        if rules.label_errors(longest):
            yield invalid("metadata.name", name, f"will not able to create pod with invalid DNS label: {longest}")


def _selects(selector: Obj | None, labels: dict[str, str]) -> bool:
    """An invalid selector is spoken of elsewhere."""
    try:
        return LabelSelector.from_object(selector).matches(labels)
    except APIError:
        return True


def _generated(meta: Obj, spec: Obj, prefixed: bool) -> Errors:
    """The labels and the selector that the server has made are as it has made them."""
    if spec.get("manualSelector") or spec.get("selector") is None:
        return
    uid, name = meta.get("uid", ""), meta.get("name", "")
    if not uid:
        yield required("metadata.uid")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    expected: dict[str, str] = {}
    for pair in (LEGACY_LABELS, PREFIXED_LABELS) if prefixed else (LEGACY_LABELS,):
        expected |= dict(zip(pair, (uid, name), strict=True))
    for key, value in expected.items():
        path = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            yield required(path, f"must be '{value}'")
        elif labels[key] != value:
            yield invalid(path, labels, f"must be '{value}'")
    if not _selects(spec["selector"], expected):
        yield invalid("spec.selector", spec["selector"], "`selector` not auto-generated")


def job_spec(spec: Obj, path: str) -> Errors:
    """What a Job's and a CronJob's specification have in common."""
    counts = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
    yield from not_negative(spec, path, *counts, "backoffLimitPerIndex", "maxFailedIndexes")
    if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
        yield required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    if (manager := spec.get("managedBy")) is not None:
        yield from _manager(manager, f"{path}.managedBy")
    mode = spec.get("completionMode")
    if mode is not None and mode not in _MODES:
        yield unsupported(f"{path}.completionMode", mode, _MODES)
    if mode == "Indexed":
        yield from _indexed(spec, path)
    elif mode in (None, "NonIndexed"):
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if field in spec:
                yield invalid(f"{path}.{field}", spec[field], "requires indexed completion mode")
    if (policy := spec.get("podFailurePolicy")) is not None:
        yield from _failure_policy(policy, spec, f"{path}.podFailurePolicy.rules")
    if (success := spec.get("successPolicy")) is not None:
        if mode != "Indexed":
            yield invalid(f"{path}.successPolicy", success, "requires indexed completion mode")
        else:
            yield from _success_policy(success, spec.get("completions"), f"{path}.successPolicy.rules")
    if (replacement := spec.get("podReplacementPolicy")) is not None:
        supported = ("Failed",) if policy is not None else _REPLACEMENTS
        if replacement not in supported:
            yield unsupported(f"{path}.podReplacementPolicy", replacement, supported)
    template = spec.get("template") or {}
    yield from pod_template(template, f"{path}.template")
    yield from _restart_policy((template.get("spec") or {}).get("restartPolicy", ""), policy, path)


def _restart_policy(restarts: str, policy: Obj | None, path: str) -> Errors:
    at = f"{path}.template.spec.restartPolicy"
    # Always is the default of pods, so that it also stands for nothing said.
    if restarts in ("", "Always"):
        yield required(at, 'valid values: "OnFailure", "Never"')
    elif restarts not in _RESTARTS:
        yield unsupported(at, restarts, _RESTARTS)
    elif policy is not None and restarts != "Never":
        yield invalid(at, restarts, 'only "Never" is supported when podFailurePolicy is specified')


def _manager(value: str, path: str) -> Errors:
    host, slash, rest = value.partition("/")
    if not value:
        yield required(path)
    elif not slash or not host or not rest:
        yield invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')
    else:
        yield from each(path, host, rules.subdomain_errors(host))
        if not _is_path(rest):
            yield invalid(path, rest, "Invalid path: a valid path must consist of characters that URLs may hold")
    if len(value) > _MAX_MANAGER:
        yield too_long(path, _MAX_MANAGER)


def _indexed(spec: Obj, path: str) -> Errors:
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    failures = spec.get("maxFailedIndexes")
    if completions is None:
        yield required(f"{path}.completions", "when completion mode is Indexed")
    if parallelism is not None and parallelism > _MANY:
        detail = f"must be less than or equal to {_MANY} when completion mode is Indexed"
        yield invalid(f"{path}.parallelism", parallelism, detail)
    at = f"{path}.maxFailedIndexes"
    if failures is not None:
        if completions is not None and failures > completions:
            yield invalid(at, failures, "must be less than or equal to completions")
        if failures > _MANY:
            yield invalid(at, failures, f"must be less than or equal to {_MANY}")
    if completions is None or completions <= _MANY or "backoffLimitPerIndex" not in spec:
        return
    detail = f"must be less than or equal to {_FEWER} when completions are above {_MANY} and used with backoff limit"
    if failures is None:
        yield required(at, f"must be specified when completions is above {_MANY}")
    if parallelism is not None and parallelism > _FEWER:
        yield invalid(f"{path}.parallelism", parallelism, f"{detail} per index")
    if failures is not None and failures > _FEWER:
        yield invalid(at, failures, f"{detail} per index")


def _failure_policy(policy: Obj, spec: Obj, path: str) -> Errors:
    listed = policy.get("rules") or []
    if len(listed) > _MAX_RULES:
        yield too_many(path, len(listed), _MAX_RULES)
    pod = (spec.get("template") or {}).get("spec") or {}
    names = {c.get("name", "") for field in ("containers", "initContainers") for c in pod.get(field) or ()}
    for i, rule in enumerate(listed):
        at = f"{path}[{i}]"
        yield from _action(rule.get("action", ""), spec, f"{at}.action")
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
        if codes is not None:
            yield from _exit_codes(codes, names, f"{at}.onExitCodes")
        yield from _pod_conditions(conditions, f"{at}.onPodConditions")
        if codes is not None and conditions:
            detail = "specifying both OnExitCodes and OnPodConditions is not supported"
            yield FieldError(Cause.INVALID, at, detail)
        if codes is None and not conditions:
            detail = "specifying one of OnExitCodes and OnPodConditions is required"
            yield FieldError(Cause.INVALID, at, detail)


def _action(action: str, spec: Obj, path: str) -> Errors:
    if not action:
        yield required(path, f"valid values: {_quoted(_ACTIONS)}")
    elif action not in _ACTIONS:
        yield unsupported(path, action, _ACTIONS)
    elif action == "FailIndex" and "backoffLimitPerIndex" not in spec:
        yield invalid(path, action, "requires the backoffLimitPerIndex to be set")


def _exit_codes(codes: Obj, names: set[str], path: str) -> Errors:
    operator, values, container = codes.get("operator", ""), codes.get("values") or [], codes.get("containerName")
    if not operator:
        yield required(f"{path}.operator", f"valid values: {_quoted(_OPERATORS)}")
    elif operator not in _OPERATORS:
        yield unsupported(f"{path}.operator", operator, _OPERATORS)
    if container is not None and container not in names:
        detail = "must be one of the container or initContainer names in the pod template"
        yield invalid(f"{path}.containerName", container, detail)
    if not values:
        yield invalid(f"{path}.values", values, "at least one value is required")
    elif len(values) > _MAX_CODES:
        yield too_many(f"{path}.values", len(values), _MAX_CODES)
    seen = set()
    for i, value in enumerate(values):
        if operator == "In" and value == 0:
            yield invalid(f"{path}.values[{i}]", value, "must not be 0 for the In operator")
        if value in seen:
            yield duplicate(f"{path}.values[{i}]", value)
        seen.add(value)
    if values != sorted(values):
        yield invalid(f"{path}.values", values, "must be ordered")


def _pod_conditions(patterns: list[Obj], path: str) -> Errors:
    if len(patterns) > _MAX_RULES:
        yield too_many(path, len(patterns), _MAX_RULES)
    for i, pattern in enumerate(patterns):
        kind, status = pattern.get("type", ""), pattern.get("status", "")
        yield from each(f"{path}[{i}].type", kind, rules.qualified_name_errors(kind))
        if not status:
            yield required(f"{path}[{i}].status", f"valid values: {_quoted(_STATUSES)}")
        elif status not in _STATUSES:
            yield unsupported(f"{path}[{i}].status", status, _STATUSES)


def _success_policy(policy: Obj, completions: int | None, path: str) -> Errors:
    listed = policy.get("rules") or []
    if not listed:
        yield required(path, "at least one rules must be specified when the successPolicy is specified")
    if len(listed) > _MAX_RULES:
        yield too_many(path, len(listed), _MAX_RULES)
    for i, rule in enumerate(listed):
        yield from _success_rule(rule, completions or 0, f"{path}[{i}]")


def _success_rule(rule: Obj, completions: int, path: str) -> Errors:
    indexes, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    if indexes is None and count is None:
        yield required(path, "at least one of succeededCount or succeededIndexes must be specified")
    total = 0
    if indexes is not None:
        if len(indexes) > _MAX_INDEXES:
            yield too_long(f"{path}.succeededIndexes", _MAX_INDEXES)
        try:
            total = count_indexes(indexes, completions)
        except ValueError as error:
            yield invalid(f"{path}.succeededIndexes", indexes, f"error parsing succeededIndexes: {error}")
    if count is None:
        return
    at = f"{path}.succeededCount"
    yield from not_negative(rule, path, "succeededCount")
    if count > completions:
        yield invalid(at, count, f"must be less than or equal to {completions} (the number of specified completions)")
    if indexes is not None and count > total:
        detail = (
            f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        )
        yield invalid(at, count, detail)


def _completions(spec: Obj, before: Obj) -> Errors:
    """Indexed Jobs grow and shrink together with their parallelism (KEP-3715)."""
    count, was = spec.get("completions"), before.get("completions")
    if spec.get("completionMode") != "Indexed":
        yield from immutable("spec.completions", count, was)
    elif count is not None and count != was and count != spec.get("parallelism"):
        yield invalid("spec.completions", count, "can only be modified in tandem with spec.parallelism")


def _template_update(template: Obj, old: Obj) -> Errors:
    before = (old.get("spec") or {}).get("template") or {}
    if template == before:
        return
    allowed: Any = copy.deepcopy(before)
    if _may_move(old):
        _take_directives(allowed, template)
        _take_resources(allowed, template)
    if plain(template) != plain(allowed):
        yield invalid("spec.template", template, rules.IMMUTABLE)


def _may_move(old: Obj) -> bool:
    """A suspended Job that never started, or whose pods have all gone."""
    status = old.get("status") or {}
    suspended = bool((old.get("spec") or {}).get("suspend"))
    return suspended and (not status.get("startTime") or not status.get("active"))


def _take_directives(allowed: Obj, template: Obj) -> None:
    """Labels, annotations, gates and all that chooses a node, but affinity to pods."""
    spec: Obj = allowed.setdefault("spec", {})
    wanted = template.get("spec") or {}
    for field in ("nodeSelector", "tolerations", "schedulingGates"):
        _take(field, spec, wanted)
    meta: Obj = allowed.setdefault("metadata", {})
    for field in ("labels", "annotations"):
        _take(field, meta, template.get("metadata") or {})
    affinity = dict(spec.get("affinity") or {})
    _take("nodeAffinity", affinity, wanted.get("affinity") or {})
    spec["affinity"] = affinity


def _take_resources(allowed: Obj, template: Obj) -> None:
    spec: Obj = allowed.setdefault("spec", {})
    wanted = template.get("spec") or {}
    for field in ("containers", "initContainers"):
        for container, now in zip(spec.get(field) or (), wanted.get(field) or (), strict=False):
            resources = dict(container.get("resources") or {})
            for part in ("limits", "requests"):
                _take(part, resources, now.get("resources") or {})
            container["resources"] = resources


def _take(field: str, target: Obj, source: Obj) -> None:
    if field in source:
        target[field] = source[field]
    else:
        target.pop(field, None)
