"""matchConditions of webhooks and policies: CEL expressions that must all be true for a request to be matched.

Source: Kubernetes documentation, "Dynamic Admission Control", "Matching requests: matchConditions"; KEP-3716.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hawser.api.cel.costs import CONDITIONS_BUDGET, PER_CALL
from hawser.api.cel.program import CompileError, CostError, Program, compile_expression, environment
from hawser.api.cel.request_types import VARIABLES
from hawser.api.cel.types import BOOL, Type
from hawser.api.cel.values import EvalError
from hawser.api.types import Obj
from hawser.apiserver.admission.inputs import Input

OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


@dataclass(frozen=True, slots=True)
class Outcome:
    """matches: whether all conditions hold. failed: the name of the first that is false. error: why it cannot be told;
    no condition is false then, and the failure policy decides."""

    matches: bool
    failed: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Compiled conditions; ``if conditions`` asks whether there are any."""

    entries: tuple[tuple[str, str, Program | str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.entries)

    def match(self, given: Input, more: Sequence[Any] = ()) -> Outcome:
        """Whether a request is matched. more: values of the variables beside the request's own (params)."""
        left = CONDITIONS_BUDGET
        errors = []
        for name, source, program in self.entries:
            if isinstance(program, str):
                errors.append(f"compilation error: {program}")
                continue
            values = [*given.values(program.used), *more]
            value, failure, cost = given.attempt(program, values, min(left, PER_CALL), more)
            left -= cost
            if isinstance(failure, CostError) and left <= 0:
                return Outcome(False, error=OUT_OF_BUDGET)
            if failure is not None:
                errors.append(f"expression '{source}' resulted in error: {failure}")
            elif value is False:
                return Outcome(False, name)
            elif value is not True:
                errors.append(f"expression '{source}' resulted in error: {EvalError('no such overload')}")
        if errors:
            return Outcome(False, error=errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")
        return Outcome(True)


_NONE = Conditions()


def compile_conditions(entries: Iterable[Obj] | None, more: dict[str, Type] | None = None) -> Conditions:
    """Conditions as objects have them ({name, expression}); one that cannot be compiled is an error of every match.

    more: variables beside the request's own, as ``{"params": DYN}``.
    """
    made = []
    known = environment({**VARIABLES, **(more or {})}) if entries else None
    for entry in entries or ():
        assert known is not None
        made.append((entry.get("name", ""), entry.get("expression", ""), _compiled(entry.get("expression", ""), known)))
    return Conditions(tuple(made)) if made else _NONE


def _compiled(source: str, known: Any) -> Program | str:
    try:
        return compile_expression(source, known, (BOOL,))
    except CompileError as error:
        return f"compilation failed: {error}"
    except ValueError as error:
        return str(error)
