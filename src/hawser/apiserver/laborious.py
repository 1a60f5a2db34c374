"""What may take long: tried on the event loop as long as others can wait, then done in a thread.

Pure checks are begun anew there; what looks at the server's state is only relieved of its long evaluations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from hawser.api.cel.patience import PATIENCE, LaboriousError

Outcome = TypeVar("Outcome")

ON_THE_LOOP = 100_000
"""In CEL's units of cost, of which a rule may use a million and an object ten: some 20 ms."""


async def check(function: Callable[..., None], *arguments: object) -> None:
    """Call a pure function whose evaluations may be laborious; it may be called twice. Raises what it raises."""
    before = PATIENCE.set(ON_THE_LOOP)
    try:
        function(*arguments)
        return
    except LaboriousError:
        pass
    finally:
        PATIENCE.reset(before)
    await asyncio.to_thread(function, *arguments)


async def think(error: LaboriousError) -> None:
    """Do what was given up; then it can be tried again. Raises the error when nobody else can do it."""
    if error.work is None:
        raise error
    await asyncio.to_thread(error.work)


async def again(error: LaboriousError, step: Callable[..., None], *given: object) -> None:
    """Carry out a step that was given up. Raises what it raises."""
    while True:
        await think(error)
        try:
            step(*given)
            return
        except LaboriousError as another:
            error = another


async def patiently(call: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """What an asynchronous call gives that may be given up, and is begun anew then. Raises what it raises."""
    while True:
        try:
            return await call()
        except LaboriousError as error:
            await think(error)
