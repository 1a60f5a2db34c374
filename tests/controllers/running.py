"""Controllers against a real API server, for the tests that need both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from hawser.client.client import Client
from hawser.client.clock import Clock
from hawser.client.controller import Controller, Manager

T = TypeVar("T")


async def eventually(check: Callable[[], Awaitable[T]]) -> T:
    """Asks until the answer is true; TimeoutError after a minute."""
    async with asyncio.timeout(60):
        while not (result := await check()):  # noqa: ASYNC110 - it becomes true on the server
            await asyncio.sleep(0.01)
        return result


@asynccontextmanager
async def running(kubeconfig: Path, *controllers: Controller, clock: Clock | None = None) -> AsyncIterator[Client]:
    """A client, with these controllers running (by another clock than the machine's)."""
    async with Client.from_kubeconfig(kubeconfig) as made:
        manager = Manager(made, clock=clock)
        for controller in controllers:
            manager.add(controller)
        task = asyncio.create_task(manager.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
