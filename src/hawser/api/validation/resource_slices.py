"""Validation of ResourceSlices. Source: API reference, ResourceSliceSpec."""

from __future__ import annotations

import re

from hawser.api.quantity import parse_quantity
from hawser.api.types import Obj
from hawser.api.validation import rules, values
from hawser.api.validation.devices import EFFECTS, binding_conditions, label, pool_name, qualified_name
from hawser.api.validation.rules import (
    Errors,
    duplicate,
    each,
    forbidden,
    invalid,
    required,
    too_long,
    too_many,
    unsupported,
)
from hawser.api.validation.scheduling import node_selector

_MAX_DEVICES, _MAX_ADVANCED_DEVICES = 128, 64
_MAX_COUNTER_SETS = 8
_MAX_COUNTERS = 32
_MAX_ATTRIBUTES = 32
_MAX_TAINTS = 16
_MAX_VALUE = 64
_SELECTIONS = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
_PER_DEVICE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
_UNSET_OR_TRUE = "must be either unset or set to true"
_PRE, _BUILD = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)", r"[0-9a-zA-Z-]+"
_NUMBER = r"(0|[1-9]\d*)"
_is_semver = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PRE}(\.{_PRE})*)?(\+{_BUILD}(\.{_BUILD})*)?", re.ASCII
).fullmatch


def resource_slice(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    yield from values.csi_driver_name(spec.get("driver", ""), "spec.driver")
    pool = spec.get("pool") or {}
    yield from pool_name(pool.get("name", ""), "spec.pool.name")
    count, generation = pool.get("resourceSliceCount", 0), pool.get("generation", 0)
    if count <= 0:
        yield invalid("spec.pool.resourceSliceCount", count, values.POSITIVE)
    if generation < 0:
        yield invalid("spec.pool.generation", generation, "must be greater than or equal to zero")
    yield from _where(spec, "spec")
    if "sharedCounters" in spec and "devices" in spec:
        yield invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed")
    yield from _devices(spec)
    yield from _counter_sets(spec.get("sharedCounters") or [], "spec.sharedCounters")


def _selected(holder: Obj, path: str, empty: str, fields: tuple[str, ...]) -> tuple[list[str], list[Errors]]:
    """The ways in which nodes are chosen, and what is wrong with them."""
    found, errors = [], []
    for field in fields:
        value = holder.get(field)
        if value is None:
            continue
        at = f"{path}.{field}"
        if field == "nodeName":
            if not value:
                errors.append(iter([invalid(at, value, empty)]))
                continue
            errors.append(each(at, value, rules.subdomain_errors(value)))
        elif field == "nodeSelector":
            errors.append(node_selector(value, at))
        elif value is not True:
            errors.append(iter([invalid(at, value, _UNSET_OR_TRUE)]))
            continue
        found.append(f"`{field}`")
    return found, errors


def _where(spec: Obj, path: str) -> Errors:
    fields = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
    found, errors = _selected(spec, path, "must be either unset or set to a non-empty string", fields)
    for some in errors:
        yield from some
    terms = (spec.get("nodeSelector") or {}).get("nodeSelectorTerms") or []
    if "nodeSelector" in spec and len(terms) != 1:
        detail = "must have exactly one node selector term"
        yield invalid(f"{path}.nodeSelector.nodeSelectorTerms", terms, detail)
    if not found:
        yield required(path, _SELECTIONS)
    elif len(found) > 1:
        yield invalid(path, f"{{{', '.join(found)}}}", f"{_SELECTIONS}, but multiple fields are set")


def _is_advanced(device: Obj) -> bool:
    lists = any(attribute.keys() & _LISTS for attribute in (device.get("attributes") or {}).values())
    return bool(device.get("taints") or device.get("consumesCounters")) or lists


def _devices(spec: Obj) -> Errors:
    devices, path = spec.get("devices") or [], "spec.devices"
    limit = _MAX_ADVANCED_DEVICES if any(map(_is_advanced, devices)) else _MAX_DEVICES
    if len(devices) > limit:
        yield too_many(path, len(devices), limit)
        return
    names = set()
    for i, device in enumerate(devices):
        at, name = f"{path}[{i}]", device.get("name", "")
        yield from _device(device, at)
        yield from _device_where(device, at, spec.get("perDeviceNodeSelection") is True)
        if name in names:
            yield duplicate(at, name)
        names.add(name)


def _device(device: Obj, path: str) -> Errors:
    yield from label(device.get("name", ""), f"{path}.name")
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    if (count := len(attributes) + len(capacity)) > _MAX_ATTRIBUTES:
        detail = f"the total number of attributes and capacities must not exceed {_MAX_ATTRIBUTES}"
        yield invalid(path, count, detail)
    for name, attribute in attributes.items():
        yield from qualified_name(name, f"{path}.attributes")
        yield from _attribute(attribute, f"{path}.attributes[{name}]")
    for name, amount in capacity.items():
        at = f"{path}.capacity[{name}].requestPolicy"
        yield from qualified_name(name, f"{path}.capacity")
        if (policy := amount.get("requestPolicy")) is None:
            continue
        if not device.get("allowMultipleAllocations"):
            yield forbidden(at, "allowMultipleAllocations must be true")
        else:
            yield from _policy(policy, amount.get("value", "0"), at)
    yield from _taints(device.get("taints") or [], f"{path}.taints")
    yield from _consumed(device.get("consumesCounters") or [], f"{path}.consumesCounters")
    yield from binding_conditions(device, path)


def _device_where(device: Obj, path: str, each_device: bool) -> Errors:
    fields = ("nodeName", "nodeSelector", "allNodes")
    if not each_device:
        if any(field in device for field in fields):
            detail = (
                "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true "
                "in the ResourceSlice spec"
            )
            yield invalid(path, None, detail)
        return
    found, errors = _selected(device, path, "must not be empty", fields)
    for some in errors:
        yield from some
    if not found:
        yield required(path, _PER_DEVICE)
    elif len(found) > 1:
        yield invalid(path, f"{{{', '.join(found)}}}", _PER_DEVICE)


_LISTS = {"bools", "ints", "strings", "versions"}
_VALUES = ("bool", "int", "string", "version", *sorted(_LISTS))


def _attribute(attribute: Obj, path: str) -> Errors:
    found = [field for field in _VALUES if field in attribute]
    for field in found:
        value, at = attribute[field], f"{path}.{field}"
        listed = field in _LISTS
        if listed and not value:
            yield invalid(at, value, "must not be empty if specified")
        for i, item in enumerate(value if listed else [value]):
            if isinstance(item, str):
                yield from _text(item, f"{at}[{i}]" if listed else at, "version" in field)
    if len(found) != 1:
        yield invalid(path, attribute if found else "", "exactly one value must be specified")


def _text(value: str, path: str, version: bool) -> Errors:
    if version and not _is_semver(value):
        yield invalid(path, value, "must be a string compatible with semver.org spec 2.0.0")
    if len(value.encode()) > _MAX_VALUE:
        yield too_long(path, _MAX_VALUE)


def _policy(policy: Obj, capacity: str, path: str) -> Errors:
    """What may be asked of a capacity that several claims share."""
    options, span, default = policy.get("validValues") or [], policy.get("validRange"), policy.get("default")
    if options and span is not None:
        detail = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        yield forbidden(path, detail)
    elif options and default is None:
        yield required(f"{path}.default", "required when validValues is defined")
    elif options:
        yield from _options(options, default or "0", capacity, f"{path}.validValues")
    elif span is not None and default is None:
        yield required(f"{path}.default", "required when validRange is defined")
    elif span is not None:
        yield from _range(span, default or "0", capacity, f"{path}.validRange")


def _options(options: list[str], default: str, capacity: str, path: str) -> Errors:
    amounts = [parse_quantity(option) for option in options]
    for i in range(1, len(amounts)):
        if amounts[i - 1] > amounts[i]:
            yield invalid(f"{path}[{i}]", options[i], "values must be sorted in ascending order")
    if len(options) > 10:
        yield too_many(path, len(options), 10)
        return
    for i, amount in enumerate(amounts):
        if amount > parse_quantity(capacity):
            yield invalid(f"{path}[{i}]", options[i], f"option is larger than capacity value: {capacity}")
        if amount in amounts[:i]:
            yield duplicate(f"{path}[{i}]", options[i])
    if parse_quantity(default) not in amounts:
        yield invalid(path, default, "default value is not valid according to the requestPolicy")


def _range(span: Obj, default: str, capacity: str, path: str) -> Errors:
    low, high, step = span.get("min"), span.get("max"), span.get("step")
    if low is None:
        yield required(f"{path}.min", "required when validRange is defined")
        return
    least, most, asked = parse_quantity(low), parse_quantity(capacity), parse_quantity(default)
    if least > most:
        yield invalid(f"{path}.min", low, f"min is larger than capacity value: {capacity}")
    if asked < least:
        yield invalid(f"{path}.default", default, f"default is less than min: {low}")
    if high is not None:
        if least > parse_quantity(high):
            yield invalid(f"{path}.max", low, f"min is larger than max: {high}")
        if parse_quantity(high) > most:
            yield invalid(f"{path}.max", high, f"max is larger than capacity value: {capacity}")
        if asked > parse_quantity(high):
            yield invalid(f"{path}.default", default, f"default is more than max: {high}")
    if step is None:
        return
    width = parse_quantity(step)
    if width <= 0:
        yield invalid(f"{path}.step", step, values.POSITIVE)
        return
    if least + width > most:
        yield invalid(f"{path}.step", step, f"one step {least + width} is larger than capacity value: {capacity}")
    for text in filter(None, (default, high)):
        if (parse_quantity(text) - least) % width:
            yield invalid(f"{path}.step", text, f"value is not a multiple of a given step ({step}) from ({low})")


def _taints(taints: list[Obj], path: str) -> Errors:
    if len(taints) > _MAX_TAINTS:
        yield too_many(path, len(taints), _MAX_TAINTS)
        return
    for i, taint in enumerate(taints):
        at = f"{path}[{i}]"
        key, value, effect = (taint.get(field, "") for field in ("key", "value", "effect"))
        yield from each(f"{at}.key", key, rules.qualified_name_errors(key))
        if value:
            yield from each(f"{at}.value", value, rules.label_value_errors(value))
        if not effect:
            yield required(f"{at}.effect")
        elif effect not in EFFECTS:
            yield unsupported(f"{at}.effect", effect, EFFECTS)


def _counters(counters: Obj, path: str) -> Errors:
    if not counters:
        yield required(path)
    elif len(counters) > _MAX_COUNTERS:
        yield too_many(path, len(counters), _MAX_COUNTERS)
    else:
        for name in counters:
            yield from each(path, name, rules.label_errors(name))


def _consumed(listed: list[Obj], path: str) -> Errors:
    if len(listed) > 2:
        yield too_many(path, len(listed), 2)
        return
    for i, entry in enumerate(listed):
        yield from label(entry.get("counterSet", ""), f"{path}[{i}].counterSet")
        yield from _counters(entry.get("counters") or {}, f"{path}[{i}].counters")
    yield from values.unique((entry.get("counterSet", "") for entry in listed), path)


def _counter_sets(listed: list[Obj], path: str) -> Errors:
    if len(listed) > _MAX_COUNTER_SETS:
        yield too_many(path, len(listed), _MAX_COUNTER_SETS)
        return
    for i, entry in enumerate(listed):
        yield from label(entry.get("name", ""), f"{path}[{i}].name")
        yield from _counters(entry.get("counters") or {}, f"{path}[{i}].counters")
    yield from values.unique((entry.get("name", "") for entry in listed), path)


def resource_slice_update(obj: Obj, old: Obj) -> Errors:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    now, was = (spec.get("pool") or {}).get("name"), (before.get("pool") or {}).get("name")
    yield from values.same("spec.pool.name", now, was)
    for field in ("driver", "nodeName"):
        yield from values.same(f"spec.{field}", spec.get(field), before.get(field))
