"""Patterns and formats of strings: Go's regular expressions (RE2), and the formats that Kubernetes checks.

Source: RE2 syntax (https://github.com/google/re2/wiki/Syntax); JSON Schema's ``format`` as the list under "Validation"
in Kubernetes' CustomResourceDefinition documentation.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date, datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID


class PatternError(ValueError):
    """A pattern that is no regular expression; str() says why."""


class Pattern(Protocol):
    """A compiled pattern."""

    def search(self, text: str) -> Any:
        """Whether it is somewhere in a text: a match or None."""
        ...


@lru_cache(maxsize=4096)
def compile_pattern(text: str) -> Pattern:
    """A Go regular expression, on RE2: however it is written, its time is linear in the text. PatternError."""
    from hawser.api.cel.library.regex import compiled
    from hawser.api.cel.values import EvalError

    try:
        found: Pattern = compiled(text)
    except EvalError as error:
        raise PatternError(str(error)) from None
    return found


def matches_format(name: str, value: str) -> bool:
    """Whether a string is of a format; formats that Kubernetes does not know hold for everything."""
    check = _FORMATS.get(name.replace("-", ""))
    try:
        return check is None or bool(check(value))
    except (ValueError, binascii.Error):
        return False


def _full(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern, re.ASCII).fullmatch


_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d([.]\d+)?([Zz]|[+-]\d\d:?\d\d)")
_DURATION = re.compile(
    r"[+-]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w)?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))*"
)


def _uri(value: str) -> bool:
    parts = urlsplit(value)
    return bool(parts.scheme or value.startswith("/")) and " " not in value


def _mac(value: str) -> bool:
    return re.fullmatch(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}(\.[0-9A-Fa-f]{4}){2}", value) is not None


def _cidr(value: str) -> bool:
    return "/" in value and ip_network(value, strict=False) is not None


def _uuid(version: int) -> Callable[[str], object]:
    def check(value: str) -> bool:
        if not re.fullmatch(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", value):
            return False
        return not version or UUID(value).version == version

    return check


def _date_time(value: str) -> bool:
    return bool(_DATE_TIME.fullmatch(value)) and datetime.fromisoformat(value.upper()[:19]) is not None


def _luhn(value: str) -> bool:
    digits = [int(c) for c in re.sub(r"[ -]", "", value)]
    total = sum(d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(reversed(digits)))
    return 13 <= len(digits) <= 16 and total % 10 == 0


_FORMATS: dict[str, Callable[[str], object]] = {
    "bsonobjectid": _full(r"[0-9a-fA-F]{24}"),
    "byte": lambda value: base64.b64decode(value, validate=True) is not None,
    "cidr": _cidr,
    "creditcard": _luhn,
    "date": lambda value: len(value) == 10 and date.fromisoformat(value),
    "datetime": _date_time,
    "duration": _DURATION.fullmatch,
    "email": _full(r"[^@\s<>]+@[^@\s<>]+"),
    "hexcolor": _full(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "hostname": _full(r"(?=.{1,253}\Z)[a-zA-Z0-9_]([-a-zA-Z0-9_]{0,61}[a-zA-Z0-9_])?"
                      r"(\.[a-zA-Z0-9_]([-a-zA-Z0-9_]{0,61}[a-zA-Z0-9_])?)*\.?"),
    "ipv4": lambda value: IPv4Address(value),
    "ipv6": lambda value: IPv6Address(value),
    "isbn": _full(r"(97[89][- ]?)?([0-9][- ]?){9}[0-9Xx]"),
    "isbn10": _full(r"([0-9][- ]?){9}[0-9Xx]"),
    "isbn13": _full(r"97[89][- ]?([0-9][- ]?){10}"),
    "mac": _mac,
    "rgbcolor": _full(r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)"),
    "ssn": _full(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "uri": _uri,
    "uuid": _uuid(0),
    "uuid3": _uuid(3),
    "uuid4": _uuid(4),
    "uuid5": _uuid(5),
}  # fmt: skip
