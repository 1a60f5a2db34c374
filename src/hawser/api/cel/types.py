"""Types of CEL expressions, as declarations write them and as messages show them.

Source: CEL language definition, "Values" and "Gradual Type Checking"; Kubernetes' openness about schemas adds what a
schema knows of values (``Shape``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Shape:
    """What a schema says of values beyond their CEL type.

    fields: an object's, by their names in expressions. most: the largest size; None without a bound. list_type and
    keys: x-kubernetes-list-type and -list-map-keys. coded: whether a JSON value has to be converted first (numbers that
    are doubles, strings that are times or bytes). loose: equality is not that of JSON (sets, maps as lists) inside.
    """

    fields: dict[str, Field] = field(default_factory=dict)
    most: int | None = None
    least_bytes: int = 0
    list_type: str = ""
    keys: tuple[str, ...] = ()
    coded: bool = False
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an object. name: as JSON has it."""

    name: str
    type: Type
    required: bool = False


@dataclass(frozen=True, slots=True)
class Type:
    """A type; equal by what it is, not by what a schema adds.

    kind: a scalar's name, or list, map, object, opaque, type, var, error. name: of objects, opaque types and variables.
    """

    kind: str
    name: str = ""
    params: tuple[Type, ...] = ()
    shape: Shape = field(default_factory=Shape, compare=False, repr=False)

    def __str__(self) -> str:
        shown = _SHOWN.get(self.kind, self.kind)
        if self.kind in ("object", "var"):
            return self.name
        if self.kind == "opaque":
            shown = self.name
        if self.params:
            return f"{shown}({', '.join(map(str, self.params))})"
        return shown

    @property
    def loose(self) -> bool:
        """Whether anything goes: dyn, or what could not be checked."""
        return self.kind in ("dyn", "error")


_SHOWN = {
    "timestamp": "google.protobuf.Timestamp",
    "duration": "google.protobuf.Duration",
    "error": "!error!",
}

DYN = Type("dyn")
NULL = Type("null")
BOOL = Type("bool")
INT = Type("int")
UINT = Type("uint")
DOUBLE = Type("double")
STRING = Type("string")
BYTES = Type("bytes")
TIMESTAMP = Type("timestamp")
DURATION = Type("duration")
ERROR = Type("error")
TYPE = Type("type")

SCALARS = {
    one.kind: one for one in (DYN, NULL, BOOL, INT, UINT, DOUBLE, STRING, BYTES, TIMESTAMP, DURATION, TYPE)
}  # fmt: skip

SORTABLE = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
"""Kinds whose values have an order."""


def list_of(item: Type) -> Type:
    return Type("list", params=(item,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", params=(key, value))


def optional_of(item: Type) -> Type:
    return Type("opaque", "optional_type", (item,))


def type_of(item: Type) -> Type:
    return Type("type", params=(item,))


def is_optional(item: Type) -> bool:
    return item.kind == "opaque" and item.name == "optional_type"


_NAME = re.compile(r"\s*([\w.]+)\s*")


def parse(text: str) -> Type:
    """A type as declarations write it: ``list(T)``, ``map(string, int)``, ``kubernetes.Quantity``; T is a variable."""
    found, end = _parse(text, 0)
    if text[end:].strip():
        raise ValueError(f"not a type: {text}")
    return found


def parse_many(text: str) -> tuple[Type, ...]:
    """Types between commas."""
    made = []
    at = 0
    while at < len(text):
        found, at = _parse(text, at)
        made.append(found)
        at += 1
    return tuple(made)


def _parse(text: str, at: int) -> tuple[Type, int]:
    match = _NAME.match(text, at)
    if match is None:
        raise ValueError(f"not a type: {text}")
    name, at = match.group(1), match.end()
    params = []
    if at < len(text) and text[at] == "(":
        while text[at] != ")":
            found, at = _parse(text, at + 1)
            params.append(found)
        at += 1
    if name in SCALARS and not params:
        return SCALARS[name], at
    if name in ("list", "map", "type"):
        return Type(name, params=tuple(params)), at
    if len(name) == 1:
        return Type("var", name), at
    return Type("opaque", name, tuple(params)), at
