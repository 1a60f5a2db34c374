"""Protobuf messages from a table of field numbers: dicts are encoded, bytes become objects with attributes.

Source: the protobuf wire format (protobuf.dev, "Encoding"). What a message type needs is worked out at its first
use, so that a table of hundreds of messages costs those which are used.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from hawser.wire import BITS, varint

_VARINT, _DOUBLE, _SIZED, _FLOAT = 0, 1, 2, 5
_UNSIGNED = frozenset({"uint32", "uint64"})
_SIGNED = frozenset({"int32", "int64"})
_DEFAULTS: dict[str, Any] = {"string": "", "bytes": b"", "bool": False, "double": 0.0}
_EMPTY_MAP: Mapping[str, str] = MappingProxyType({})

Fields = Mapping[str, Sequence[Any]]
"""Of a message: field name -> [number, type]. Types: scalars, names of messages and enums, ``repeated TYPE``,
``map<string,string>``."""

_Encode = Callable[[Any], bytes]


class Malformed(ValueError):
    """The bytes are no message of this type."""


class Message:
    """What was decoded: an attribute for each field of the table, with protobuf's default where it was absent."""

    def has(self, name: str) -> bool:
        """Whether a field was there."""
        return name in self.__dict__


class _Absent:
    """The default of a field that is a message: an empty one, made when somebody asks for it."""

    def __init__(self, kind: MessageType) -> None:
        self._kind = kind

    def __get__(self, instance: object, owner: type) -> Any:
        return self._kind.decode(b"")


class MessageType:
    """One message of a table.

    find: the message type of a name, None for a scalar's. enums: name -> value name -> number.
    """

    def __init__(
        self,
        name: str,
        fields: Fields,
        find: Callable[[str], MessageType | None],
        enums: Mapping[str, Mapping[str, int]],
    ) -> None:
        self.name = name
        self._fields = fields
        self._find = find
        self._enums = enums
        self._writers: dict[str, _Encode] | None = None
        self._rows: dict[int, tuple[str, str, bool, MessageType | None]] | None = None
        self._class: type[Message] = Message

    # Encoding

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """A message with these fields; None leaves one out. Raises ValueError for a field that the message lacks."""
        writers = self._writers
        if writers is None:
            writers = self._writers = {field: self._writer(*row) for field, row in self._fields.items()}
        parts = []
        for field, value in values.items():
            if value is None:
                continue
            try:
                parts.append(writers[field](value))
            except KeyError:
                raise ValueError(f"{self.name} has no field {field}") from None
        return b"".join(parts)

    def _writer(self, number: int, kind: str) -> _Encode:
        """The function from a field's value to its bytes, with tag; scalars of their default take none."""
        if kind.startswith("map<"):
            return partial(_map, varint(number << 3 | _SIZED))
        element = kind.removeprefix("repeated ")
        message = self._find(element)
        if message is not None:
            one = partial(_nested, varint(number << 3 | _SIZED), message)
            return one if element == kind else partial(_each, one)
        enum = self._enums.get(element, _NO_NAMES)
        if element != kind:
            if element in ("string", "bytes"):
                return partial(_each, partial(_sized, varint(number << 3 | _SIZED)))
            return partial(_packed, varint(number << 3 | _SIZED), enum)
        if element in ("string", "bytes"):
            return partial(_text, varint(number << 3 | _SIZED))
        if element == "double":
            return partial(_double, varint(number << 3 | _DOUBLE))
        return partial(_number, varint(number << 3), enum)

    # Decoding

    def decode(self, data: bytes, start: int = 0, end: int | None = None) -> Any:
        """The message in a part of the bytes; unknown fields are passed over. Raises Malformed."""
        rows = self._rows
        if rows is None:
            rows = self._learn()
        made = self._class()
        values = made.__dict__
        i, end = start, len(data) if end is None else end
        try:
            while i < end:
                tag = data[i]
                i += 1
                if tag > 127:
                    tag, i = _read(data, i - 1)
                row = rows.get(tag >> 3)
                if row is None:
                    i = _skip(data, i, tag & 7)
                    continue
                name, kind, repeated, message = row
                wire = tag & 7
                if wire == _SIZED:
                    size = data[i]
                    i += 1
                    if size > 127:
                        size, i = _read(data, i - 1)
                    start, i = i, i + size
                    if i > end:
                        raise Malformed(f"{self.name}.{name} is cut short")
                    if message is not None:
                        value: Any = message.decode(data, start, i)
                    elif kind == "string":
                        value = data[start:i].decode("utf-8", "replace")
                    elif kind == "bytes":
                        value = data[start:i]
                    elif kind == "map":
                        entry = _ENTRY.decode(data, start, i)
                        values.setdefault(name, {})[entry.key] = entry.value
                        continue
                    else:
                        values.setdefault(name, []).extend(_unpacked(data, start, i, kind))
                        continue
                elif wire == _VARINT:
                    value = data[i]
                    i += 1
                    if value > 127:
                        value, i = _read(data, i - 1)
                    value = _typed(value, kind)
                elif wire == _DOUBLE and kind == "double":
                    (value,) = struct.unpack_from("<d", data, i)
                    i += 8
                else:
                    i = _skip(data, i, wire)
                    continue
                if repeated:
                    values.setdefault(name, []).append(value)
                else:
                    values[name] = value
        except (IndexError, struct.error) as error:
            raise Malformed(f"{self.name} is cut short") from error
        return made

    def _learn(self) -> dict[int, tuple[str, str, bool, MessageType | None]]:
        """Makes the class and the rows by field number."""
        rows = {}
        defaults: dict[str, Any] = {}
        for field, (number, kind) in self._fields.items():
            element = kind.removeprefix("repeated ")
            message = self._find(element)
            if kind.startswith("map<"):
                element, defaults[field] = "map", _EMPTY_MAP
            elif element != kind:
                defaults[field] = ()
            else:
                defaults[field] = _Absent(message) if message is not None else _DEFAULTS.get(element, 0)
            rows[number] = (field, element, element != kind and element != "map", message)
        self._class = type(self.name, (Message,), defaults)
        self._rows = rows
        return rows


_NO_NAMES: Mapping[str, int] = {}


def _number(tag: bytes, names: Mapping[str, int], value: Any) -> bytes:
    """A scalar or an enum's value, which may be given by name. Raises ValueError for a name that the enum lacks."""
    number = _value(names, value)
    return tag + varint(number) if number else b""


def _value(names: Mapping[str, int], value: Any) -> int:
    if not isinstance(value, str):
        return int(value)
    try:
        return names[value]
    except KeyError:
        raise ValueError(f"there is no value {value}") from None


def _double(tag: bytes, value: float) -> bytes:
    data = struct.pack("<d", value)
    return tag + data if any(data) else b""


def _text(tag: bytes, value: str | bytes) -> bytes:
    return _sized(tag, value) if value else b""


def _sized(tag: bytes, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else bytes(value)
    return tag + varint(len(data)) + data


def _nested(tag: bytes, message: MessageType, value: Mapping[str, Any]) -> bytes:
    data = message.encode(value)
    return tag + varint(len(data)) + data


def _each(one: _Encode, values: Sequence[Any]) -> bytes:
    return b"".join(map(one, values))


def _packed(tag: bytes, names: Mapping[str, int], values: Sequence[Any]) -> bytes:
    data = b"".join(varint(_value(names, value)) for value in values)
    return tag + varint(len(data)) + data if data else b""


def _map(tag: bytes, values: Mapping[str, str]) -> bytes:
    parts = []
    for key, value in values.items():
        entry = _sized(b"\x0a", key) + _sized(b"\x12", value)
        parts.append(tag + varint(len(entry)) + entry)
    return b"".join(parts)


def _read(data: bytes, i: int) -> tuple[int, int]:
    """A varint and where it ends."""
    value = shift = 0
    while True:
        byte = data[i]
        i += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, i
        shift += 7
        if shift > 63:
            raise Malformed("a number is too long")


def _skip(data: bytes, i: int, wire: int) -> int:
    if wire == _VARINT:
        return _read(data, i)[1]
    if wire == _SIZED:
        size, i = _read(data, i)
        return i + size
    if wire in (_DOUBLE, _FLOAT):
        return i + (8 if wire == _DOUBLE else 4)
    raise Malformed(f"there is no wire type {wire}")


def _typed(value: int, kind: str) -> Any:
    if kind == "bool":
        return value != 0
    if kind in _UNSIGNED or value < 1 << 31:
        return value
    # int32 and enums are as wide as int64 when they are negative.
    return value - BITS if value >= 1 << 63 else value


def _unpacked(data: bytes, i: int, end: int, kind: str) -> list[Any]:
    values = []
    while i < end:
        value, i = _read(data, i)
        values.append(_typed(value, kind))
    return values


_ENTRY = MessageType("Entry", {"key": [1, "string"], "value": [2, "string"]}, lambda name: None, {})
