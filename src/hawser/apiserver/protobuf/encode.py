"""Writes objects in Kubernetes' protobuf encoding.

Source: API concepts, "Kubernetes Protobuf encoding"; the protobuf wire format (protobuf.dev, "Encoding"). Each message
of the field table becomes a function at its first use: a dict of JSON names to functions from a value to wire bytes, so
that encoding costs by the fields an object has, not by those it could have.
"""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Callable
from datetime import datetime
from functools import cache, lru_cache, partial
from typing import Any

from hawser.api.encoding import dumps
from hawser.api.types import Obj
from hawser.apiserver.protobuf.table import EXTENSIONS, INTEGERS, META, RUNTIME, Field, fields
from hawser.wire import SMALL, varint

Encode = Callable[[Any], bytes]
"""From a JSON value to the bytes of a message's or scalar's value, without tag and length."""


def field(number: int, value: bytes) -> bytes:
    """A field of text, bytes or a message."""
    return varint(number << 3 | 2) + varint(len(value)) + value


@cache
def encoder(message: str) -> Callable[[Obj], bytes]:
    """The function that encodes objects of a message. KeyError when the table has no such message."""
    return _Message(message)


class _Message:
    """Encodes one message. Its parts are made at the first call: messages refer to each other in circles."""

    __slots__ = ("_inlined", "_name", "_writers")

    def __init__(self, name: str) -> None:
        self._name = name
        self._writers: dict[str, Encode] = {}
        self._inlined: tuple[tuple[bytes, _Message, frozenset[str]], ...] = ()
        fields(name)

    def __call__(self, obj: Obj) -> bytes:
        writers = self._writers or self._compile()
        parts = []
        for name, value in obj.items():
            if value is not None:
                writer = writers.get(name)
                if writer is not None:
                    parts.append(writer(value))
        for tag, message, names in self._inlined:
            if not names.isdisjoint(obj):
                data = message(obj)
                parts.append(tag + varint(len(data)) + data)
        return b"".join(parts)

    def names(self) -> frozenset[str]:
        """The JSON names that belong to this message, those of inlined ones included."""
        own = self._writers or self._compile()
        return frozenset(own).union(*(names for _, _, names in self._inlined))

    def _compile(self) -> dict[str, Encode]:
        rows = fields(self._name)
        # A message without fields has a writer that nothing asks for, so that it is not compiled again.
        self._writers = {row.name: _writer(n, row) for n, row in rows.items() if row.shape != "."} or {"": _nothing}
        inlined = [(varint(n << 3 | 2), _Message(row.type)) for n, row in rows.items() if row.shape == "."]
        self._inlined = tuple((tag, message, message.names()) for tag, message in inlined)
        return self._writers


def _nothing(value: Any) -> bytes:
    return b""


def _writer(number: int, row: Field) -> Encode:
    """The function from a field's JSON value to its wire bytes, tag included."""
    if row.shape == "{}":
        return partial(_map, varint(number << 3 | 2), _tagged(2, row.type))
    one = _tagged(number, row.type)
    if row.shape == "[]":
        return partial(_repeated, one)
    return one


def _repeated(one: Encode, values: list[Any]) -> bytes:
    return b"".join(map(one, values))


def _map(tag: bytes, one: Encode, values: dict[str, Any]) -> bytes:
    parts: list[bytes] = []
    for key, value in values.items():
        name = key.encode()
        entry = b"\x0a" + varint(len(name)) + name
        if value is not None:
            entry += one(value)
        parts += (tag, varint(len(entry)), entry)
    return b"".join(parts)


def _tagged(number: int, kind: str) -> Encode:
    """The function that writes one value with its tag."""
    if kind in INTEGERS:
        return partial(_number, varint(number << 3))
    if kind == "double":
        return partial(_double, varint(number << 3 | 1))
    tag = varint(number << 3 | 2)
    if kind == "string":
        return partial(_text, tag)
    special = _SPECIAL.get(kind)
    return partial(_sized, tag, special if special is not None else encoder(kind))


def _number(tag: bytes, value: int) -> bytes:
    return tag + (SMALL[value] if 0 <= value < 128 else varint(value))


def _double(tag: bytes, value: float) -> bytes:
    return tag + struct.pack("<d", value)


def _text(tag: bytes, value: str) -> bytes:
    data = value.encode()
    size = len(data)
    return tag + (SMALL[size] if size < 128 else varint(size)) + data


def _sized(tag: bytes, encode: Encode, value: Any) -> bytes:
    data = encode(value)
    size = len(data)
    return tag + (SMALL[size] if size < 128 else varint(size)) + data


@lru_cache(maxsize=4096)
def _time(value: str) -> bytes:
    """Whole seconds, as Kubernetes sends them."""
    # Without its fraction first: that of a time far off is lost in a float, and may round the second up.
    return b"\x08" + varint(int(datetime.fromisoformat(value).replace(microsecond=0).timestamp()))


def _micro_time(value: str) -> bytes:
    moment = datetime.fromisoformat(value)
    return _time(value) + (b"\x10" + varint(moment.microsecond * 1000) if moment.microsecond else b"")


def _quantity(value: Any) -> bytes:
    return field(1, str(value).encode())


def _int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return b"\x08\x01" + field(3, value.encode())
    return b"\x10" + varint(value)


def _json(value: Any) -> bytes:
    return field(1, dumps(value))


def _items(value: list[str]) -> bytes:
    """Go's named string slices are messages with one repeated field."""
    return b"".join(field(1, item.encode()) for item in value)


def _schema(value: Obj) -> bytes:
    return encoder(EXTENSIONS + "JSONSchemaProps")(value)


def _schema_or_array(value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join(field(2, _schema(item)) for item in value)
    return field(1, _schema(value))


def _schema_or_bool(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"\x08" + SMALL[value]
    return b"\x08\x01" + field(2, _schema(value))


def _schema_or_strings(value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join(field(2, item.encode()) for item in value)
    return field(1, _schema(value))


_SPECIAL: dict[str, Encode] = {
    "bytes": b64decode,
    META + "Time": _time,
    META + "MicroTime": _micro_time,
    META + "FieldsV1": _json,
    META + "Verbs": _items,
    RUNTIME + "RawExtension": _json,
    EXTENSIONS + "JSON": _json,
    EXTENSIONS + "JSONSchemaPropsOrArray": _schema_or_array,
    EXTENSIONS + "JSONSchemaPropsOrBool": _schema_or_bool,
    EXTENSIONS + "JSONSchemaPropsOrStringArray": _schema_or_strings,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": _quantity,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "io.k8s.api.authentication.v1.ExtraValue": _items,
    "io.k8s.api.authorization.v1.ExtraValue": _items,
    "io.k8s.api.certificates.v1.ExtraValue": _items,
}
