"""Expressions of policies that take long must not hold up other requests.

They are tried where they are needed, on the event loop, at the cost that others can wait for. What costs more is given
up with LaboriousError, evaluated in a thread by whoever can wait, and found when admission is tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from hawser.api.cel.patience import LaboriousError
from hawser.api.cel.program import CostError, Program
from hawser.api.cel.values import EvalError
from hawser.apiserver.laborious import ON_THE_LOOP

Result = tuple[Any, EvalError | CostError | None, int]
"""Of ``Program.attempt``."""


class Deliberation:
    """What has been evaluated for one request."""

    __slots__ = ("_elsewhere", "_known", "_left")

    def __init__(self) -> None:
        self._left = ON_THE_LOOP
        self._elsewhere = False
        self._known: dict[tuple[int, bytes], Result] = {}

    def attempt(self, program: Program, values: Sequence[Any], limit: int, facts: Sequence[Any]) -> Result:
        """``program.attempt(values, limit)``. facts: the JSON values that the outcome depends on.

        LaboriousError when that takes too long here.
        """
        if self._elsewhere:
            return program.attempt(values, limit)
        if self._known:
            found = self._known.get((id(program), orjson.dumps(facts)))
            if found is not None:
                return found
        allowed = max(0, min(limit, self._left))
        result = program.attempt(values, allowed)
        if allowed < limit and isinstance(result[1], CostError):
            raise LaboriousError(lambda: self._work(program, values, limit, facts))
        self._left -= result[2]
        return result

    def _work(self, program: Program, values: Sequence[Any], limit: int, facts: Sequence[Any]) -> None:
        """In a thread: whoever asked waits, so nobody else looks at this meanwhile."""
        self._elsewhere = True
        try:
            self._known[id(program), orjson.dumps(facts)] = program.attempt(values, limit)
        finally:
            self._elsewhere = False
            self._left = ON_THE_LOOP
