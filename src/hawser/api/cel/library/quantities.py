"""Quantities, semantic versions and URLs.

Source: Kubernetes documentation, "Kubernetes quantity library", "semver library" and "URL library"; semver.org.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from hawser.api.cel.declarations import Overload, function, method
from hawser.api.cel.values import INT_MAX, INT_MIN, EvalError, Opaque
from hawser.api.quantity import Quantity as Amount


class Quantity(Opaque):
    """A quantity; equal when the amounts are."""

    __slots__ = ("amount", "parsed")
    type_name = "kubernetes.Quantity"

    def __init__(self, parsed: Amount) -> None:
        self.parsed = parsed
        self.amount = parsed.amount

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.amount == other.amount

    def __hash__(self) -> int:
        return hash(self.amount)

    @property
    def text(self) -> str:
        return str(self.parsed)


def _quantity(text: str) -> Quantity:
    try:
        return Quantity(Amount.parse(text))
    except ValueError as error:
        raise EvalError(str(error)) from None


def _valid(read: Any) -> Any:
    def call(*args: Any) -> bool:
        try:
            read(*args)
        except EvalError:
            return False
        return True

    return call


def _is_integer(value: Quantity) -> bool:
    return value.amount == value.amount.to_integral_value() and INT_MIN <= value.amount <= INT_MAX


def _as_integer(value: Quantity) -> int:
    if not _is_integer(value):
        raise EvalError("cannot convert value to integer")
    return int(value.amount)


def _amount(value: Quantity | int) -> Decimal:
    return value.amount if isinstance(value, Quantity) else Decimal(value)


def _plus(sign: int) -> Any:
    def call(one: Quantity, other: Quantity | int) -> Quantity:
        return Quantity(Amount(one.amount + sign * _amount(other), one.parsed.format))

    return call


def _order(one: Any, other: Any) -> int:
    return int(one > other) - int(one < other)


_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Semver(Opaque):
    """A semantic version; the build does not count in comparisons."""

    numbers: tuple[int, int, int]
    release: tuple[Any, ...]
    text: str

    type_name = "kubernetes.Semver"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and (self.numbers, self.release) == (other.numbers, other.release)

    def __hash__(self) -> int:
        return hash((self.numbers, self.release))


def version(text: str, normalize: bool = False) -> Semver:
    """A semantic version of its text; normalize: "v1" and "1.01" will do. Raises EvalError."""
    if normalize:
        text = _normalized(text)
    match = _SEMVER.fullmatch(text) if len(text) <= 1024 else None
    if match is None:
        raise EvalError("No Major.Minor.Patch elements found" if text.count(".") < 2 else f"Invalid version {text!r}")
    parts = match.group(4).split(".") if match.group(4) else []
    # Numbers come before words; a version that is no pre-release comes after all that are.
    release = tuple((0, int(one), "") if one.isdigit() else (1, 0, one) for one in parts) if parts else ((2, 0, ""),)
    return Semver((int(match.group(1)), int(match.group(2)), int(match.group(3))), release, text)


def _normalized(text: str) -> str:
    text = text.removeprefix("v")
    core, mark, rest = re.match(r"([^-+]*)([-+]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    parts = [part.lstrip("0") or ("0" if part else "") for part in core.split(".")]
    parts += ["0"] * (3 - len(parts))
    return ".".join(parts) + mark + rest


def _compare_versions(one: Semver, other: Semver) -> int:
    return _order((one.numbers, one.release), (other.numbers, other.release))


@dataclass(frozen=True, slots=True)
class URL(Opaque):
    """A URL. text: as it was written."""

    text: str
    scheme: str
    host: str
    path: str
    query: str

    type_name = "kubernetes.URL"


def _url(text: str) -> URL:
    """An absolute URI or an absolute path. Raises EvalError."""
    problem = EvalError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    if any(ord(c) < 33 or ord(c) == 127 for c in text) or re.search(r"%(?![0-9a-fA-F]{2})", text.partition("?")[0]):
        raise problem
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise problem from None
    if not parts.scheme and not text.startswith("/"):
        raise problem
    host = parts.netloc.rpartition("@")[2]
    return URL(text, parts.scheme, host, parts.path, parts.query)


def _hostname(url: URL) -> str:
    if url.host.startswith("["):
        return url.host[1:].partition("]")[0]
    return url.host.partition(":")[0]


def _port(url: URL) -> str:
    rest = url.host.rpartition("]")[2]
    return rest.partition(":")[2]


def _queries(url: URL) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in parse_qsl(url.query, keep_blank_values=True):
        found.setdefault(key, []).append(value)
    return found


def overloads() -> Iterator[Overload]:
    """The declarations."""
    kind = "kubernetes.Quantity"
    yield function(f"quantity(string) -> {kind}", _quantity)
    yield function("isQuantity(string) -> bool", _valid(_quantity))
    yield method(kind, "sign() -> int", lambda q: _order(q.amount, 0))
    yield method(kind, "isInteger() -> bool", _is_integer)
    yield method(kind, "asInteger() -> int", _as_integer)
    yield method(kind, "asApproximateFloat() -> double", lambda q: float(q.amount))
    yield method(kind, f"isGreaterThan({kind}) -> bool", lambda a, b: a.amount > b.amount)
    yield method(kind, f"isLessThan({kind}) -> bool", lambda a, b: a.amount < b.amount)
    yield method(kind, f"compareTo({kind}) -> int", lambda a, b: _order(a.amount, b.amount))
    for name, sign in (("add", 1), ("sub", -1)):
        yield method(kind, f"{name}({kind}) -> {kind}", _plus(sign))
        yield method(kind, f"{name}(int) -> {kind}", _plus(sign))
    yield from _versions()
    yield from _urls()


def _versions() -> Iterator[Overload]:
    kind = "kubernetes.Semver"
    yield function(f"semver(string) -> {kind}", version)
    yield function(f"semver(string, bool) -> {kind}", version)
    yield function("isSemver(string) -> bool", _valid(version))
    yield function("isSemver(string, bool) -> bool", _valid(version))
    for place, name in enumerate(("major", "minor", "patch")):
        yield method(kind, f"{name}() -> int", lambda v, place=place: v.numbers[place])
    yield method(kind, f"isGreaterThan({kind}) -> bool", lambda a, b: _compare_versions(a, b) > 0)
    yield method(kind, f"isLessThan({kind}) -> bool", lambda a, b: _compare_versions(a, b) < 0)
    yield method(kind, f"compareTo({kind}) -> int", _compare_versions)


def _urls() -> Iterator[Overload]:
    kind = "kubernetes.URL"
    yield function(f"url(string) -> {kind}", _url)
    yield function("isURL(string) -> bool", _valid(_url))
    yield method(kind, "getScheme() -> string", lambda u: u.scheme)
    yield method(kind, "getHost() -> string", lambda u: u.host)
    yield method(kind, "getHostname() -> string", _hostname)
    yield method(kind, "getPort() -> string", _port)
    yield method(kind, "getEscapedPath() -> string", lambda u: u.path)
    yield method(kind, "getQuery() -> map(string, list(string))", _queries)
