"""What every backend promises (store/base.py) those who watch and follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from hawser.store.base import (
    Delete,
    EventType,
    Expired,
    Put,
    Store,
    StoreEvent,
)

from .writing import KEYS, POD, delete, fill, put, take


async def test_a_watch_sees_history_and_then_live_events(store: Store) -> None:
    await store.write(POD, put(b"a"))
    await store.write("core/nodes/n1", put(b"n"))
    await store.write(POD, put(b"b"))
    watch = store.watch("core/pods/", 1)
    await store.write(POD, delete(b"c"))
    await store.write("core/nodes/n1", put(b"o"))
    await store.write(POD, put(b"d"))
    assert await take(watch, 3) == [
        ("MODIFIED", POD, b"b", 3, 1),
        ("DELETED", POD, b"c", 4, 3),
        ("ADDED", POD, b"d", 6, 0),
    ]
    watch.close()
    assert [batch async for batch in watch] == []


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", [1, 2, 3, 4, 5, 6, 7]),
        ("core/", [2, 3, 4, 5, 6, 7]),
        ("core/pods/", [2, 3, 4, 5]),
        ("core/pods/a/", [3, 4]),
        ("core/nodes/", [7]),
    ],
)
async def test_a_watch_sees_its_prefix_only(store: Store, prefix: str, expected: list[int]) -> None:
    live = store.watch(prefix, 0)
    await fill(store, KEYS)
    assert [event[3] for event in await take(live, len(expected))] == expected
    late = store.watch(prefix, 0)
    assert [event[3] for event in await take(late, len(expected))] == expected


async def test_a_watch_from_the_future_starts_there(store: Store) -> None:
    watch = store.watch("core/pods/", 2)
    await asyncio.gather(*(store.write(f"core/pods/default/{name}", put(b"")) for name in "abcd"))
    assert [event[3] for event in await take(watch, 2)] == [3, 4]


async def test_watchers_of_one_prefix_share_events(store: Store) -> None:
    watches = [store.watch("core/pods/", 0) for _ in range(3)]
    await store.write(POD, put(b"a"))
    batches = [await anext(aiter(watch)) for watch in watches]
    assert all(batch[0] is batches[0][0] for batch in batches)


async def test_a_waiting_watch_has_seen_everything_when_its_wait_is_cancelled(store: Store) -> None:
    watch = store.watch("core/pods/", 0)
    waiting = asyncio.ensure_future(anext(aiter(watch)))
    await asyncio.sleep(0)
    waiting.cancel()
    await store.write(POD, put(b"a"))
    assert waiting.cancelled()
    assert await take(watch, 1) == [("ADDED", POD, b"a", 1, 0)]


async def test_history_that_is_gone_is_expired(open_store: Callable[..., Store]) -> None:
    store = open_store(history=3)
    await fill(store, [f"core/pods/default/{name}" for name in "abcde"])
    assert store.compacted == 2
    with pytest.raises(Expired):
        store.watch("core/pods/", 1)
    with pytest.raises(Expired):
        store.list("core/pods/", revision=1)
    assert [event[3] for event in await take(store.watch("core/pods/", 2), 3)] == [3, 4, 5]
    assert len(store.list("core/pods/", revision=2)) == 2


async def test_a_slow_watcher_is_dropped_and_others_are_not(open_store: Callable[..., Store]) -> None:
    store = open_store(watch_backlog=3)
    slow, fast = store.watch("core/pods/", 0), store.watch("core/pods/", 0)
    for name in "abcd":
        await store.write(f"core/pods/default/{name}", put(b""))
        await take(fast, 1)
    with pytest.raises(Expired):
        await anext(aiter(slow))
    assert [batch async for batch in slow] == []
    await store.write(POD, put(b""))
    assert [event[3] for event in await take(fast, 1)] == [5]


async def test_a_watcher_gets_more_history_than_may_wait_live(open_store: Callable[..., Store]) -> None:
    store = open_store(watch_backlog=3)
    await fill(store, [f"core/pods/default/{name}" for name in "abcdef"])
    watch = store.watch("core/pods/", 0)
    await store.write(POD, put(b""))
    assert [event[3] for event in await take(watch, 7)] == [1, 2, 3, 4, 5, 6, 7]


async def test_a_follower_knows_of_a_write_before_the_writer_goes_on(store: Store) -> None:
    seen: list[tuple[str, str]] = []

    def follower(events: Sequence[StoreEvent]) -> None:
        for event in events:
            # What it is told of can be read already, and deletions are told with the last state.
            shown = store.get(event.record.key)
            assert (shown is event.record) == (event.type is not EventType.DELETED)
            seen.append((event.type, event.record.key))

    await store.write("core/pods/a/before", lambda _, __: Put(b"{}"))
    store.follow("core/pods/", follower)
    await store.write("core/pods/a/p", lambda _, __: Put(b"{}"))
    assert seen == [("ADDED", "core/pods/a/p")]
    await store.write("core/secrets/a/p", lambda _, __: Put(b"{}"))
    await asyncio.gather(
        store.write("core/pods/a/p", lambda _, __: Put(b"{1}")), store.write("core/pods/b/p", lambda _, __: Put(b"{}"))
    )
    await store.write("core/pods/a/p", lambda _, __: Delete(b"{}"))
    assert seen[1:] == [("MODIFIED", "core/pods/a/p"), ("ADDED", "core/pods/b/p"), ("DELETED", "core/pods/a/p")]


async def test_a_follower_that_fails_harms_nobody(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def follower(_: Sequence[StoreEvent]) -> None:
        raise RuntimeError("oh")

    store.follow("core/pods/", follower)
    record = await store.write("core/pods/a/p", lambda _, __: Put(b"{}"))
    assert record is not None and store.get("core/pods/a/p") is record
    assert "a follower of the store failed" in caplog.text
