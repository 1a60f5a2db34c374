"""One evaluation of a policy: its expressions over one request and one parameter, with one budget."""

from __future__ import annotations

from typing import Any

from hawser.api.cel.costs import BUDGET, PER_CALL
from hawser.api.cel.program import Program
from hawser.api.cel.values import EvalError, Opaque
from hawser.api.types import Obj
from hawser.apiserver.admission.conditions import OUT_OF_BUDGET
from hawser.apiserver.admission.inputs import Input
from hawser.apiserver.admission.policies.compiled import Compiled, Policy


class OutOfBudgetError(Exception):
    """Everything that a policy may cost is spent."""

    def __init__(self) -> None:
        super().__init__(OUT_OF_BUDGET)


class Failure(Exception):
    """An expression without a value; str() is kube-apiserver's sentence."""


class _Variables(Opaque):
    """``variables``: each evaluated when it is first referred to."""

    __slots__ = ("_evaluation", "_known")
    type_name = "kubernetes.variables"

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self._known: dict[str, Any] = {}

    def has(self, name: str) -> bool:
        return name in self._evaluation.policy.variables

    def field(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = self._evaluation.variable(name)
        found = self._known[name]
        if isinstance(found, EvalError):
            raise found
        return found


class Evaluation:
    """Evaluates expressions of one policy."""

    def __init__(self, policy: Policy, given: Input, params: Obj | None, budget: int = BUDGET) -> None:
        self.policy = policy
        self._given = given
        self._params = params
        self.left = budget
        self._variables = _Variables(self)

    def value(self, source: str, program: Compiled) -> Any:
        """The value of an expression. Failure, or OutOfBudgetError."""
        if isinstance(program, str):
            raise Failure(f"compilation error: {program}" if not program.startswith("compil") else program)
        value, failure, cost = self._attempt(program)
        if cost > self.left:
            self.left = -1
            raise OutOfBudgetError
        self.left -= cost
        if failure is not None:
            raise Failure(f"expression '{source}' resulted in error: {failure}")
        return value

    def variable(self, name: str) -> Any:
        """The value of a variable, or the error that whoever refers to it has."""
        program = self.policy.variables[name]
        if isinstance(program, str):
            return EvalError(f'composited variable "{name}" fails to compile: {program}')
        value, failure, cost = self._attempt(program)
        self.left -= cost
        if failure is not None:
            return EvalError(f'composited variable "{name}" fails to evaluate: {failure}')
        return value

    def _attempt(self, program: Program) -> tuple[Any, Exception | None, int]:
        values = [self._value(name) if name in program.used else None for name in program.names]
        return self._given.attempt(program, values, PER_CALL, self._params)

    def _value(self, name: str) -> Any:
        if name == "params":
            return self._params
        return self._variables if name == "variables" else self._given.value(name)
