"""Pods on their way from a place to their binding, whose volumes and devices are being seen to; that takes minutes.

A preparation can be called off until it is finished: because the pod is preempted, or goes. It then ends between two
writes, never in the middle of one, so that what was written is known and can be taken back. Source: kube-scheduler
v1.36, where pods that are preempted while they are prepared return to the queue instead of being deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CANCELED = "context canceled"


class Unbound(Exception):
    """The pod's volumes or devices cannot be had; the message says why."""


class CalledOffError(Unbound):
    """The pod is not to be bound any more."""


class Preparation:
    """What is done for one pod before it is bound."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._off = False
        self._finished = False

    def call_off(self) -> bool:
        """Ends the preparation soon; False if it is too late for that."""
        if self._finished:
            return False
        self._off = True
        self._changed.set()
        return True

    def stir(self) -> None:
        """Something that ``until`` may wait for has changed."""
        self._changed.set()

    def go_on(self) -> None:
        """Raises CalledOffError if the preparation is called off: to be asked before every write."""
        if self._off:
            raise CalledOffError(CANCELED)

    def finish(self) -> bool:
        """From now on it is too late to call it off; False if that was done already."""
        self._finished = not self._off
        return self._finished

    async def until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Waits until ``ready`` says so. Raises what it raises, TimeoutError, CalledOffError."""
        async with asyncio.timeout(seconds):
            while not ready():
                self.go_on()
                self._changed.clear()
                await self._changed.wait()


class Preparations:
    """All that are under way, by UID of their pods."""

    def __init__(self) -> None:
        self._under_way: dict[str, Preparation] = {}

    @contextmanager
    def of(self, uid: str) -> Iterator[Preparation]:
        """One more."""
        preparation = self._under_way[uid] = Preparation()
        try:
            yield preparation
        finally:
            del self._under_way[uid]

    def stir(self) -> None:
        """Something has changed: see ``Preparation.stir``."""
        for preparation in self._under_way.values():
            preparation.stir()

    def call_off(self, uid: str) -> bool:
        """Whether the pod is being prepared, and will not be bound now."""
        preparation = self._under_way.get(uid)
        return preparation is not None and preparation.call_off()
