"""What is wrong with a value, by its schema and in kube-apiserver's words.

Source: Kubernetes documentation, "Validation" and "Validation ratcheting" of CustomResourceDefinitions (an update is
not asked about values that it leaves as they were); the sentences are those of kube-openapi's validator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hawser.api.crd.patterns import matches_format
from hawser.api.crd.schema import ABSENT, Schema
from hawser.api.errors import Cause, FieldError
from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.rules import Errors, invalid, required, too_long, too_many

_WHOLE = "<nil>"
"""Kubernetes names no field for errors of allOf, anyOf, oneOf and not; their sentences do."""
_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def check(schema: Schema, value: Any, path: str = "", old: Any = ABSENT) -> Errors:
    """Every error of a value at path. old: what was stored there; where nothing changed, nothing is checked."""
    if old is not ABSENT and same(value, old):
        return
    if value is None:
        if not schema.nullable and schema.types:
            yield _type(path, value, ",".join(schema.types))
        return
    if schema.types and not _is_of(value, schema.types):
        yield _type(path, value, ",".join(schema.types))
        return
    source = schema.source
    if type(value) is str:
        yield from _string(schema, value, path)
    elif type(value) is dict:
        yield from _object(schema, value, path, old if type(old) is dict else ABSENT)
    elif type(value) is list:
        yield from _array(schema, value, path, old if type(old) is list else ABSENT)
    elif type(value) in (int, float):
        yield from _number(source, value, path)
    allowed = source.get("enum")
    if allowed and not any(same(value, one) for one in allowed):
        yield rules.unsupported(path, value, map(_text, allowed))
    if schema.junctors:
        yield from _junctors(schema, value, path)


def same(one: Any, other: Any) -> bool:
    """JSON equality: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other) and (
        not isinstance(one, dict | list) or _deep_types(one) == _deep_types(other) or repr(one) == repr(other)
    )


def _deep_types(value: Any) -> Any:
    """Booleans of a container by place: what == cannot tell from numbers."""
    if isinstance(value, dict):
        return {key: made for key, item in value.items() if (made := _deep_types(item))}
    if isinstance(value, list):
        found = [_deep_types(item) for item in value]
        return found if any(found) else None
    return "bool" if isinstance(value, bool) else None


def _is_of(value: Any, types: Iterable[str]) -> bool:
    name = _NAMES.get(type(value), "null")
    for kind in types:
        if kind == name or (kind == "number" and name == "integer"):
            return True
        if kind == "integer" and name == "number" and float(value).is_integer():
            return True
    return False


def _type(path: str, value: Any, wanted: str) -> FieldError:
    name = _NAMES.get(type(value), "null")
    detail = f'{path} in body must be of type {wanted}: "{name}"'
    return FieldError(Cause.TYPE_INVALID, path or _WHOLE, detail, name)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _string(schema: Schema, value: str, path: str) -> Errors:
    source = schema.source
    if (longest := source.get("maxLength")) is not None and len(value) > longest:
        yield too_long(path, longest)
    if (shortest := source.get("minLength")) is not None and len(value) < shortest:
        yield invalid(path, value, f"{path} in body should be at least {shortest} chars long")
    if schema.pattern is not None and not schema.pattern.search(value):
        yield invalid(path, value, f"{path} in body should match '{source['pattern']}'")
    form = source.get("format")
    if form and not matches_format(form, value):
        yield FieldError(Cause.TYPE_INVALID, path, f'{path} in body must be of type {form}: "{value}"', value)


def _number(source: Obj, value: float, path: str) -> Errors:
    if (most := source.get("maximum")) is not None:
        if source.get("exclusiveMaximum"):
            if value >= most:
                yield invalid(path, value, f"{path} in body should be less than {_figure(most)}")
        elif value > most:
            yield invalid(path, value, f"{path} in body should be less than or equal to {_figure(most)}")
    if (least := source.get("minimum")) is not None:
        if source.get("exclusiveMinimum"):
            if value <= least:
                yield invalid(path, value, f"{path} in body should be greater than {_figure(least)}")
        elif value < least:
            yield invalid(path, value, f"{path} in body should be greater than or equal to {_figure(least)}")
    if (factor := source.get("multipleOf")) and abs(value / factor - round(value / factor)) > 1e-9:
        yield invalid(path, value, f"{path} in body should be a multiple of {_figure(factor)}")
    if (form := source.get("format")) in _RANGES and source.get("type") == "integer":
        low, high = _RANGES[form]
        if not low <= value <= high:
            detail = f"Checked value must be of type integer with format {form} in {path}"
            yield invalid(path, value, detail)


def _figure(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _object(schema: Schema, value: Obj, path: str, old: Any) -> Errors:
    source = schema.source
    prefix = f"{path}." if path else ""
    if (most := source.get("maxProperties")) is not None and len(value) > most:
        yield too_many(path, len(value), most)
    if (least := source.get("minProperties")) is not None and len(value) < least:
        yield invalid(path, len(value), f"{path} in body should have at least {least} properties")
    for name in schema.required:
        if name not in value:
            yield required(prefix + name)
    for key, item in value.items():
        below = schema.of_key(key)
        if below is not None:
            yield from check(below, item, prefix + key, ABSENT if old is ABSENT else old.get(key, ABSENT))
    if schema.embedded:
        for name in ("apiVersion", "kind"):
            if not value.get(name):
                yield required(prefix + name, "must not be empty")


def _array(schema: Schema, value: list[Any], path: str, old: Any) -> Errors:
    source = schema.source
    if (most := source.get("maxItems")) is not None and len(value) > most:
        yield too_many(path, len(value), most)
    if (least := source.get("minItems")) is not None and len(value) < least:
        yield invalid(path, len(value), f"{path} in body should have at least {least} items")
    keys = source.get("x-kubernetes-list-map-keys") if source.get("x-kubernetes-list-type") == "map" else None
    before = _by_keys(old, keys) if keys and old is not ABSENT else None
    if schema.items is not None:
        for index, item in enumerate(value):
            was = before.get(key_of(item, keys), ABSENT) if before is not None and keys else ABSENT
            yield from check(schema.items, item, f"{path}[{index}]", was)
    if source.get("x-kubernetes-list-type") == "set":
        yield from _duplicates(path, value, map(_frozen, value))
    elif keys:
        shown = [{key: item[key] for key in keys if key in item} if type(item) is dict else item for item in value]
        yield from _duplicates(path, shown, (key_of(item, keys) for item in value))


def _by_keys(items: list[Any], keys: list[str]) -> dict[Any, Any]:
    return {key_of(item, keys): item for item in items}


def key_of(item: Any, keys: Iterable[str]) -> Any:
    """What tells an item of a list of type map from the others; hashable."""
    if type(item) is not dict:
        return _frozen(item)
    return tuple(_frozen(item.get(key)) for key in keys)


def _frozen(value: Any) -> Any:
    """A hashable stand-in of a JSON value."""
    if isinstance(value, dict):
        return ("{", *sorted((key, _frozen(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("[", *map(_frozen, value))
    return (type(value).__name__, value) if isinstance(value, bool) else value


def _duplicates(path: str, shown: list[Any], keys: Iterator[Any]) -> Errors:
    seen = set()
    for index, key in enumerate(keys):
        if key in seen:
            yield rules.duplicate(f"{path}[{index}]", shown[index])
        seen.add(key)


def _junctors(schema: Schema, value: Any, path: str) -> Errors:
    def failure(sentence: str) -> FieldError:
        return invalid(_WHOLE, "", f'"{path}" {sentence}')

    for name, parts in schema.junctors.items():
        found = [list(check(part, value, path)) for part in parts]
        valid = sum(not errors for errors in found)
        match name:
            case "allOf" if valid < len(parts):
                for errors in found:
                    yield from errors
                yield failure("must validate all the schemas (allOf)" + ("" if valid else ". None validated"))
            case "anyOf" if not valid:
                yield failure("must validate at least one schema (anyOf)")
                yield from min(found, key=len)
            case "oneOf" if valid != 1:
                what = f"{valid} valid alternatives" if valid else "none valid"
                yield failure(f"must validate one and only one schema (oneOf). Found {what}")
                if not valid:
                    yield from min(found, key=len)
            case "not" if valid:
                yield failure("must not validate the schema (not)")
