"""CEL's operators, over values of any type. Source: CEL language definition, "List of Standard Definitions"."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from hawser.api.cel.declarations import Overload, function
from hawser.api.cel.values import (
    INT_MAX,
    INT_MIN,
    NONE,
    Duration,
    EvalError,
    Opt,
    Timestamp,
    UInt,
    absent,
    checked,
    checked_uint,
    compare,
    equal,
    has_value,
    keyed,
)

_FIRST, _LAST = -62135596800 * 10**9, 253402300800 * 10**9 - 1
"""The first and last nanosecond that a timestamp may be: years 1 to 9999."""


def no_overload(*_: Any) -> Any:
    raise EvalError("no such overload")


def timestamp(nanos: int) -> Timestamp:
    """A timestamp. Raises EvalError outside the years 1 to 9999."""
    if not _FIRST <= nanos <= _LAST:
        raise EvalError("timestamp overflow")
    return Timestamp(nanos)


def duration(nanos: int) -> Duration:
    if not INT_MIN <= nanos <= INT_MAX:
        raise EvalError("duration overflow")
    return Duration(nanos)


def add(one: Any, other: Any) -> Any:
    kind = type(one)
    if kind is type(other):
        if kind is int:
            return checked(one + other)
        if kind in (str, float, list, bytes):
            return one + other
        if kind is UInt:
            return checked_uint(int(one) + int(other))
        if kind is Duration:
            return duration(one.nanos + other.nanos)
    elif (kind is Timestamp and type(other) is Duration) or (kind is Duration and type(other) is Timestamp):
        return timestamp(one.nanos + other.nanos)
    raise EvalError("no such overload")


def subtract(one: Any, other: Any) -> Any:
    kind = type(one)
    if kind is type(other):
        if kind is int:
            return checked(one - other)
        if kind is float:
            return one - other
        if kind is UInt:
            return checked_uint(int(one) - int(other))
        if kind in (Duration, Timestamp):
            return duration(one.nanos - other.nanos)
    elif kind is Timestamp and type(other) is Duration:
        return timestamp(one.nanos - other.nanos)
    raise EvalError("no such overload")


def multiply(one: Any, other: Any) -> Any:
    kind = type(one)
    if kind is type(other):
        if kind is int:
            return checked(one * other)
        if kind is float:
            return one * other
        if kind is UInt:
            return checked_uint(int(one) * int(other))
    raise EvalError("no such overload")


def divide(one: Any, other: Any) -> Any:
    kind = type(one)
    if kind is not type(other):
        raise EvalError("no such overload")
    if kind is float:
        if other == 0:
            return math.nan if one == 0 or math.isnan(one) else math.copysign(math.inf, one) * math.copysign(1, other)
        return one / other
    if kind not in (int, UInt):
        raise EvalError("no such overload")
    if other == 0:
        raise EvalError("division by zero")
    if kind is UInt:
        return UInt(int(one) // int(other))
    quotient = abs(one) // abs(other)
    return checked(quotient if (one < 0) == (other < 0) else -quotient)


def modulo(one: Any, other: Any) -> Any:
    kind = type(one)
    if kind is not type(other) or kind not in (int, UInt):
        raise EvalError("no such overload")
    if other == 0:
        raise EvalError("modulus by zero")
    if kind is UInt:
        return UInt(int(one) % int(other))
    return checked(int(math.copysign(1, one)) * (abs(one) % abs(other)))


def negate(value: Any) -> Any:
    if type(value) is int:
        return checked(-value)
    if type(value) is float:
        return -value
    raise EvalError("no such overload")


def invert(value: Any) -> bool:
    if type(value) is bool:
        return not value
    raise EvalError("no such overload")


def contains(item: Any, holder: Any) -> bool:
    """The operator ``in``: an item of a list, a key of a map."""
    if type(holder) is list:
        return any(equal(item, one) for one in holder)
    if type(holder) is dict:
        try:
            return not absent(keyed(holder, item))
        except TypeError:
            raise EvalError("unsupported key type") from None
    if hasattr(holder, "holds"):
        return bool(holder.holds(item))
    raise EvalError("no such overload")


def index(holder: Any, at: Any) -> Any:
    """The operator ``[]``."""
    if type(holder) is dict:
        try:
            found = keyed(holder, at)
        except TypeError:
            raise EvalError("unsupported key type") from None
        if absent(found):
            raise EvalError(f"no such key: {at}")
        return found
    if type(holder) is list:
        if type(at) is float and at.is_integer():
            at = int(at)
        if type(at) not in (int, UInt):
            raise EvalError("no such overload")
        if 0 <= at < len(holder):
            return holder[at]
        raise EvalError(f"index out of bounds: {at}")
    if type(holder) is Opt:
        return optional_index(holder, at)
    if hasattr(holder, "item"):
        return holder.item(at)
    raise EvalError("no such overload")


def optional_index(holder: Any, at: Any) -> Opt:
    """The operator ``[?]``: NONE where ``[]`` has nothing."""
    if type(holder) is Opt:
        if not has_value(holder):
            return NONE
        holder = holder.value
    if type(holder) is dict:
        found = keyed(holder, at)
        return NONE if absent(found) else Opt(found)
    if type(holder) is list and type(at) in (int, UInt):
        return Opt(holder[at]) if 0 <= at < len(holder) else NONE
    if hasattr(holder, "item"):
        return Opt(holder.item(at))
    raise EvalError("no such overload")


def unequal(one: Any, other: Any) -> bool:
    return not equal(one, other)


def less(one: Any, other: Any) -> bool:
    return compare(one, other) < 0


def less_or_equal(one: Any, other: Any) -> bool:
    return compare(one, other) <= 0


def greater(one: Any, other: Any) -> bool:
    return compare(one, other) > 0


def greater_or_equal(one: Any, other: Any) -> bool:
    return compare(one, other) >= 0


def insert(into: dict[Any, Any], *entry: Any) -> dict[Any, Any]:
    """A step of transformMap: the map with one more key, in place. Raises EvalError when it has the key."""
    pairs = [entry] if len(entry) == 2 else list(entry[0].items())
    for key, value in pairs:
        if not absent(keyed(into, key)):
            raise EvalError(f"insert failed: key {key} already exists")
        into[key] = value
    return into


_ADDS = (
    "int, int) -> int", "uint, uint) -> uint", "double, double) -> double", "string, string) -> string",
    "bytes, bytes) -> bytes", "list(A), list(A)) -> list(A)", "duration, duration) -> duration",
    "timestamp, duration) -> timestamp", "duration, timestamp) -> timestamp",
)  # fmt: skip
_SUBTRACTS = (
    "int, int) -> int", "uint, uint) -> uint", "double, double) -> double", "duration, duration) -> duration",
    "timestamp, duration) -> timestamp", "timestamp, timestamp) -> duration",
)  # fmt: skip
_SAME = ("int, int) -> int", "uint, uint) -> uint", "double, double) -> double")
_ORDERED = ("bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration")
_MIXED = (("int", "double"), ("int", "uint"), ("uint", "double"), ("uint", "int"), ("double", "int"),
          ("double", "uint"))  # fmt: skip


def overloads() -> Iterator[Overload]:
    """The declarations of the operators."""
    for forms, name, call in ((_ADDS, "_+_", add), (_SUBTRACTS, "_-_", subtract), (_SAME, "_*_", multiply),
                              (_SAME, "_/_", divide), (_SAME[:2], "_%_", modulo)):  # fmt: skip
        for form in forms:
            yield function(f"{name}({form}", call)
    for name, order in (("_<_", less), ("_<=_", less_or_equal), ("_>_", greater), ("_>=_", greater_or_equal)):
        for one in _ORDERED:
            yield function(f"{name}({one}, {one}) -> bool", order)
        for one, other in _MIXED:
            yield function(f"{name}({one}, {other}) -> bool", order)
    yield function("_==_(A, A) -> bool", equal)
    yield function("_!=_(A, A) -> bool", unequal)
    yield function("@in(A, list(A)) -> bool", contains)
    yield function("@in(A, map(A, B)) -> bool", contains)
    yield function("_[_](list(A), int) -> A", index)
    yield function("_[_](map(A, B), A) -> B", index)
    yield function("_[_](optional_type(list(A)), int) -> optional_type(A)", index)
    yield function("_[_](optional_type(map(A, B)), A) -> optional_type(B)", index)
    yield function("_[?_](list(A), int) -> optional_type(A)", optional_index)
    yield function("_[?_](map(A, B), A) -> optional_type(B)", optional_index)
    yield function("_[?_](optional_type(list(A)), int) -> optional_type(A)", optional_index)
    yield function("_[?_](optional_type(map(A, B)), A) -> optional_type(B)", optional_index)
    yield function("-_(int) -> int", negate)
    yield function("-_(double) -> double", negate)
    yield function("!_(bool) -> bool", invert)
    yield function("_&&_(bool, bool) -> bool", no_overload)
    yield function("_||_(bool, bool) -> bool", no_overload)
    yield function("_?_:_(bool, A, A) -> A", no_overload)
    yield function("@not_strictly_false(bool) -> bool", no_overload)
    yield function("cel.@mapInsert(map(A, B), A, B) -> map(A, B)", insert)
    yield function("cel.@mapInsert(map(A, B), map(A, B)) -> map(A, B)", insert)
