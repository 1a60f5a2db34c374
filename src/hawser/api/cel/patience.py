"""How long an evaluation may take where others wait for it, as on a server's event loop."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

ENDLESS = 1 << 62
PATIENCE: ContextVar[int] = ContextVar("patience", default=ENDLESS)
"""What evaluations in this context may cost before they are given up with LaboriousError."""


class LaboriousError(Exception):
    """An evaluation takes longer than this context has time for; elsewhere it may well succeed.

    work: does it, for whoever can take it elsewhere; what was given up finds the result when it is tried again.
    """

    def __init__(self, work: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.work = work
