"""What an expression may name: variables, functions and message types.

A function's declaration is one line, ``method("string", "startsWith(string) -> bool", str.startswith)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from hawser.api.cel.types import Type, parse, parse_many


@dataclass(frozen=True, slots=True, eq=False)
class Overload:
    """One form of a function.

    params: with the receiver first when it is a method. call: takes their values; raises EvalError. id: tells forms
    apart whose costs differ.
    """

    name: str
    method: bool
    params: tuple[Type, ...]
    result: Type
    call: Callable[..., Any]
    id: str = ""


def function(signature: str, call: Callable[..., Any], overload: str = "") -> Overload:
    """A function from ``name(type, type) -> type``."""
    head, _, result = signature.rpartition(" -> ")
    name, _, params = head.partition("(")
    return Overload(name, False, parse_many(params.removesuffix(")")), parse(result), call, overload)


def method(receiver: str, signature: str, call: Callable[..., Any], overload: str = "") -> Overload:
    """A method of a receiver's type."""
    made = function(signature, call, overload)
    return Overload(made.name, True, (parse(receiver), *made.params), made.result, call, overload)


def both(signature: str, call: Callable[..., Any]) -> tuple[Overload, Overload]:
    """A function that is also a method of its first parameter."""
    made = function(signature, call)
    return made, Overload(made.name, True, made.params, made.result, call)


Functions = dict[str, list[Overload]]


def by_name(overloads: Iterable[Overload], base: Functions | None = None) -> Functions:
    """Declarations by their functions' names, after those of base."""
    found: Functions = {name: list(forms) for name, forms in (base or {}).items()}
    for one in overloads:
        found.setdefault(one.name, []).append(one)
    return found


@dataclass(frozen=True, slots=True)
class Environment:
    """variables: by name. messages: object types that expressions may construct, by name; "*" stands for one whose
    fields are not known and which is asked for by a prefix of its name. bindings: there is cel.bind."""

    variables: dict[str, Type]
    functions: Functions
    messages: dict[str, Type] = field(default_factory=dict)
    bindings: bool = False

    def with_variables(self, variables: dict[str, Type]) -> Environment:
        return replace(self, variables={**self.variables, **variables})
