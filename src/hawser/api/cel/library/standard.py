"""CEL's own functions beside operators: sizes, strings, conversions, optional values.

Source: CEL language definition, "List of Standard Definitions"; cel-go's optional types.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from hawser.api import scalars
from hawser.api.cel.declarations import Overload, both, function, method
from hawser.api.cel.library import regex, times
from hawser.api.cel.values import (
    INT_MAX,
    INT_MIN,
    NONE,
    Duration,
    EvalError,
    Opt,
    Timestamp,
    TypeValue,
    UInt,
    has_value,
    type_name,
)


def size(value: Any) -> int:
    return len(value)


def _conversion(value: Any, wanted: str) -> EvalError:
    return EvalError(f"type conversion error from '{type_name(value)}' to '{wanted}'")


def to_int(value: Any) -> int:
    match value:
        case bool():
            raise _conversion(value, "int")
        case float():
            if not math.isfinite(value) or not INT_MIN < value < 2**63:
                raise EvalError("integer overflow")
            return int(value)
        case int():
            if value > INT_MAX:
                raise EvalError("integer overflow")
            return int(value)
        case str():
            return _integer(value, signed=True)
        case Timestamp():
            return value.nanos // 10**9
        case Duration():
            return value.nanos
    raise _conversion(value, "int")


def to_uint(value: Any) -> UInt:
    if isinstance(value, str):
        return UInt(_integer(value, signed=False))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _conversion(value, "uint")
    if not math.isfinite(value) or not -1 < value < 2**64 or value < 0:
        raise EvalError("unsigned integer overflow")
    return UInt(int(value))


def _integer(text: str, signed: bool) -> int:
    try:
        return scalars.integer(text, signed)
    except scalars.DecodeError as error:
        raise EvalError(str(error)) from None


def to_double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _conversion(value, "double")
    try:
        if isinstance(value, str) and (value != value.strip() or "_" in value):
            raise ValueError
        return float(value)
    except ValueError:
        raise EvalError(f'strconv.ParseFloat: parsing "{value}": invalid syntax') from None


def to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value in ("1", "t", "T", "true", "TRUE", "True"):
            return True
        if value in ("0", "f", "F", "false", "FALSE", "False"):
            return False
    raise _conversion(value, "bool")


def show_double(value: float) -> str:
    """Go's shortest form (%g with the exponent as Go writes it)."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    return repr(value)


def to_string(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return show_double(value)
        case int():
            return str(int(value))
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise EvalError("invalid UTF-8 in bytes, cannot convert to string") from None
        case Timestamp():
            return times.write_timestamp(value)
        case Duration():
            return times.write_duration(value)
    text = getattr(value, "text", None)
    if isinstance(text, str):
        return text
    raise _conversion(value, "string")


def to_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    raise _conversion(value, "bytes")


def to_timestamp(value: Any) -> Timestamp:
    if isinstance(value, Timestamp):
        return value
    if isinstance(value, str):
        return times.read_timestamp(value)
    if type(value) is int:
        from hawser.api.cel.operators import timestamp

        return timestamp(value * 10**9)
    raise _conversion(value, "google.protobuf.Timestamp")


def to_duration(value: Any) -> Duration:
    if isinstance(value, Duration):
        return value
    if isinstance(value, str):
        return times.read_duration(value)
    if type(value) is int:
        return Duration(value)
    raise _conversion(value, "google.protobuf.Duration")


def to_type(value: Any) -> TypeValue:
    return TypeValue(type_name(value))


def _value(holder: Opt) -> Any:
    if not has_value(holder):
        raise EvalError("optional.none() dereference")
    return holder.value


def _of_non_zero(value: Any) -> Opt:
    zero = value is None or value is False or (type(value) in (int, UInt, float, str, bytes, list, dict) and not value)
    return NONE if zero else Opt(value)


def _or(one: Opt, other: Opt) -> Opt:
    return one if has_value(one) else other


def _or_value(one: Opt, other: Any) -> Any:
    return one.value if has_value(one) else other


def _optional() -> Iterator[Overload]:
    yield function("optional.of(T) -> optional_type(T)", Opt)
    yield function("optional.ofNonZeroValue(T) -> optional_type(T)", _of_non_zero)
    yield function("optional.none() -> optional_type(T)", lambda: NONE)
    yield method("optional_type(T)", "hasValue() -> bool", has_value)
    yield method("optional_type(T)", "value() -> T", _value)
    yield method("optional_type(T)", "or(optional_type(T)) -> optional_type(T)", _or)
    yield method("optional_type(T)", "orValue(T) -> T", _or_value)


def overloads() -> Iterator[Overload]:
    """The declarations."""
    for one in ("string", "bytes", "list(A)", "map(A, B)"):
        yield from both(f"size({one}) -> int", size)
    yield method("string", "contains(string) -> bool", str.__contains__)
    yield method("string", "startsWith(string) -> bool", str.startswith)
    yield method("string", "endsWith(string) -> bool", str.endswith)
    yield from both("matches(string, string) -> bool", regex.matches)
    for name, call, types in (
        ("int", to_int, "int uint double string timestamp duration"),
        ("uint", to_uint, "uint int double string"),
        ("double", to_double, "double int uint string"),
        ("string", to_string, "string bool int uint double bytes timestamp duration"),
        ("bytes", to_bytes, "bytes string"),
        ("bool", to_bool, "bool string"),
        ("timestamp", to_timestamp, "timestamp string int"),
        ("duration", to_duration, "duration string int"),
    ):
        for one in types.split():
            yield function(f"{name}({one}) -> {name}", call, f"{one}_to_{name}")
    yield function("type(A) -> type(A)", to_type)
    yield function("dyn(A) -> dyn", lambda value: value)
    yield from _optional()
