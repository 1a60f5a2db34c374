"""Expressions, compiled once and evaluated often: what the rest of Hawser uses of CEL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hawser.api.cel.checker import Checked, check
from hawser.api.cel.compiler import Compiler, Run
from hawser.api.cel.costs import PER_CALL
from hawser.api.cel.declarations import Environment, Functions, by_name
from hawser.api.cel.parser import parse
from hawser.api.cel.syntax import CompileError, Source
from hawser.api.cel.types import Type
from hawser.api.cel.validators import literals
from hawser.api.cel.values import CostError, EvalError


@cache
def functions() -> Functions:
    """Every function of Kubernetes' CEL, declared when it is first asked for."""
    from hawser.api.cel import operators
    from hawser.api.cel.library import (
        addresses,
        authorizer,
        formats,
        lists,
        quantities,
        regex,
        standard,
        strings,
        times,
    )

    modules = (operators, standard, times, strings, lists, regex, quantities, addresses, formats, authorizer)
    return by_name(one for module in modules for one in module.overloads())


def environment(variables: dict[str, Type], messages: dict[str, Type] | None = None) -> Environment:
    """Kubernetes' functions and these variables."""
    return Environment(variables, functions(), messages or {})


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression.

    names: its variables, in the order that ``evaluate`` takes their values. used: which of them it refers to.
    """

    source: str
    result: Type
    names: tuple[str, ...]
    used: frozenset[str]
    checked: Checked
    _run: Run
    _size: int

    def evaluate(self, values: Sequence[Any], limit: int = PER_CALL) -> tuple[Any, int]:
        """The value and what it cost. Raises EvalError, or CostError when it would cost more than limit."""
        frame: list[Any] = [limit, *values]
        frame += [None] * (self._size - len(frame))
        try:
            value = self._run(frame)
        except (TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
            # A value that is not of its declared type, which schemas otherwise rule out.
            raise EvalError("no such overload") from None
        return value, limit - int(frame[0])

    def attempt(self, values: Sequence[Any], limit: int = PER_CALL) -> tuple[Any, EvalError | CostError | None, int]:
        """The value, or why there is none, and the cost: of a failure, what had been charged by then."""
        frame: list[Any] = [limit, *values]
        frame += [None] * (self._size - len(frame))
        failure: EvalError | CostError | None = None
        value = None
        try:
            value = self._run(frame)
        except (EvalError, CostError) as error:
            failure = error
        except (TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
            failure = EvalError("no such overload")
        return value, failure, limit - int(frame[0])


def compile_expression(source: str, known: Environment, wanted: Sequence[Type] = ()) -> Program:
    """Parses, checks and compiles an expression.

    wanted: the types that its result may have; any when empty. Raises CompileError, whose text is cel-go's, and
    WrongTypeError when the result is of another type.
    """
    try:
        return _compiled(source, known, wanted)
    except RecursionError:
        raise CompileError(Source(source), [(0, "expression recursion limit exceeded: 250")]) from None


def _compiled(source: str, known: Environment, wanted: Sequence[Type]) -> Program:
    root = parse(source)
    checked = check(root, source, known)
    literals(checked, source)
    result = checked.type(root)
    if wanted and not any(one.kind == "dyn" or one == result for one in wanted):
        raise WrongTypeError(wanted)
    names = tuple(known.variables)
    compiler = Compiler(checked, {name: place for place, name in enumerate(names, 1)})
    run = compiler.program()
    return Program(source, result, names, frozenset(checked.used & set(names)), checked, run, compiler.size)


class WrongTypeError(ValueError):
    """The result of an expression is of a type that is not wanted."""

    def __init__(self, wanted: Sequence[Type]) -> None:
        self.wanted = wanted
        shown = ["null_type" if one.kind == "null" else str(one) for one in wanted]
        super().__init__(
            f"must evaluate to {shown[0]}" if len(shown) == 1 else f"must evaluate to one of [{' '.join(shown)}]"
        )


__all__ = ["CompileError", "CostError", "EvalError", "Program", "WrongTypeError", "compile_expression", "environment"]
