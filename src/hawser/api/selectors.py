"""Label and field selectors.

Source: Kubernetes documentation, "Labels and Selectors" (grammar of equality- and set-based requirements) and
"Field Selectors". Errors are 400 BadRequest in kube-apiserver's words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from hawser.api.errors import APIError, bad_request
from hawser.api.types import Obj


class Operator(StrEnum):
    """How a label requirement compares; the value is how it is written in a selector."""

    IN = "in"
    NOT_IN = "notin"
    EQUALS = "="
    DOUBLE_EQUALS = "=="
    NOT_EQUALS = "!="
    EXISTS = "exists"
    DOES_NOT_EXIST = "!"
    GREATER = "gt"
    LESS = "lt"


_POSITIVE = (Operator.IN, Operator.EQUALS, Operator.DOUBLE_EQUALS)
_NEGATIVE = (Operator.NOT_IN, Operator.NOT_EQUALS)
_BINARY = ("in", "notin", "=", "==", "!=", "gt", "lt")
_EXPRESSION = {
    "In": Operator.IN,
    "NotIn": Operator.NOT_IN,
    "Exists": Operator.EXISTS,
    "DoesNotExist": Operator.DOES_NOT_EXIST,
}
_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_INT = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NAME_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_PREFIX_RULE = (
    "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_KEY_RULE = (
    "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' "
    "(e.g. 'example.com/MyName')"
)


def label_key_errors(key: str) -> list[str]:
    """What is wrong with a label key (a qualified name), in Kubernetes' words; empty when it is valid."""
    parts = key.split("/")
    errors: list[str] = []
    if len(parts) > 2:
        return [_KEY_RULE]
    if len(parts) == 2:
        prefix = parts[0]
        if not prefix:
            errors.append("prefix part must be non-empty")
        elif len(prefix) > 253:
            errors.append("prefix part must be no more than 253 bytes")
        elif not _SUBDOMAIN.fullmatch(prefix):
            errors.append(_PREFIX_RULE)
    name = parts[-1]
    if not name:
        errors.append("name part must be non-empty")
    elif len(name) > 63:
        errors.append("name part must be no more than 63 bytes")
    if not _NAME.fullmatch(name):
        errors.append(_NAME_RULE)
    return errors


def label_value_errors(value: str) -> list[str]:
    """What is wrong with a label value, in Kubernetes' words; empty when it is valid."""
    errors = ["must be no more than 63 bytes"] if len(value.encode()) > 63 else []
    if value and not _NAME.fullmatch(value):
        errors.append(_VALUE_RULE)
    return errors


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on labels. values are sorted and unique."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels fulfil the condition; negative operators hold for an absent key."""
        have = labels.get(self.key)
        match self.operator:
            case Operator.EXISTS:
                return have is not None
            case Operator.DOES_NOT_EXIST:
                return have is None
            case Operator.GREATER | Operator.LESS:
                if have is None or not _INT.fullmatch(have):
                    return False
                difference = int(have) - int(self.values[0])
                return difference > 0 if self.operator is Operator.GREATER else difference < 0
        if self.operator in _POSITIVE:
            return have is not None and have in self.values
        return have is None or have not in self.values

    def __str__(self) -> str:
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.DOES_NOT_EXIST:
                return f"!{self.key}"
            case Operator.IN | Operator.NOT_IN:
                return f"{self.key} {self.operator} ({','.join(self.values)})"
            case Operator.GREATER | Operator.LESS:
                return f"{self.key}{'>' if self.operator is Operator.GREATER else '<'}{self.values[0]}"
        return f"{self.key}{self.operator}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """A conjunction of requirements; without any it selects everything, unless ``nothing`` is set."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    @classmethod
    def parse(cls, text: str) -> LabelSelector:
        """Read ``a=b,c!=d,e in (x,y),!f,g``. APIError 400 when it cannot be understood."""
        try:
            return cls(tuple(sorted(_Parser(text).requirements(), key=lambda r: r.key)))
        except _ParseError as error:
            raise bad_request(str(error)) from None

    @classmethod
    def from_object(cls, selector: Obj | None) -> LabelSelector:
        """Of a metav1.LabelSelector ``{matchLabels, matchExpressions}``; None selects nothing, {} everything.

        APIError 400 when a requirement is invalid.
        """
        if selector is None:
            return cls(nothing=True)
        try:
            found = [
                _requirement(key, Operator.EQUALS, [value])
                for key, value in (selector.get("matchLabels") or {}).items()
            ]
            for expression in selector.get("matchExpressions") or []:
                name = expression.get("operator", "")
                if name not in _EXPRESSION:
                    raise _ParseError(f'"{name}" is not a valid label selector operator')
                found.append(_requirement(expression.get("key", ""), _EXPRESSION[name], expression.get("values") or []))
        except _ParseError as error:
            raise bad_request(str(error)) from None
        return cls(tuple(sorted(found, key=lambda r: r.key)))

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> LabelSelector:
        """Of a plain map of labels that must all be there, as in a Service's ``spec.selector``."""
        return cls(tuple(Requirement(key, Operator.EQUALS, (labels[key],)) for key in sorted(labels)))

    @property
    def empty(self) -> bool:
        """Whether everything is selected."""
        return not self.requirements and not self.nothing

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Whether an object with these labels (None: without labels) is selected."""
        have = labels or {}
        return not self.nothing and all(r.matches(have) for r in self.requirements)

    def __str__(self) -> str:
        return ",".join(str(r) for r in self.requirements)


class _ParseError(Exception):
    """Text that is no selector."""


def _requirement(key: str, operator: Operator, values: list[str]) -> Requirement:
    """A checked requirement."""
    if errors := label_key_errors(key):
        raise _ParseError(f'key: Invalid value: "{key}": {"; ".join(errors)}')
    shown = "[" + ",".join(f'"{v}"' for v in values) + "]"
    match operator:
        case Operator.IN | Operator.NOT_IN if not values:
            raise _ParseError("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty")
        case Operator.EXISTS | Operator.DOES_NOT_EXIST if values:
            raise _ParseError(f"values: Invalid value: {shown}: values set must be empty for exists and does not exist")
        case Operator.GREATER | Operator.LESS if not _INT.fullmatch(values[0]):
            raise _ParseError(
                f"values[0]: Invalid value: \"{values[0]}\": for 'Gt', 'Lt' operators, the value must be an integer"
            )
    for index, value in enumerate(values):
        if errors := label_value_errors(value):
            raise _ParseError(f'values[{index}][{key}]: Invalid value: "{value}": {"; ".join(errors)}')
    return Requirement(key, operator, tuple(sorted(set(values))))


_TOKEN = re.compile(r"[ \t\r\n]*(==|!=|[=!(),<>]|[^ \t\r\n=!(),<>]+)")
_SYMBOLS = frozenset(("==", "!=", "=", "!", "(", ")", ",", "<", ">", ""))
_WRITTEN = {
    "in": Operator.IN,
    "notin": Operator.NOT_IN,
    "=": Operator.EQUALS,
    "==": Operator.DOUBLE_EQUALS,
    "!=": Operator.NOT_EQUALS,
    ">": Operator.GREATER,
    "<": Operator.LESS,
}


class _Parser:
    """Recursive descent over the tokens of a label selector; the empty token is the end of the text."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = [*_TOKEN.findall(text), ""]
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at]

    def _next(self) -> str:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        while True:
            token = self._peek()
            if token == "" and not found:
                return found
            if token in _SYMBOLS and token != "!":
                raise _ParseError(f"found '{token}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except _ParseError as error:
                raise _ParseError(f"unable to parse requirement: {error}") from None
            token = self._next()
            if token == "":
                return found
            if token != ",":
                raise _ParseError(f"found '{token}', expected: ',' or 'end of string'")
            token = self._peek()
            if token in _SYMBOLS and token != "!":
                raise _ParseError(f"found '{token}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        token = self._next()
        absent = token == "!"
        key = self._next() if absent else token
        if key in _SYMBOLS:
            raise _ParseError(f"found '{key}', expected: identifier")
        if absent:
            return _requirement(key, Operator.DOES_NOT_EXIST, [])
        if self._peek() in ("", ","):
            return _requirement(key, Operator.EXISTS, [])
        if errors := label_key_errors(key):
            raise _ParseError(f'key: Invalid value: "{key}": {"; ".join(errors)}')
        written = self._next()
        operator = _WRITTEN.get(written)
        if operator is None:
            raise _ParseError(f"found '{written}', expected: {', '.join(_BINARY)}")
        values = self._list() if operator in (Operator.IN, Operator.NOT_IN) else [self._exact()]
        return _requirement(key, operator, values)

    def _exact(self) -> str:
        if self._peek() in ("", ","):
            return ""
        token = self._next()
        if token in _SYMBOLS:
            raise _ParseError(f"found '{token}', expected: identifier")
        return token

    def _list(self) -> list[str]:
        """``(a,b)``; an empty place between commas stands for the empty value."""
        token = self._next()
        if token != "(":
            raise _ParseError(f"found '{token}' expected: '('")
        if self._peek() == ")":
            self._next()
            return []
        values: set[str] = set()
        value = ""
        while True:
            token = self._next()
            if token == ")":
                return sorted({*values, value})
            if token == ",":
                values.add(value)
                value = ""
            elif token in _SYMBOLS or value:
                raise _ParseError(f"found '{token}', expected: ',', or ')'")
            else:
                value = token


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
