"""Whether many pods are being started: what only tells of the work waits for the work then."""

from __future__ import annotations

import os
from typing import Self


class Rush:
    """Counts starts of sandboxes and containers, as a context manager around each.

    most: so many at once are no rush; by default as many as there are cores.
    """

    def __init__(self, most: int = 0) -> None:
        self._most = most or os.cpu_count() or 1
        self._count = 0

    @property
    def on(self) -> bool:
        """Whether more is being started than the machine can carry at once."""
        return self._count > self._most

    async def __aenter__(self) -> Self:
        self._count += 1
        return self

    async def __aexit__(self, *error: object) -> None:
        self._count -= 1
