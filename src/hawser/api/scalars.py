"""Scalar types of the Kubernetes API: whether a JSON value is in normal form, and how it gets there.

``is_x`` says whether a value is exactly as Kubernetes would write it; ``to_x`` makes it so, or raises DecodeError in
the words of Go's decoder. Sources: metav1.Time and MicroTime (RFC 3339, UTC), resource.Quantity, encoding/base64.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64encode
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from hawser.api import quantity


class DecodeError(ValueError):
    """A value that Go's decoder would refuse; the text is Go's."""


def json_type(value: Any, go: str) -> str:
    """What Go calls a JSON value in "cannot unmarshal WHAT": the type, and a number itself where its size is wrong."""
    match value:
        case bool():
            return "bool"
        case int() | float():
            return f"number {value}" if go.startswith(("int", "uint")) else "number"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
    return "null"


def quote(text: str) -> str:
    """Go's %q of a printable string."""
    return json.dumps(text, ensure_ascii=False)


def integer(text: str, signed: bool = True) -> int:
    """A number of 64 bits as Go's strconv.ParseInt reads it; if not signed, as ParseUint does. Raises DecodeError."""
    digits = text[1:] if signed and text[:1] in ("+", "-") else text
    problem = "invalid syntax"
    if digits.isascii() and digits.isdigit():
        # Python refuses to read thousands of digits.
        value = int(text) if len(digits) < 400 else 1 << 64
        if -(2**63) <= value < 2**63 if signed else value < 2**64:
            return value
        problem = "value out of range"
    raise DecodeError(f"strconv.Parse{'Int' if signed else 'Uint'}: parsing {quote(text)}: {problem}")


def is_string(value: Any) -> bool:
    return type(value) is str


def is_boolean(value: Any) -> bool:
    return type(value) is bool


def is_int32(value: Any) -> bool:
    return type(value) is int and -(2**31) <= value < 2**31


def is_int64(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def is_number(value: Any) -> bool:
    return type(value) is float or type(value) is int


def is_int_or_string(value: Any) -> bool:
    return type(value) is str or is_int32(value)


def is_base64(value: Any) -> bool:
    if type(value) is not str:
        return False
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        return False
    return True


def to_base64(value: str) -> str:
    """Line breaks are dropped, as Go does."""
    try:
        return b64encode(binascii.a2b_base64(value.replace("\r", "").replace("\n", ""), strict_mode=True)).decode()
    except ValueError:
        raise DecodeError(f"illegal base64 data at input byte {_base64_fault(value)}") from None


def _base64_fault(value: str) -> int:
    """Where Go finds the fault: the first foreign character or misplaced padding, or the group that is incomplete."""
    foreign = re.search(r"[^A-Za-z0-9+/\r\n]", value)
    if foreign is None:
        return len(value) - len(value) % 4
    place = foreign.start()
    if value[place] == "=" and place % 4 >= 2:
        return min(place + (2 if place % 4 == 2 else 1), len(value))
    return place


def is_time(value: Any) -> bool:
    return type(value) is str and len(value) == 20 and value[19] == "Z" and value[10] == "T" and _is_date(value)


def is_micro_time(value: Any) -> bool:
    return (
        type(value) is str
        and len(value) == 27
        and value[26] == "Z"
        and value[10] == "T"
        and value[19] == "."
        and _is_date(value)
    )


def _is_date(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


_DATE = [("2006", r"\d{4}"), ("-", "-"), ("01", r"\d\d"), ("-", "-"), ("02", r"\d\d"), ("T", "T")]
_CLOCK = [("15", r"\d\d"), (":", ":"), ("04", r"\d\d"), (":", ":"), ("05", r"\d\d")]
_ZONE = [("Z07:00", r"Z|[+-]\d\d:\d\d")]
_SECONDS_FORM = [*_DATE, *_CLOCK, ("", r"([.,]\d+)?"), *_ZONE]
_MICRO_FORM = [*_DATE, *_CLOCK, (".000000", r"[.,]\d{6}"), *_ZONE]


def to_time(value: str) -> str:
    """In UTC, without fractions of a second."""
    return _parse_time(value, _SECONDS_FORM).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_micro_time(value: str) -> str:
    """In UTC, with six digits of fraction; Kubernetes insists on exactly six in its input too."""
    return _parse_time(value, _MICRO_FORM).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _parse_time(value: str, form: list[tuple[str, str]]) -> datetime:
    layout = "".join(part for part, _ in form)
    rest = value
    for part, pattern in form:
        match = re.match(pattern, rest, re.ASCII)
        if match is None:
            raise DecodeError(
                f"parsing time {quote(value)} as {quote(layout)}: cannot parse {quote(rest)} as {quote(part)}"
            )
        rest = rest[match.end() :]
    if rest:
        raise DecodeError(f"parsing time {quote(value)}: extra text: {quote(rest)}")
    try:
        return datetime.fromisoformat(value.replace(",", ".")).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise DecodeError(f"parsing time {quote(value)}: {_out_of_range(str(error))}") from None


def _out_of_range(error: str) -> str:
    for part in ("month", "day", "hour", "minute", "second"):
        if part in error:
            return f"{part} out of range"
    return "time zone offset out of range"


def is_quantity(value: Any) -> bool:
    if type(value) is not str:
        return False
    try:
        return _canonical(value) == value
    except ValueError:
        return False


def to_quantity(value: Any) -> str:
    """Canonical: ``1000m`` is ``1``, 0.5 is ``500m``."""
    try:
        if isinstance(value, str):
            return _canonical(value)
        return quantity.canonical(json.dumps(value))
    except ValueError as error:
        raise DecodeError(str(error)) from None


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    return quantity.canonical(text)
