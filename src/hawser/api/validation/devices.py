"""Validation of what resource.k8s.io's kinds have in common, and of DeviceClasses, claims and their templates.

Source: API reference, ResourceClaimSpec and DeviceClassSpec; "Dynamic Resource Allocation".
"""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson

from hawser.api.types import Obj
from hawser.api.validation import rules, values
from hawser.api.validation.metadata import annotation_map
from hawser.api.validation.rules import Errors, duplicate, each, invalid, required, too_long, too_many, unsupported

EFFECTS = ("NoExecute", "NoSchedule", "None")
_OPERATORS = ("Equal", "Exists")
_MODES = ("All", "ExactCount")
_MAX = 32
_MAX_EXPRESSION = 10 * 1024
MAX_PARAMETERS = 10 * 1024
_MAX_CHOICES = 8
_REFERENCE = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
_CONSTRAINT = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
_ONE_OF = "exactly one of `exactly` or `firstAvailable` is required"
_extended = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?").fullmatch

Names = dict[str, set[str]]
"""The requests of a claim, each with its choices."""


def label(value: str, path: str) -> Errors:
    """A required RFC 1123 label."""
    if not value:
        yield required(path)
    else:
        yield from each(path, value, rules.label_errors(value))


def pool_name(name: str, path: str) -> Errors:
    if not name:
        yield required(path)
        return
    if len(name) > 253:
        yield too_long(path, 253)
    for part in name.split("/"):
        yield from each(path, part, rules.subdomain_errors(part))


def qualified_name(name: str, path: str, full: bool = False) -> Errors:
    """The name of an attribute or a capacity: a C identifier, below a domain or (not full) without one."""
    domain, slash, rest = name.partition("/")
    if not slash:
        yield from _identifier(name, path)
        if full:
            yield invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash")
        return
    if "/" in rest:
        yield invalid(path, name, "must not contain more than one slash")
        return
    if not domain:
        yield invalid(path, "", "the domain must not be empty")
    else:
        yield from values.csi_driver_name(domain, path)
    if not rest:
        yield invalid(path, "", "the name must not be empty")
    else:
        yield from _identifier(rest, path)


def _identifier(text: str, path: str) -> Errors:
    if len(text) > 32:
        yield too_long(path, 32)
    yield from each(path, text, values.c_identifier_errors(text))


def opaque(parameters: object, path: str, limit: int) -> Errors:
    """Parameters that only a driver understands: a JSON object."""
    if parameters is None:
        yield required(path)
    elif len(orjson.dumps(parameters)) > limit:
        yield too_long(path, limit)
    elif not isinstance(parameters, dict):
        yield invalid(path, "<value omitted>", "must be a valid JSON object")


def toleration(entry: Obj, path: str) -> Errors:
    key, operator, value, effect = (entry.get(f, "") for f in ("key", "operator", "value", "effect"))
    if key:
        yield from each(f"{path}.key", key, rules.qualified_name_errors(key))
    if operator == "Exists":
        if value:
            yield invalid(f"{path}.value", value, "must be empty for operator `Exists`")
    elif operator == "Equal":
        yield from each(f"{path}.value", value, rules.label_value_errors(value))
    elif not operator:
        yield required(f"{path}.operator")
    else:
        yield unsupported(f"{path}.operator", operator, _OPERATORS)
    if effect and effect not in EFFECTS:
        yield unsupported(f"{path}.effect", effect, EFFECTS)


def binding_conditions(holder: Obj, path: str) -> Errors:
    """bindingConditions and bindingFailureConditions come together and do not overlap."""
    found, failures = holder.get("bindingConditions") or [], holder.get("bindingFailureConditions") or []
    for field, listed in (("bindingConditions", found), ("bindingFailureConditions", failures)):
        at = f"{path}.{field}"
        if len(listed) > 4:
            yield too_many(at, len(listed), 4)
            continue
        for i, condition in enumerate(listed):
            yield from each(f"{at}[{i}]", condition, rules.qualified_name_errors(condition))
            if condition in listed[:i]:
                yield duplicate(f"{at}[{i}]", condition)
            if field == "bindingFailureConditions" and condition in found:
                detail = "bindingFailureConditions must not overlap with bindingConditions"
                yield invalid(f"{at}[{i}]", condition, detail)
    if failures and not found:
        detail = "bindingConditions are required to use bindingFailureConditions"
        yield invalid(f"{path}.bindingConditions", found, detail)
    if found and not failures:
        detail = "bindingFailureConditions are required to use bindingConditions"
        yield invalid(f"{path}.bindingFailureConditions", failures, detail)


def selectors(listed: list[Obj], path: str) -> Errors:
    if len(listed) > _MAX:
        yield too_many(path, len(listed), _MAX)
        return
    for i, selector in enumerate(listed):
        cel = selector.get("cel")
        if cel is None:
            yield required(f"{path}[{i}].cel")
        else:
            yield from _expression(cel.get("expression", ""), f"{path}[{i}].cel.expression")


def _expression(source: str, path: str) -> Errors:
    # Whoever has no selectors does not load the expression language.
    from hawser.api.device_selectors import selector_error

    if len(source.encode()) > _MAX_EXPRESSION:
        yield too_long(path, _MAX_EXPRESSION)
    elif message := selector_error(source):
        yield invalid(path, source, message)


def configurations(listed: list[Obj], path: str, names: Names | None, limit: int = _MAX) -> Errors:
    """Opaque configurations, each for a driver. names: the requests that they may be for."""
    if len(listed) > limit:
        yield too_many(path, len(listed), limit)
        return
    for i, config in enumerate(listed):
        at = f"{path}[{i}]"
        if names is not None:
            yield from _references(config.get("requests") or [], names, f"{at}.requests")
        found = config.get("opaque")
        if found is None:
            yield required(f"{at}.opaque")
            continue
        yield from values.csi_driver_name(found.get("driver", ""), f"{at}.opaque.driver")
        yield from opaque(found.get("parameters"), f"{at}.opaque.parameters", MAX_PARAMETERS)


def request_names(spec: Obj) -> Names:
    """The names that a claim's spec gives its requests."""
    requests = (spec.get("devices") or {}).get("requests") or ()
    return {r.get("name", ""): {c.get("name", "") for c in r.get("firstAvailable") or ()} for r in requests}


def reference(name: str, names: Names, path: str) -> Errors:
    """``request`` or ``request/choice``."""
    parts = name.split("/")
    if len(parts) > 2:
        yield invalid(path, name, _REFERENCE)
        return
    for part in parts:
        yield from each(path, part, rules.label_errors(part))
    if parts[0] not in names or (len(parts) == 2 and parts[1] not in names[parts[0]]):
        yield invalid(path, name, _REFERENCE)


def _references(listed: list[str], names: Names, path: str) -> Errors:
    if len(listed) > _MAX:
        yield too_many(path, len(listed), _MAX)
        return
    for i, name in enumerate(listed):
        yield from reference(name, names, f"{path}[{i}]")
    yield from values.unique(listed, path)


def claim_spec(spec: Obj, path: str) -> Errors:
    """A ResourceClaimSpec, also that of a template."""
    devices, names = spec.get("devices") or {}, request_names(spec)
    at = f"{path}.devices"
    yield from _named(devices.get("requests") or [], f"{at}.requests", _MAX, _request)
    constraints = devices.get("constraints") or []
    if len(constraints) > _MAX:
        yield too_many(f"{at}.constraints", len(constraints), _MAX)
    else:
        for i, constraint in enumerate(constraints):
            yield from _constraint(constraint, names, f"{at}.constraints[{i}]")
    yield from configurations(devices.get("config") or [], f"{at}.config", names)


def _named(listed: list[Obj], path: str, limit: int, check: Callable[[Obj, str], Errors]) -> Errors:
    """A list of at most limit items, each with a name of its own."""
    if len(listed) > limit:
        yield too_many(path, len(listed), limit)
        return
    for i, item in enumerate(listed):
        yield from label(item.get("name", ""), f"{path}[{i}].name")
        yield from check(item, f"{path}[{i}]")
    yield from values.unique((item.get("name", "") for item in listed), path)


def _request(request: Obj, path: str) -> Errors:
    exactly, choices = request.get("exactly"), request.get("firstAvailable") or []
    if exactly is None and not choices:
        yield required(path, _ONE_OF)
    elif exactly is not None and choices:
        yield invalid(path, None, f"{_ONE_OF}, but multiple fields are set")
    elif exactly is not None:
        yield from _device_request(exactly, f"{path}.exactly")
    else:
        yield from _named(choices, f"{path}.firstAvailable", _MAX_CHOICES, _device_request)


def _device_request(request: Obj, path: str) -> Errors:
    name, mode, count = request.get("deviceClassName", ""), request.get("allocationMode", ""), request.get("count", 0)
    if not name:
        yield required(f"{path}.deviceClassName")
    else:
        yield from each(f"{path}.deviceClassName", name, rules.subdomain_errors(name))
    yield from selectors(request.get("selectors") or [], f"{path}.selectors")
    if mode == "All":
        if count:
            yield invalid(f"{path}.count", count, "must not be specified when allocationMode is 'All'")
    elif mode == "ExactCount":
        if count <= 0:
            yield invalid(f"{path}.count", count, values.POSITIVE)
    else:
        yield unsupported(f"{path}.allocationMode", mode, _MODES)
    for i, entry in enumerate(request.get("tolerations") or ()):
        yield from toleration(entry, f"{path}.tolerations[{i}]")


def _constraint(constraint: Obj, names: Names, path: str) -> Errors:
    yield from _references(constraint.get("requests") or [], names, f"{path}.requests")
    for field in ("matchAttribute", "distinctAttribute"):
        if (name := constraint.get(field)) is not None:
            yield from qualified_name(name, f"{path}.{field}", full=True)
            return
    yield required(
        path, 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
    )


def claim(obj: Obj) -> Errors:
    yield from claim_spec(obj.get("spec") or {}, "spec")


def claim_template(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    meta = spec.get("metadata") or {}
    yield from rules.labels(meta.get("labels"), "spec.metadata.labels")
    yield from annotation_map(meta.get("annotations"), "spec.metadata.annotations")
    yield from claim_spec(spec.get("spec") or {}, "spec.spec")


def fixed_spec(obj: Obj, old: Obj) -> Errors:
    """Claims and their templates do not change."""
    yield from values.same("spec", obj.get("spec"), old.get("spec"))


def device_class(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    yield from selectors(spec.get("selectors") or [], "spec.selectors")
    yield from configurations(spec.get("config") or [], "spec.config", None)
    if (name := spec.get("extendedResourceName")) is not None and not _is_extended(name):
        yield invalid("spec.extendedResourceName", name, "must be a valid extended resource name")


def _is_extended(name: str) -> bool:
    if not _extended(name) or "kubernetes.io/" in name or name.startswith("requests."):
        return False
    return not rules.qualified_name_errors(f"requests.{name}")
