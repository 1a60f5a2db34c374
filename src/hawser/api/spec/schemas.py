"""The schemas of OpenAPI documents, made from Kubernetes' published definitions.

The definitions are JSON Schema for validators: nullable types, ``enum`` on apiVersion and kind. Here they are turned
back into what kube-apiserver publishes. Source: OpenAPI 3.0 and 2.0 specifications; Kubernetes'
``api/openapi-spec`` (the forms of references, quantities and int-or-string).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hawser.api.types import Obj

V3_PREFIX = "#/components/schemas/"
V2_PREFIX = "#/definitions/"
_SOURCE_PREFIX = "#/$defs/"

QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_QUANTITY_TEXT = "Quantity is a number with a suffix, such as 500m, 1Gi or 2k; it is written back in canonical form."
_INT_OR_STRING_TEXT = "IntOrString holds either an integer or a string, such as a port number or name, or a percentage."

# Both are written as oneOf of nullable types in the source, which tells nothing of their meaning.
_V3_SPECIAL: dict[str, Obj] = {
    QUANTITY: {"description": _QUANTITY_TEXT, "oneOf": [{"type": "string"}, {"type": "number"}]},
    INT_OR_STRING: {
        "description": _INT_OR_STRING_TEXT,
        "format": "int-or-string",
        "oneOf": [{"type": "integer"}, {"type": "string"}],
    },
}
_V2_SPECIAL: dict[str, Obj] = {
    QUANTITY: {"description": _QUANTITY_TEXT, "type": "string"},
    INT_OR_STRING: {"description": _INT_OR_STRING_TEXT, "format": "int-or-string", "type": "string"},
}


def reachable(definitions: dict[str, Obj], names: Iterable[str]) -> list[str]:
    """The names of these definitions and of all that they refer to, sorted."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            _references(definitions[name], todo)
    return sorted(found)


def _references(schema: Any, into: list[str]) -> None:
    if isinstance(schema, dict):
        ref = schema.get("$ref")
        if isinstance(ref, str):
            into.append(ref.removeprefix(_SOURCE_PREFIX))
        for value in schema.values():
            _references(value, into)
    elif isinstance(schema, list):
        for value in schema:
            _references(value, into)


def v3_schemas(definitions: dict[str, Obj], names: Iterable[str]) -> dict[str, Obj]:
    """``components.schemas`` of the named definitions and of what they refer to."""
    return {
        name: _V3_SPECIAL.get(name) or _convert(definitions[name], V3_PREFIX) for name in reachable(definitions, names)
    }


def v2_schemas(definitions: dict[str, Obj], names: Iterable[str]) -> dict[str, Obj]:
    """``definitions`` of OpenAPI 2 of the named definitions and of what they refer to."""
    return {
        name: _V2_SPECIAL.get(name) or _convert(definitions[name], V2_PREFIX) for name in reachable(definitions, names)
    }


def _convert(schema: Obj, prefix: str) -> Obj:
    """One schema in the published form, references under prefix."""
    made: Obj = {}
    for key, value in schema.items():
        match key:
            case "properties":
                made[key] = {name: _convert(below, prefix) for name, below in value.items()}
                for name in ("apiVersion", "kind"):
                    made[key].get(name, {}).pop("enum", None)
            case "items" | "additionalProperties" if isinstance(value, dict):
                made[key] = _convert(value, prefix)
            case "type" if isinstance(value, list):
                made[key] = next(kind for kind in value if kind != "null")
            case "$ref":
                made[key] = prefix + value.removeprefix(_SOURCE_PREFIX)
            case _:
                made[key] = value
    if prefix == V3_PREFIX and len(made) > 1 and "$ref" in made:
        # OpenAPI 3.0 ignores what stands beside a reference.
        made["allOf"] = [{"$ref": made.pop("$ref")}]
    return made
