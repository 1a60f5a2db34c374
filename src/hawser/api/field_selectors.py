"""Field selectors, and the fields that they compare.

Source: Kubernetes documentation, "Field Selectors". Errors are 400 BadRequest in kube-apiserver's words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hawser.api.errors import APIError, bad_request
from hawser.api.types import Obj


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One condition on a field: path ``=`` value, or ``!=`` when negated."""

    path: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        value = re.sub(r"([\\,=])", r"\\\1", self.value)
        return f"{self.path}{'!=' if self.negated else '='}{value}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """A conjunction of field requirements; without any it selects everything.

    Which paths a kind supports is the caller's to check: kube-apiserver answers 400 ``field label not supported: x``.
    """

    requirements: tuple[FieldRequirement, ...] = ()

    @classmethod
    def parse(cls, text: str) -> FieldSelector:
        """Read ``spec.nodeName=a,status.phase!=Running``. APIError 400 when it cannot be understood."""
        terms = _terms(text)
        return cls(tuple(_field_requirement(text, term) for term in sorted(terms) if term))

    @property
    def empty(self) -> bool:
        """Whether everything is selected."""
        return not self.requirements

    def matches(self, getter: Callable[[str], str]) -> bool:
        """Whether the object whose field values getter tells (path -> text, "" when absent) is selected."""
        return all((getter(r.path) == r.value) is not r.negated for r in self.requirements)

    def matches_object(self, obj: Obj) -> bool:
        """Whether an object is selected, each path read by ``field_value``."""
        return self.matches(lambda path: field_value(obj, path))

    def renamed(self, names: Mapping[str, str]) -> FieldSelector:
        """The selector with other paths, where names has any."""
        return FieldSelector(tuple(replace(r, path=names.get(r.path, r.path)) for r in self.requirements))

    def exact(self, path: str) -> str | None:
        """The value that path must equal, or None when none is asked for."""
        return next((r.value for r in self.requirements if r.path == path and not r.negated), None)

    def __str__(self) -> str:
        return ",".join(str(r) for r in self.requirements)


def _terms(text: str) -> list[str]:
    """The text cut at commas that no backslash escapes."""
    return re.findall(r"(?:\\.|[^,\\]|\\$)+", text, re.DOTALL)


def _field_requirement(text: str, term: str) -> FieldRequirement:
    parts = re.fullmatch(r"((?:\\.|[^\\=!]|!(?!=))*?)(!=|==|=)(.*)", term, re.DOTALL)
    if parts is None:
        raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
    path, operator, value = parts.groups()
    return FieldRequirement(path, _unescape(value), operator == "!=")


def _unescape(value: str) -> str:
    def piece(match: re.Match[str]) -> str:
        found = match.group()
        if found in ("=", ","):
            raise _field_error(f"unescaped character in value: {found}")
        if found[1:] not in ("\\", ",", "="):
            raise _field_error(f"invalid escape sequence: {found}")
        return found[1:]

    return re.sub(r"\\.|\\$|=|,", piece, value, flags=re.DOTALL)


def _field_error(detail: str) -> APIError:
    return bad_request(f"invalid field selector: {detail}")


# Fields that Kubernetes selects by their Go value: absent means the zero value, not the empty text.
_ZERO = {"spec.unschedulable": "false", "spec.hostNetwork": "false", "status.replicas": "0"}


def field_value(obj: Obj, path: str) -> str:
    """The value of a dotted path (``spec.nodeName``) as field selectors compare it; absent is the zero value."""
    if path == "source":
        source = obj.get("source")
        return str((source.get("component") if isinstance(source, dict) else "") or obj.get("reportingComponent") or "")
    if path == "status.successful":
        # A Job's; the field itself is called otherwise.
        return str((obj.get("status") or {}).get("succeeded") or 0)
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return _ZERO.get(path, "")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
