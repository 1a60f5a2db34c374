"""Values at run time: JSON's own where they fit, classes of our own for the rest; equality, order and type names.

int, float, str, bytes, bool, None, list and dict stand for themselves. Source: CEL language definition, "Values",
"Equality and Ordering" and "Abstract Types".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

INT_MAX = 2**63 - 1
INT_MIN = -(2**63)
UINT_MAX = 2**64 - 1


class EvalError(Exception):
    """An evaluation that failed, in cel-go's words. && and || may still have an answer."""


class CostError(Exception):
    """An evaluation that cost more than it may; nothing absorbs it."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


class UInt(int):
    """An unsigned 64-bit integer."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A moment. nanos: since 1970-01-01T00:00:00Z."""

    nanos: int


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time in nanoseconds."""

    nanos: int


@dataclass(frozen=True, slots=True)
class TypeValue:
    """What type() answers."""

    name: str


class Opt:
    """An optional value: with one, or NONE."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


_EMPTY: Any = object()
NONE = Opt(_EMPTY)


def has_value(value: Opt) -> bool:
    return value.value is not _EMPTY


class Opaque:
    """Base of a library's own values.

    type_name: what type() says. select: fields (none). compared by ==.
    """

    __slots__ = ()
    type_name = "dyn"


_NAMES: dict[type, str] = {
    bool: "bool", int: "int", UInt: "uint", float: "double", str: "string", bytes: "bytes", list: "list", dict: "map",
    type(None): "null_type", Timestamp: "google.protobuf.Timestamp", Duration: "google.protobuf.Duration",
    TypeValue: "type", Opt: "optional_type",
}  # fmt: skip


def type_name(value: Any) -> str:
    """The name of a value's type."""
    name = _NAMES.get(type(value))
    return name if name is not None else str(getattr(value, "type_name", "dyn"))


_NUMBERS = (int, UInt, float)


def equal(one: Any, other: Any) -> bool:
    """CEL's ==: numbers across types, everything else within its type."""
    kind = type(one)
    if kind is type(other):
        if kind is list:
            return len(one) == len(other) and all(map(equal, one, other))
        if kind is dict:
            return len(one) == len(other) and all(k in other and equal(v, other[k]) for k, v in one.items())
        if kind is Opt:
            return has_value(one) == has_value(other) and (not has_value(one) or equal(one.value, other.value))
        return bool(one == other)
    if kind in _NUMBERS and type(other) in _NUMBERS:
        return bool(one == other)
    return False


def compare(one: Any, other: Any) -> int:
    """-1, 0 or 1. Raises EvalError for what has no order."""
    kind, against = type(one), type(other)
    if kind is against or (kind in _NUMBERS and against in _NUMBERS):
        if kind is str:
            # Go compares bytes; the order of UTF-8 is that of code points.
            return int(one > other) - int(one < other)
        if kind in (int, float, UInt, bool, bytes, Timestamp, Duration) or hasattr(one, "__lt__"):
            if one != one or other != other:
                raise EvalError("NaN values cannot be ordered")
            return int(one > other) - int(one < other)
    raise EvalError("no such overload")


def size_of(value: Any) -> int:
    """A value's size for costs: elements, characters or bytes; 1 of anything else."""
    return len(value) if type(value) in (str, list, dict, bytes) else 1


def checked(number: int) -> int:
    """A result of int arithmetic. Raises EvalError when it does not fit."""
    if INT_MIN <= number <= INT_MAX:
        return number
    raise EvalError("integer overflow")


def checked_uint(number: int) -> UInt:
    if 0 <= number <= UINT_MAX:
        return UInt(number)
    raise EvalError("unsigned integer overflow")


def keyed(entries: dict[Any, Any], key: Any) -> Any:
    """The value of a key, or _EMPTY. true is not 1; a whole double is the same key as its int."""
    if key in entries:
        if type(key) is bool and not any(one is key for one in entries):
            return _EMPTY
        return entries[key]
    return _EMPTY


def absent(value: Any) -> bool:
    """Whether ``keyed`` found nothing."""
    return value is _EMPTY
