"""The syntax tree of CEL expressions. Source: CEL language definition, "Syntax"."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class Node:
    """at: the offset in the source that messages point to."""

    at: int


@dataclass(slots=True, eq=False)
class Literal(Node):
    value: Any


@dataclass(slots=True, eq=False)
class Ident(Node):
    name: str


@dataclass(slots=True, eq=False)
class Select(Node):
    """operand.field; test: has(operand.field)."""

    operand: Node
    field: str
    test: bool = False


@dataclass(slots=True, eq=False)
class Call(Node):
    """A function; target is None of one that is no method. Operators have CEL's internal names (``_+_``)."""

    function: str
    target: Node | None
    args: list[Node]


@dataclass(slots=True, eq=False)
class ListNode(Node):
    """optional: places of ``[?x]``."""

    items: list[Node]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class MapNode(Node):
    entries: list[tuple[Node, Node, bool]]


@dataclass(slots=True, eq=False)
class Struct(Node):
    """Name{field: value}; each field with its place and whether it is optional."""

    name: str
    fields: list[tuple[str, Node, bool, int]]


@dataclass(slots=True, eq=False)
class Fold(Node):
    """A comprehension: what macros expand to, and which one it was.

    parts: the expressions that a macro was given after its variables, for evaluation; condition, step and result are
    the same in CEL's general form, for types and costs.
    """

    macro: str
    range: Node
    variables: tuple[str, ...]
    accumulator: str
    start: Node
    condition: Node
    step: Node
    result: Node
    parts: list[Node] = field(default_factory=list)


class Source:
    """The text of an expression, to tell lines and columns."""

    def __init__(self, text: str) -> None:
        self.text = text

    def place(self, at: int) -> tuple[int, int]:
        """Line and column, both from 1."""
        line = self.text.count("\n", 0, at) + 1
        return line, at - (self.text.rfind("\n", 0, at) + 1) + 1

    def message(self, at: int, text: str) -> str:
        """``ERROR: <input>:1:6: text`` with the line and a pointer below."""
        line, column = self.place(at)
        shown = self.text.split("\n")[line - 1].replace("\t", " ")
        dots = "".join("." if ord(c) < 128 else "．" for c in shown[: column - 1])
        wide = column <= len(shown) and ord(shown[column - 1]) >= 128
        return f"ERROR: <input>:{line}:{column}: {text}\n | {shown}\n | {dots}{'＾' if wide else '^'}"


class CompileError(ValueError):
    """An expression that is none, or whose types do not fit. str() is what kube-apiserver prints of it."""

    def __init__(self, source: Source, problems: list[tuple[int, str]]) -> None:
        self.problems = sorted(problems, key=lambda one: one[0])
        super().__init__("\n".join(source.message(at, text) for at, text in self.problems))
