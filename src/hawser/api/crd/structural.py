"""Whether a schema is structural, and what else Kubernetes asks of a CRD's schemas.

Source: Kubernetes documentation, "Specifying a structural schema", "Defaulting", "Merge strategy"; the sentences are
those of apiextensions-apiserver.
"""

from __future__ import annotations

from typing import Any

from hawser.api.crd import checks
from hawser.api.crd.patterns import PatternError, compile_pattern
from hawser.api.crd.schema import Schema, copy, fill, has_rules, prune
from hawser.api.types import Obj
from hawser.api.validation.rules import Errors, forbidden, invalid, required, unsupported

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = ("$ref", "definitions", "dependencies", "id", "patternProperties", "additionalItems")
_STRUCTURE = (
    "type", "title", "description", "default", "nullable", "additionalProperties",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
)  # fmt: skip
_STRUCTURAL = "must be empty to be structural"
_LIST_TYPES = ("atomic", "map", "set")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]


def check_root(schema: Obj, path: str) -> Errors:
    """Every error of the schema of a whole object; path is where it is. Rules are looked at when all else is right."""
    errors = list(_root(schema, path))
    yield from errors
    if not errors and has_rules(schema):
        # Whoever has no rules does not load the expression language.
        from hawser.api.crd.rule_checks import check_rules

        yield from check_rules(schema, path)


def _root(schema: Obj, path: str) -> Errors:
    kind = schema.get("type")
    if not kind:
        yield required(f"{path}.type", "must not be empty at the root")
    elif kind != "object":
        yield invalid(f"{path}.type", kind, "must be object at the root")
    if schema.get("nullable"):
        yield forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    metadata = (schema.get("properties") or {}).get("metadata") or {}
    extra = set(metadata.get("properties") or {}) - {"name", "generateName"}
    if extra or set(metadata) - {"type", "properties", "description"}:
        yield forbidden(
            f"{path}.properties[metadata]",
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        )
    yield from _schema(schema, path, "root")


def _schema(schema: Obj, path: str, place: str) -> Errors:
    """One schema of the structure. place: root, object fields or array items."""
    either = bool(schema.get("x-kubernetes-int-or-string"))
    kind = schema.get("type")
    if not kind and place != "root" and not either and not schema.get("x-kubernetes-preserve-unknown-fields"):
        yield required(f"{path}.type", f"must not be empty for specified {place}")
    if either and kind:
        yield invalid(f"{path}.type", kind, "must be empty if x-kubernetes-int-or-string is true")
    yield from _standard(schema, path)
    if schema.get("x-kubernetes-embedded-resource"):
        yield from _embedded(schema, path)
    if kind == "array" and not isinstance(schema.get("items"), dict):
        yield required(f"{path}.items", "must be specified")
    properties = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    if extra is False:
        yield forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
    if properties and extra is not None:
        yield forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    for name, part in properties.items():
        yield from _schema(part, f"{path}.properties[{name}]", "object fields")
    if isinstance(extra, dict):
        yield from _schema(extra, f"{path}.additionalProperties", "object fields")
    if isinstance(schema.get("items"), dict):
        yield from _schema(schema["items"], f"{path}.items", "array items")
    yield from _lists(schema, path)
    yield from _junctors(schema, schema, path, either)
    yield from _default(schema, path)


def _standard(schema: Obj, path: str) -> Errors:
    kind = schema.get("type")
    if kind is not None and kind not in _TYPES:
        yield unsupported(f"{path}.type", kind, _TYPES)
    for name in _UNSUPPORTED:
        if schema.get(name):
            yield forbidden(f"{path}.{name}", f"{name} is not supported")
    if schema.get("uniqueItems"):
        yield forbidden(
            f"{path}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        )
    if isinstance(schema.get("items"), list):
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    if schema.get("pattern"):
        try:
            compile_pattern(schema["pattern"])
        except PatternError as error:
            yield invalid(
                f"{path}.pattern", schema["pattern"], f"must be a valid regular expression, but isn't: {error}"
            )
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is not None and map_type not in ("granular", "atomic"):
        yield unsupported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular"))


def _embedded(schema: Obj, path: str) -> Errors:
    if schema.get("type") != "object":
        yield invalid(
            f"{path}.type", schema.get("type", ""), "must be object if x-kubernetes-embedded-resource is true"
        )
    if not schema.get("x-kubernetes-preserve-unknown-fields") and not schema.get("properties"):
        yield required(
            f"{path}.properties",
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        )


def _lists(schema: Obj, path: str) -> Errors:
    kind = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys") or []
    if kind is not None and kind not in _LIST_TYPES:
        yield unsupported(f"{path}.x-kubernetes-list-type", kind, _LIST_TYPES)
    if kind is not None and schema.get("type") != "array":
        yield invalid(f"{path}.type", schema.get("type", ""), "must be array if x-kubernetes-list-type is specified")
    if kind != "map":
        if keys:
            yield forbidden(f"{path}.x-kubernetes-list-map-keys", "must be empty if x-kubernetes-list-type is not map")
        return
    if not keys:
        yield required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    items = schema.get("items") if isinstance(schema.get("items"), dict) else None
    if items is None or items.get("type") != "object":
        yield invalid(
            f"{path}.items.type", (items or {}).get("type", ""), "must be object if parent array's "
            "x-kubernetes-list-type is map",
        )  # fmt: skip
        return
    properties = items.get("properties") or {}
    for index, key in enumerate(keys):
        if key not in properties:
            yield invalid(
                f"{path}.x-kubernetes-list-map-keys[{index}]", key, "entries must all be names of item properties"
            )
        elif key not in (items.get("required") or ()) and "default" not in properties[key]:
            yield required(
                f"{path}.items.properties[{key}].default",
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            )


def _junctors(schema: Obj, structure: Obj, path: str, either: bool = False) -> Errors:
    """What stands in allOf, anyOf, oneOf and not: value validation only, of fields the structure has."""
    for name in ("allOf", "anyOf", "oneOf"):
        if either and _is_int_or_string(name, schema):
            continue
        for index, part in enumerate(schema.get(name) or ()):
            yield from _validation(part, structure, f"{path}.{name}[{index}]")
    if schema.get("not"):
        yield from _validation(schema["not"], structure, f"{path}.not")


def _is_int_or_string(name: str, schema: Obj) -> bool:
    """The two forms in which an int-or-string may name its types."""
    parts = schema.get(name) or []
    if name == "anyOf":
        return bool(parts == _INT_OR_STRING)
    return name == "allOf" and bool(parts) and parts[0] == {"anyOf": _INT_OR_STRING}


def _validation(schema: Obj, structure: Obj | None, path: str) -> Errors:
    for field in _STRUCTURE:
        if schema.get(field) not in (None, False, "", []):
            yield forbidden(f"{path}.{field}", _STRUCTURAL)
    yield from _standard({key: value for key, value in schema.items() if key != "type"}, path)
    named = (structure or {}).get("properties") or {}
    for name, part in (schema.get("properties") or {}).items():
        if name == "metadata" and structure is None:
            yield forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")
        below = named.get(name)
        extra = (structure or {}).get("additionalProperties")
        if below is None and not isinstance(extra, dict):
            origin, _, _ = path.partition(".allOf")
            yield required(
                f"{_parent(origin)}.properties[{name}]", f"because it is defined in {path}.properties[{name}]"
            )
        yield from _validation(
            part, below or (extra if isinstance(extra, dict) else None), f"{path}.properties[{name}]"
        )
    if isinstance(schema.get("items"), dict):
        items = (structure or {}).get("items")
        if not isinstance(items, dict):
            yield required(f"{_parent(path)}.items", f"because it is defined in {path}.items")
        yield from _validation(schema["items"], items if isinstance(items, dict) else None, f"{path}.items")
    yield from _junctors(schema, structure or {}, path)


def _parent(path: str) -> str:
    """The path of the structure that a value validation belongs to."""
    ends = [at for name in (".allOf[", ".anyOf[", ".oneOf[", ".not") if (at := path.find(name)) >= 0]
    return path[: min(ends)] if ends else path


def _default(schema: Obj, path: str) -> Errors:
    if "default" not in schema:
        return
    value = copy(schema["default"])
    compiled = Schema(schema)
    holder: Any = {"default": value}
    root = Schema({"type": "object", "properties": {"default": {**schema, "default": None}}})
    unknown = prune(root, holder)
    if unknown:
        yield invalid(f"{path}.default", schema["default"], "must not have unknown fields")
        return
    fill(compiled, value)
    yield from checks.check(compiled, value, f"{path}.default")
