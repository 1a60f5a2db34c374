"""Label selectors.

Source: Kubernetes documentation, "Labels and Selectors" (grammar of equality- and set-based requirements). Errors are
400 BadRequest in kube-apiserver's words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from hawser.api.errors import bad_request
from hawser.api.label_names import label_key_errors, label_value_errors
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
_INT = re.compile(r"[+-]?[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on labels. values are sorted and unique."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels fulfil the condition; negative operators hold for an absent key."""
        have = labels.get(self.key)
        if self.operator is Operator.EQUALS:
            return have == self.values[0]
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
        # Asked of every pod of every owner, over and over: a loop takes half of the time of all().
        for requirement in self.requirements:
            if not requirement.matches(have):
                return False
        return not self.nothing

    def matcher(self) -> Callable[[Mapping[str, str] | None], bool]:
        """``matches`` for many objects: labels that only have to be there are looked for at once."""
        labels = {r.key: r.values[0] for r in self.requirements if r.operator is Operator.EQUALS}
        if self.nothing or len(labels) < len(self.requirements):
            return self.matches
        wanted = labels.items()
        return lambda have: wanted <= have.items() if have else not wanted

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


def shown(selector: Obj | None) -> str:
    """A metav1.LabelSelector as Go prints it, which is how messages of Kubernetes' controllers have it."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    expressions = ""
    for one in selector.get("matchExpressions") or ():
        values = " ".join(one.get("values") or ())
        expressions += f"LabelSelectorRequirement{{Key:{one['key']},Operator:{one['operator']},Values:[{values}],}},"
    matched = f"map[string]string{{{labels}}}"
    return f"&LabelSelector{{MatchLabels:{matched},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
