"""Writes and what comes of them, as tests of the contract say and read them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from hawser.store.base import (
    Delete,
    Keep,
    Put,
    Record,
    Store,
    StoreEvent,
    Watch,
    WriteFn,
)

POD = "core/pods/default/web"
KEYS = [
    "apps/deployments/default/web",
    "core/pods/a-b/x",
    "core/pods/a/x",
    "core/pods/a/y",
    "core/pods/b/x",
    "core/pods-extra/a/x",
    "core/nodes/n1",
]


class Exists(Exception):
    pass


def put(value: bytes) -> WriteFn:
    return lambda state, revision: Put(value)


def create(value: bytes) -> WriteFn:
    def fn(state: Record | None, revision: int) -> Put:
        if state is not None:
            raise Exists
        return Put(value)

    return fn


def delete(value: bytes = b"gone") -> WriteFn:
    return lambda state, revision: Delete(value)


def keep(state: Record | None, revision: int) -> Keep:
    return Keep()


def seen(record: Record | None) -> tuple[str, bytes, int, int] | None:
    return (record.key, record.value, record.revision, record.created) if record is not None else None


def told(event: StoreEvent) -> tuple[str, str, bytes, int, int]:
    """Type, key, value, revision, revision before (0: none)."""
    record, prev = event.record, event.prev
    return str(event.type), record.key, record.value, record.revision, prev.revision if prev else 0


async def take(watch: Watch, count: int) -> list[tuple[str, str, bytes, int, int]]:
    events: list[StoreEvent] = []
    async with asyncio.timeout(120):
        while len(events) < count:
            batch = await anext(aiter(watch))
            assert batch, "batches are never empty"
            events += batch
    return [told(event) for event in events]


async def fill(store: Store, keys: Iterable[str]) -> None:
    for key in keys:
        await store.write(key, put(key.encode()))
