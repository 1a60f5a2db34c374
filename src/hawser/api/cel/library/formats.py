"""Named formats of strings. Source: Kubernetes documentation, "Kubernetes format library"."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from typing import Any

from hawser.api.cel.declarations import Overload, function, method
from hawser.api.cel.library import quantities, times
from hawser.api.cel.values import NONE, EvalError, Opaque, Opt


class Format(Opaque):
    """A format; check answers what is wrong with a string."""

    __slots__ = ("check", "name")
    type_name = "kubernetes.NamedFormat"

    def __init__(self, name: str, check: Callable[[str], Iterable[str]]) -> None:
        self.name = name
        self.check = check

    def validate(self, text: str) -> Opt:
        found = list(self.check(text))
        return Opt(found) if found else NONE


def _rules(name: str) -> Callable[[str], Iterable[str]]:
    """A rule of names, imported when it is used: validation itself knows expressions."""

    def check(text: str) -> Iterable[str]:
        from hawser.api.validation import rules

        return getattr(rules, name)(text)  # type: ignore[no-any-return]

    return check


def _prefixed(check: Callable[[str], Iterable[str]]) -> Callable[[str], Iterable[str]]:
    """A name that something is put after: a dash may end it."""

    def prefix(text: str) -> Iterable[str]:
        return check(text[:-1] + "a" if text.endswith("-") else text)

    return prefix


def _read(read: Callable[[str], Any], sentence: str) -> Callable[[str], Iterable[str]]:
    def check(text: str) -> Iterable[str]:
        try:
            read(text)
        except (EvalError, ValueError, binascii.Error):
            return [sentence]
        return []

    return check


def _uuid(text: str) -> Iterable[str]:
    from hawser.api.crd.patterns import matches_format

    return [] if matches_format("uuid", text) else ["does not match the UUID format"]


_LABEL, _SUBDOMAIN = _rules("label_errors"), _rules("subdomain_errors")
_CHECKS: dict[str, Callable[[str], Iterable[str]]] = {
    "dns1123Label": _LABEL,
    "dns1123Subdomain": _SUBDOMAIN,
    "dns1035Label": _rules("label_1035_errors"),
    "qualifiedName": _rules("qualified_name_errors"),
    "dns1123LabelPrefix": _prefixed(_LABEL),
    "dns1123SubdomainPrefix": _prefixed(_SUBDOMAIN),
    "dns1035LabelPrefix": _prefixed(_rules("label_1035_errors")),
    "labelValue": _rules("label_value_errors"),
    "uri": _read(quantities._url, "invalid URL"),
    "uuid": _uuid,
    "byte": _read(lambda text: base64.b64decode(text, validate=True), "invalid base64"),
    "date": _read(date.fromisoformat, "invalid date"),
    "datetime": _read(times.read_timestamp, "invalid datetime"),
}
_FORMATS = {name: Format(name, check) for name, check in _CHECKS.items()}


def _named(name: str) -> Opt:
    found = _FORMATS.get(name)
    return NONE if found is None else Opt(found)


def overloads() -> Iterator[Overload]:
    """The declarations."""
    kind = Format.type_name
    yield function(f"format.named(string) -> optional_type({kind})", _named)
    for name, one in _FORMATS.items():
        yield function(f"format.{name}() -> {kind}", lambda one=one: one)
    yield method(kind, "validate(string) -> optional_type(list(string))", Format.validate)
