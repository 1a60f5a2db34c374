"""Validation of LimitRanges and ResourceQuotas.

Source: API reference, LimitRangeItem and ResourceQuotaSpec; "Limit Ranges", "Resource Quotas" (scopes and the names of
what they count).
"""

from __future__ import annotations

from hawser.api.quantity import milli, parse_quantity, to_bytes
from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.resources import container_resource, overcommits
from hawser.api.validation.rules import NEGATIVE, Errors, duplicate, each, forbidden, invalid, required

_OBJECTS = (
    *("pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps"),
    *("persistentvolumeclaims", "services.nodeports", "services.loadbalancers"),
)
_COMPUTE = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
_LOCAL = ("ephemeral-storage", "requests.ephemeral-storage", "limits.ephemeral-storage")
_QUOTA = frozenset((*_OBJECTS, *_COMPUTE, *_LOCAL, "requests.storage"))
_STANDARD = _QUOTA | {"storage"}
_INTEGERS = frozenset(_OBJECTS)
_POD_RESOURCES = frozenset(("pods", *_COMPUTE))
_CLAIMS = frozenset(("persistentvolumeclaims", "requests.storage"))
# Which of the standard resources each scope can count.
_SCOPES = {
    "Terminating": _POD_RESOURCES,
    "NotTerminating": _POD_RESOURCES,
    "BestEffort": frozenset(("pods",)),
    "NotBestEffort": _POD_RESOURCES,
    "PriorityClass": _POD_RESOURCES,
    "CrossNamespacePodAffinity": _POD_RESOURCES,
    "VolumeAttributesClass": _CLAIMS,
}
_EXISTS_ONLY = ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")
_PAIRS = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_EXISTS_RULE = (
    "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)
_LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_LISTS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
_MAX_MILLI = (2**63 - 1) // 1000


def limit_range(obj: Obj) -> Errors:
    seen = set()
    for i, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        path, kind = f"spec.limits[{i}]", item.get("type", "")
        bad = rules.qualified_name_errors(kind)
        yield from each(f"{path}.type", kind, bad)
        if not bad and "/" not in kind and kind not in _LIMIT_TYPES:
            yield invalid(f"{path}.type", kind, "must be a standard limit type or fully qualified")
        if kind in seen:
            yield duplicate(f"{path}.type", kind)
        seen.add(kind)
        yield from _limit(item, kind, path)


def _limit(item: Obj, kind: str, path: str) -> Errors:
    lists = {field: item.get(field) or {} for field in _LISTS}
    for field in _LISTS:
        if kind == "Pod" and field.startswith("default"):
            if lists[field]:
                yield forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'")
            lists[field] = {}
        for name in lists[field]:
            at = f"{path}.{field}[{name}]"
            if kind in ("Pod", "Container"):
                yield from container_resource(name, at)
            else:
                yield from _resource_name(name, at)
    if kind == "PersistentVolumeClaim" and not any("storage" in lists[field] for field in ("min", "max")):
        detail = "either minimum or maximum storage value is required, but neither was provided"
        yield required(f"{path}.limits", detail)
    for name in sorted({name for field in _LISTS for name in lists[field]}):
        yield from _order(name, {field: lists[field].get(name) for field in _LISTS}, path)


def _order(name: str, of: dict[str, str | None], path: str) -> Errors:
    """min <= default request <= default <= max."""

    def above(left: str, right: str) -> bool:
        a, b = of[left], of[right]
        return a is not None and b is not None and parse_quantity(a) > parse_quantity(b)

    least, most, usual, asked = of["min"], of["max"], of["default"], of["defaultRequest"]
    if above("min", "max"):
        yield invalid(f"{path}.min[{name}]", least, f"min value {least} is greater than max value {most}")
    at = f"{path}.defaultRequest[{name}]"
    if above("min", "defaultRequest"):
        yield invalid(at, asked, f"min value {least} is greater than default request value {asked}")
    if above("defaultRequest", "max"):
        yield invalid(at, asked, f"default request value {asked} is greater than max value {most}")
    if above("defaultRequest", "default"):
        yield invalid(at, asked, f"default request value {asked} is greater than default limit value {usual}")
    if above("min", "default"):
        detail = f"min value {least} is greater than default value {usual}"
        yield invalid(f"{path}.default[{name}]", least, detail)
    if above("default", "max"):
        detail = f"default value {usual} is greater than max value {most}"
        yield invalid(f"{path}.default[{name}]", most, detail)
    if of["maxLimitRequestRatio"] is not None:
        yield from _ratio(of["maxLimitRequestRatio"], least, most, f"{path}.maxLimitRequestRatio[{name}]")
    if usual is None or asked is None or overcommits(name):
        return
    if parse_quantity(usual) != parse_quantity(asked):
        yield invalid(at, asked, f"default value {usual} must equal to defaultRequest value {asked} in {name}")


def _ratio(ratio: str, least: str | None, most: str | None, path: str) -> Errors:
    if parse_quantity(ratio) < 1:
        yield invalid(path, ratio, f"ratio {ratio} is less than 1")
    if least is None or most is None:
        return
    # Small amounts are compared in thousandths, as Kubernetes does.
    fine = all(to_bytes(amount) < _MAX_MILLI for amount in (ratio, least, most))
    low, high = (milli(least), milli(most)) if fine else (to_bytes(least), to_bytes(most))
    value = milli(ratio) / 1000 if fine else float(to_bytes(ratio))
    limit = high / low if low else float("inf")
    if value > limit:
        yield invalid(path, ratio, f"ratio {ratio} is greater than max/min = {limit:f}")


def _resource_name(name: str, path: str) -> Errors:
    """The name of a resource anywhere."""
    bad = rules.qualified_name_errors(name)
    yield from each(path, name, bad)
    if not bad and "/" not in name and name not in _STANDARD and not _huge(name):
        yield invalid(path, name, "must be a standard resource type or fully qualified")


def _huge(name: str) -> bool:
    return name.startswith(("hugepages-", "requests.hugepages-"))


def resource_quota(obj: Obj) -> Errors:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    yield from _amounts(spec.get("hard"), "spec.hard")
    yield from _scopes(spec)
    if (selector := spec.get("scopeSelector")) is not None:
        yield from _scope_selector(selector, spec)
    for field in ("hard", "used"):
        yield from _amounts(status.get(field), f"status.{field}")


def resource_quota_update(obj: Obj, old: Obj) -> Errors:
    scopes, before = ((o.get("spec") or {}).get("scopes") or [] for o in (obj, old))
    if set(scopes) != set(before):
        yield invalid("spec.scopes", scopes, rules.IMMUTABLE)


def resource_quota_status_update(obj: Obj, old: Obj) -> Errors:
    status = obj.get("status") or {}
    for field in ("hard", "used"):
        yield from _amounts(status.get(field), f"status.{field}")


def _amounts(amounts: dict[str, str] | None, path: str) -> Errors:
    for name, amount in (amounts or {}).items():
        at = f"{path}[{name}]"
        yield from _resource_name(name, at)
        if "/" not in name and name not in _QUOTA and not _huge(name):
            yield invalid(at, name, "must be a standard resource for quota")
        value = parse_quantity(amount)
        if value < 0:
            yield invalid(at, amount, NEGATIVE)
        whole = name in _INTEGERS or ("/" in name and "kubernetes.io/" not in name and not name.startswith("requests."))
        if whole and value != value.to_integral_value():
            yield invalid(at, amount, "must be an integer")


def _uncountable(scope: str, hard: Obj) -> int:
    """How many of the standard resources a scope cannot count."""
    countable = _SCOPES.get(scope)
    return 0 if countable is None else sum((name in _QUOTA or _huge(name)) and name not in countable for name in hard)


def _scopes(spec: Obj) -> Errors:
    scopes = spec.get("scopes") or []
    for scope in scopes:
        if scope not in _SCOPES:
            yield invalid("spec.scopes", scopes, "unsupported scope")
        for _ in range(_uncountable(scope, spec.get("hard") or {})):
            yield invalid("spec.scopes", scopes, "unsupported scope applied to resource")
    for pair in _PAIRS:
        if set(pair) <= set(scopes):
            yield invalid("spec.scopes", scopes, "conflicting scopes")


def _scope_selector(selector: Obj, spec: Obj) -> Errors:
    path = "spec.scopeSelector.matchExpressions"
    named = set()
    for term in selector.get("matchExpressions") or ():
        scope, operator, values = term.get("scopeName", ""), term.get("operator", ""), term.get("values") or []
        if scope not in _SCOPES:
            yield invalid(f"{path}.scopeName", scope, "unsupported scope")
        for _ in range(_uncountable(scope, spec.get("hard") or {})):
            yield invalid(path, selector, "unsupported scope applied to resource")
        if scope in _EXISTS_ONLY and operator != "Exists":
            yield invalid(f"{path}.operator", operator, _EXISTS_RULE)
        if operator in ("In", "NotIn"):
            if not values:
                detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                yield required(f"{path}.values", detail)
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                yield invalid(f"{path}.values", values, detail)
        else:
            yield invalid(f"{path}.operator", operator, "not a valid selector operator")
        named.add(scope)
    for pair in _PAIRS:
        if named.issuperset(pair):
            yield invalid(path, spec.get("scopes") or [], "conflicting scopes")
