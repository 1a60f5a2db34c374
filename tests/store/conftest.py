"""Fixtures of the store's tests: the backends that the contract is held against."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from hawser.store.base import Store
from hawser.store.sqlite import SqliteStore

OpenStore = Callable[..., Store]


def sqlite(directory: Path, history: int, watch_backlog: int) -> Store:
    return SqliteStore.open(directory / "store.db", history=history, watch_backlog=watch_backlog)


BACKENDS = [sqlite]


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.__name__)
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens the (one) store of a test; it is closed in the end. Close it before opening it again."""
    opened: list[Store] = []

    def open_one(history: int = 1000, watch_backlog: int = 1000) -> Store:
        opened.append(request.param(tmp_path, history, watch_backlog))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store: OpenStore) -> Store:
    """An empty store."""
    return open_store()
