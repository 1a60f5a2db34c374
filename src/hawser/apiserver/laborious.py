"""Checks that may take long: tried on the event loop as long as others can wait, then begun anew in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hawser.api.cel.patience import PATIENCE, LaboriousError

_ON_THE_LOOP = 100_000
"""In CEL's units of cost, of which a rule may use a million and an object ten: some 20 ms."""


async def check(function: Callable[..., None], *arguments: object) -> None:
    """Call a pure function whose evaluations may be laborious; it may be called twice. Raises what it raises."""
    before = PATIENCE.set(_ON_THE_LOOP)
    try:
        function(*arguments)
        return
    except LaboriousError:
        pass
    finally:
        PATIENCE.reset(before)
    await asyncio.to_thread(function, *arguments)
