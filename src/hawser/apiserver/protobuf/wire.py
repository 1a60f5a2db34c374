"""Reads objects in Kubernetes' protobuf encoding, as client-go's typed clients send them; ``encode.py`` writes them.

Source: API concepts, "Kubernetes Protobuf encoding"; the protobuf wire format (protobuf.dev, "Encoding").
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from hawser.api.definitions import definition_name
from hawser.api.errors import Unreadable
from hawser.api.types import Obj
from hawser.apiserver.protobuf.table import EXTENSIONS, INTEGERS, META, RUNTIME, Field, fields, message_of
from hawser.apiserver.scheme import IN_SCHEME

_MAGIC = b"k8s\x00"
_DEPTH = 100
_NOTHING: Any = object()
_EMPTY = memoryview(b"")
_LABEL_SELECTOR = META + "LabelSelector"
_SCHEMA = EXTENSIONS + "JSONSchemaProps"


class _Malformed(Exception):
    """The bytes are not what the table says."""


def decode(body: bytes) -> Obj:
    """The object in a protobuf body. Raises Unreadable."""
    if not body:
        raise Unreadable("empty data")
    if body == _MAGIC:
        raise Unreadable("empty body")
    if not body.startswith(_MAGIC):
        raise Unreadable("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        return _envelope(memoryview(body)[len(_MAGIC) :])
    except (_Malformed, struct.error, UnicodeDecodeError, OverflowError, ValueError) as error:
        raise Unreadable(str(error)) from None


def _envelope(data: memoryview) -> Obj:
    parts = {number: value for number, value in _parts(data) if isinstance(value, memoryview)}
    meta = _message(parts.get(1, _EMPTY), RUNTIME + "TypeMeta", 0)
    version, kind = meta.get("apiVersion", ""), meta.get("kind", "")
    group, _, name = version.rpartition("/")
    message = message_of(version, kind)
    if message is None:
        try:
            definition_name((group, name, kind))
        except KeyError:
            raise Unreadable(f'no kind "{kind}" is registered for version "{version}" {IN_SCHEME}') from None
        raise Unreadable(f'{kind} in version "{version}" cannot be sent as protobuf')
    obj: Obj = {"kind": kind, "apiVersion": version}
    obj.update(_message(parts.get(2, _EMPTY), message, 0))
    return obj


def _message(data: memoryview, name: str, depth: int) -> Obj:
    """The JSON form of a message; fields that are not in the table are passed over."""
    if depth > _DEPTH:
        raise _Malformed("too deeply nested")
    rows = fields(name)
    obj: Obj = {}
    for number, raw in _parts(data):
        row = rows.get(number)
        if row is None:
            continue
        json_name, kind, shape, _ = row
        if shape == "[]":
            if isinstance(raw, memoryview) and kind in INTEGERS:
                obj.setdefault(json_name, []).extend(_integer(kind, value) for value in _varints(raw))
            else:
                obj.setdefault(json_name, []).append(_value(kind, raw, depth))
        elif shape == "{}":
            key, value = _entry(kind, raw, depth)
            obj.setdefault(json_name, {})[key] = None if value is _NOTHING else value
        elif shape == ".":
            obj.update(_value(kind, raw, depth))
        else:
            value = _value(kind, raw, depth)
            if value is not _NOTHING and _shown(row, value):
                obj[json_name] = value
    return obj


def _shown(row: Field, value: Any) -> bool:
    """Whether JSON has the field: zero of what is neither a pointer nor required is absent (omitempty)."""
    if row.shape == "*" or row.required or row.type == _LABEL_SELECTOR:
        return True
    return value not in ("", 0, False) and value != {}


def _entry(kind: str, raw: Any, depth: int) -> tuple[str, Any]:
    key, value = "", _value(kind, _EMPTY if kind not in INTEGERS else 0, depth)
    if not isinstance(raw, memoryview):
        raise _Malformed("a map entry was expected")
    for number, part in _parts(raw):
        if number == 1 and isinstance(part, memoryview):
            key = str(part, "utf-8")
        elif number == 2:
            value = _value(kind, part, depth)
    return key, value


def _value(kind: str, raw: Any, depth: int) -> Any:
    """One value of a scalar or message type, in JSON form; _NOTHING where JSON has no value for it."""
    if kind in INTEGERS:
        if not isinstance(raw, int):
            raise _Malformed("a number was expected")
        return _integer(kind, raw)
    if not isinstance(raw, memoryview):
        raise _Malformed("a length was expected")
    if kind == "string":
        return str(raw, "utf-8")
    if kind == "bytes":
        return b64encode(raw).decode()
    if kind == "double":
        number = struct.unpack("<d", raw)[0]
        return int(number) if number.is_integer() and abs(number) < 1e15 else number
    special = _SPECIAL.get(kind)
    if special is not None:
        return special(raw)
    nested = _NESTED.get(kind, _message)
    return nested(raw, kind, depth + 1)


def _integer(kind: str, value: int) -> Any:
    if kind == "bool":
        return bool(value)
    return value - (1 << 64) if kind.startswith("int") and value >> 63 else value


def _varints(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _parts(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of a message: an integer, or the bytes of anything else."""
    at = 0
    end = len(data)
    while at < end:
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            number, at = _varint(data, at)
            yield tag >> 3, number
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise _Malformed(f"proto: illegal wireType {wire}")
        if at + length > end:
            raise _Malformed("unexpected EOF")
        yield tag >> 3, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _Malformed("unexpected EOF")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & (1 << 64) - 1, at
        shift += 7


def _numbers(raw: memoryview) -> dict[int, int]:
    return {number: _integer("int64", value) for number, value in _parts(raw) if isinstance(value, int)}


def _time(raw: memoryview) -> Any:
    return _moment(raw, "seconds")


def _micro_time(raw: memoryview) -> Any:
    return _moment(raw, "microseconds")


def _moment(raw: memoryview, precision: str) -> Any:
    """RFC 3339; an empty message is no time at all."""
    numbers = _numbers(raw)
    if not numbers.get(1) and not numbers.get(2):
        return _NOTHING
    moment = datetime.fromtimestamp(numbers.get(1, 0), UTC).replace(microsecond=numbers.get(2, 0) // 1000)
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def _quantity(raw: memoryview) -> str:
    return "".join(str(value, "utf-8") for number, value in _parts(raw) if isinstance(value, memoryview))


def _int_or_string(raw: memoryview) -> Any:
    text = ""
    numbers = _numbers(raw)
    for number, value in _parts(raw):
        if number == 3 and isinstance(value, memoryview):
            text = str(value, "utf-8")
    return text if numbers.get(1) else numbers.get(2, 0)


def _raw_json(raw: memoryview) -> Any:
    for number, value in _parts(raw):
        if number == 1 and isinstance(value, memoryview) and value:
            return orjson.loads(value)
    return _NOTHING


def _schema_or_array(raw: memoryview, name: str, depth: int) -> Any:
    """A schema (field 1), or several (field 2)."""
    return _one_or_listed(raw, _SCHEMA, depth)


def _schema_or_strings(raw: memoryview, name: str, depth: int) -> Any:
    """A schema (field 1), or texts (field 2)."""
    return _one_or_listed(raw, "string", depth)


def _one_or_listed(raw: memoryview, kind: str, depth: int) -> Any:
    listed = []
    for number, value in _parts(raw):
        if number == 1:
            return _value(_SCHEMA, value, depth)
        if number == 2:
            listed.append(_value(kind, value, depth))
    return listed


def _schema_or_bool(raw: memoryview, name: str, depth: int) -> Any:
    """A schema (field 2), or whether anything goes (field 1)."""
    parts = dict(_parts(raw))
    return _value(_SCHEMA, parts[2], depth) if 2 in parts else bool(parts.get(1))


def _items(raw: memoryview) -> list[str]:
    """Go's named string slices are messages with one repeated field."""
    return [str(value, "utf-8") for _, value in _parts(raw) if isinstance(value, memoryview)]


_SPECIAL = {
    META + "Time": _time,
    META + "MicroTime": _micro_time,
    META + "FieldsV1": _raw_json,
    META + "Verbs": _items,
    EXTENSIONS + "JSON": _raw_json,
    RUNTIME + "RawExtension": _raw_json,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": _quantity,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "io.k8s.api.authentication.v1.ExtraValue": _items,
    "io.k8s.api.authorization.v1.ExtraValue": _items,
    "io.k8s.api.certificates.v1.ExtraValue": _items,
}

_NESTED = {
    EXTENSIONS + "JSONSchemaPropsOrArray": _schema_or_array,
    EXTENSIONS + "JSONSchemaPropsOrBool": _schema_or_bool,
    EXTENSIONS + "JSONSchemaPropsOrStringArray": _schema_or_strings,
}
