"""Expressions of policies that take long must not hold up other requests.

They are tried where they are needed, on the event loop, at the cost that others can wait for. What costs more is given
up with LaboriousError, evaluated in a thread by whoever can wait, and found when admission is tried again. What an
expression asks of the server's state there (permissions, a namespace) is looked up on the event loop all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson

from hawser.api.cel.patience import LaboriousError
from hawser.api.cel.program import CostError, Program
from hawser.api.cel.values import EvalError
from hawser.apiserver.laborious import ON_THE_LOOP

Result = tuple[Any, EvalError | CostError | None, int]
"""Of ``Program.attempt``."""
_T = TypeVar("_T")


class Deliberation:
    """What has been evaluated for one request."""

    __slots__ = ("_known", "_left", "_loop")

    def __init__(self) -> None:
        self._left = ON_THE_LOOP
        self._loop: asyncio.AbstractEventLoop | None = None
        """While an expression is evaluated in a thread: the event loop that waits for it."""
        self._known: dict[tuple[int, bytes], Result] = {}

    def attempt(self, program: Program, values: Sequence[Any], limit: int, facts: Sequence[Any]) -> Result:
        """``program.attempt(values, limit)``. facts: the JSON values that the outcome depends on.

        LaboriousError when that takes too long here.
        """
        if self._loop is not None:
            return program.attempt(values, limit)
        if self._known:
            found = self._known.get((id(program), orjson.dumps(facts)))
            if found is not None:
                return found
        allowed = max(0, min(limit, self._left))
        result = program.attempt(values, allowed)
        if allowed < limit and isinstance(result[1], CostError):
            loop = asyncio.get_running_loop()
            raise LaboriousError(lambda: self._work(loop, program, values, limit, facts))
        self._left -= result[2]
        return result

    def looked_up(self, call: Callable[[], _T]) -> _T:
        """What a call gives that looks at the server's state: nobody but the event loop may."""
        if self._loop is None:
            return call()

        async def called() -> _T:
            return call()

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result()

    def _work(
        self,
        loop: asyncio.AbstractEventLoop,
        program: Program,
        values: Sequence[Any],
        limit: int,
        facts: Sequence[Any],
    ) -> None:
        """In a thread: whoever asked waits, so nobody else looks at this meanwhile."""
        self._loop = loop
        try:
            self._known[id(program), orjson.dumps(facts)] = program.attempt(values, limit)
        finally:
            self._loop = None
            self._left = ON_THE_LOOP
