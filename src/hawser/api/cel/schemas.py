"""CEL types of OpenAPI schemas, and the values that JSON stands for.

Source: Kubernetes documentation, "Validation rules" of CustomResourceDefinitions (the table of types, escaping of
names, limits used to estimate costs).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from hawser.api.cel.library import times
from hawser.api.cel.parser import RESERVED
from hawser.api.cel.types import BOOL, BYTES, DOUBLE, DURATION, INT, STRING, TIMESTAMP, Field, Shape, Type
from hawser.api.cel.values import Duration, EvalError
from hawser.api.types import Obj

REQUEST_SIZE = 3 * 1024 * 1024
"""The largest request, which bounds what has no bound in the schema."""
_RESERVED = frozenset({"true", "false", "null", "in", *RESERVED})
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_CODED = frozenset(("timestamp", "duration", "bytes", "double"))
_STRINGS = {"date": (TIMESTAMP, 12, 12), "date-time": (TIMESTAMP, 21, 32), "duration": (DURATION, 3, 32)}


def escape(name: str) -> str | None:
    """A property's name as expressions write it; None when they cannot."""
    if name in _RESERVED:
        return f"__{name}__"
    if not re.fullmatch(r"[a-zA-Z_./-][a-zA-Z0-9_./-]*", name):
        return None
    return re.sub(r"__|[-./]", lambda match: _ESCAPES[match.group()], name)


def declared(schema: Obj, root: bool = False, name: str = "object") -> Type | None:
    """The type of a structural schema's values; None of what expressions do not see.

    root: whether it is a whole object, which has apiVersion, kind and metadata's names anyway. name: of the object
    type, which messages show.
    """
    if schema.get("x-kubernetes-int-or-string"):
        most = _length(schema)
        return Type("dyn", shape=Shape(most=REQUEST_SIZE - 2 if most is None else most, least_bytes=1))
    if root:
        schema = with_metadata(schema)
    match schema.get("type"):
        case "array":
            return _array(schema, name)
        case "object":
            return _object(schema, name)
        case "string":
            return _string(schema)
        case "boolean":
            return Type(BOOL.kind, shape=Shape(least_bytes=4))
        case "number":
            return Type(DOUBLE.kind, shape=Shape(least_bytes=1, coded=True))
        case "integer":
            return Type(INT.kind, shape=Shape(least_bytes=1))
    return None


def with_metadata(schema: Obj) -> Obj:
    """The schema of a whole object with what every one has."""
    text = {"type": "string"}
    metadata = {"type": "object", "properties": {"name": text, "generateName": text}}
    properties = {**(schema.get("properties") or {}), "kind": text, "apiVersion": text, "metadata": metadata}
    return {**schema, "properties": properties}


def _length(schema: Obj) -> int | None:
    most = schema.get("maxLength")
    # Lengths are counted in characters there and in bytes here.
    return max(int(most), 0) * 4 if most is not None else None


def _string(schema: Obj) -> Type:
    form = schema.get("format")
    if form in _STRINGS:
        kind, least, most = _STRINGS[form]
        return Type(kind.kind, shape=Shape(most=most, least_bytes=least, coded=True))
    if form == "byte":
        limit = schema.get("maxLength")
        return Type(
            BYTES.kind, shape=Shape(most=REQUEST_SIZE - 2 if limit is None else limit, least_bytes=2, coded=True)
        )
    found = _length(schema)
    if found is None and schema.get("enum"):
        found = max((len(one.encode()) for one in schema["enum"] if isinstance(one, str)), default=0)
    return Type(STRING.kind, shape=Shape(most=REQUEST_SIZE - 2 if found is None else found, least_bytes=2))


def _array(schema: Obj, name: str) -> Type | None:
    items = schema.get("items")
    if not isinstance(items, dict):
        return None
    item = declared(items, bool(items.get("x-kubernetes-embedded-resource")), f"{name}.@idx")
    if item is None:
        return None
    most = schema.get("maxItems")
    list_type = schema.get("x-kubernetes-list-type") or ""
    shape = Shape(
        most=(REQUEST_SIZE - 2) // (item.shape.least_bytes + 1) if most is None else max(most, 0),
        least_bytes=2,
        list_type=list_type,
        keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
        coded=item.shape.coded,
        loose=item.shape.loose or list_type in ("set", "map"),
    )
    return Type("list", params=(item,), shape=shape)


def _object(schema: Obj, name: str) -> Type | None:
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        value = declared(extra, bool(extra.get("x-kubernetes-embedded-resource")), f"{name}.@elem")
        if value is None:
            return None
        most = schema.get("maxProperties")
        shape = Shape(
            most=(REQUEST_SIZE - 2) // (value.shape.least_bytes + 6) if most is None else max(most, 0),
            least_bytes=2,
            coded=value.shape.coded,
            loose=value.shape.loose,
        )
        return Type("map", params=(STRING, value), shape=shape)
    required = set(schema.get("required") or ())
    fields: dict[str, Field] = {}
    size = 2
    coded = loose = False
    for key, part in (schema.get("properties") or {}).items():
        found = declared(part, bool(part.get("x-kubernetes-embedded-resource")), f"{name}.{key}")
        if found is None:
            continue
        shown = escape(key)
        if shown is not None:
            fields[shown] = Field(key, found, key in required)
        coded = coded or found.shape.coded
        loose = loose or found.shape.loose
        if key in required and "default" not in part:
            size += len(key) + found.shape.least_bytes + 4
    return Type("object", name, shape=Shape(fields=fields, least_bytes=size, coded=coded, loose=loose))


def converted(given: Type, value: Any) -> Any:
    """A JSON value as its type has it: doubles, times, bytes. Raises EvalError for what cannot be read."""
    if value is None or (not given.shape.coded and given.kind not in _CODED):
        return value
    match given.kind:
        case "object" if type(value) is dict:
            fields = {field.name: field.type for field in given.shape.fields.values()}
            return {key: converted(fields[key], one) if key in fields else one for key, one in value.items()}
        case "map" if type(value) is dict:
            return {key: converted(given.params[1], one) for key, one in value.items()}
        case "list" if type(value) is list:
            return [converted(given.params[0], one) for one in value]
    return _scalar(given, value)


def _scalar(given: Type, value: Any) -> Any:
    if type(value) is int and given.kind == "double":
        return float(value)
    if type(value) is not str:
        return value
    match given.kind:
        case "timestamp":
            return times.read_date(value) if len(value) == 10 else times.read_timestamp(value)
        case "duration":
            return _duration(value)
        case "bytes":
            try:
                return base64.b64decode(value, validate=True)
            except binascii.Error:
                raise EvalError("byte format is invalid base64") from None
    return value


def _duration(text: str) -> Duration:
    """A duration of a schema: Go's form, and days and weeks beside it."""
    match = re.fullmatch(r"(\d+) ?(d|day|days|w|week|weeks)", text)
    if match:
        return Duration(int(match.group(1)) * 86400 * 10**9 * (7 if match.group(2)[0] == "w" else 1))
    return times.read_duration(text)
