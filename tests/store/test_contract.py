"""What every backend promises (store/base.py) of writes, reads and its end, revisions included."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from hawser.store.base import (
    Put,
    Record,
    Store,
    StoreUnavailable,
    WriteFn,
)

from .writing import KEYS, POD, Exists, create, delete, fill, keep, put, seen, take


async def test_an_empty_store_is_at_revision_zero(store: Store) -> None:
    assert (store.revision, store.compacted) == (0, 0)
    assert store.get(POD) is None
    assert store.list("core/pods/") == []
    assert store.count("core/pods/") == 0


async def test_a_write_gets_the_revision_after_the_newest(store: Store) -> None:
    revisions: list[int] = []

    def note(state: Record | None, revision: int) -> Put:
        revisions.append(revision)
        return Put(b"%d" % revision, index={"revision": revision})

    assert seen(await store.write(POD, note)) == (POD, b"1", 1, 1)
    assert seen(await store.write("core/pods/default/db", note)) == ("core/pods/default/db", b"2", 2, 2)
    assert seen(await store.write(POD, note)) == (POD, b"3", 3, 1)
    assert revisions == [1, 2, 3]
    assert store.revision == 3
    assert seen(store.get(POD)) == (POD, b"3", 3, 1)
    record = store.get(POD)
    assert record is not None and record.index == {"revision": 3}


async def test_deletion_uses_a_revision_and_returns_the_final_value(store: Store) -> None:
    await store.write(POD, create(b"a"))
    assert seen(await store.write(POD, delete(b"last"))) == (POD, b"last", 2, 1)
    assert store.get(POD) is None
    assert (store.count("core/pods/"), store.revision) == (0, 2)
    assert seen(await store.write(POD, create(b"b"))) == (POD, b"b", 3, 3)


async def test_keep_and_failing_functions_use_no_revision(store: Store) -> None:
    assert await store.write(POD, keep) is None
    await store.write(POD, create(b"a"))
    assert seen(await store.write(POD, keep)) == (POD, b"a", 1, 1)
    with pytest.raises(Exists):
        await store.write(POD, create(b"b"))
    with pytest.raises(ValueError, match="deletes what is not there"):
        await store.write("core/pods/default/none", delete())
    assert store.revision == 1
    assert seen(await store.write(POD, put(b"c"))) == (POD, b"c", 2, 1)


async def test_writes_see_uncommitted_writes_and_reads_do_not(store: Store) -> None:
    states: list[tuple[str, bytes, int, int] | None] = []

    def append(letter: bytes) -> WriteFn:
        def fn(state: Record | None, revision: int) -> Put:
            states.append(seen(state))
            return Put((state.value if state else b"") + letter)

        return fn

    writers = [asyncio.create_task(store.write(POD, append(letter))) for letter in (b"a", b"b", b"c")]
    await asyncio.sleep(0)
    assert states == [None, (POD, b"a", 1, 1), (POD, b"ab", 2, 1)]
    assert store.get(POD) is None and store.revision == 0
    assert [record and record.revision for record in await asyncio.gather(*writers)] == [1, 2, 3]
    assert seen(store.get(POD)) == (POD, b"abc", 3, 1)


async def test_a_key_may_be_deleted_and_created_again_in_one_group(store: Store) -> None:
    await store.write(POD, put(b"a"))
    watch = store.watch("core/pods/", 1)
    results = await asyncio.gather(
        store.write(POD, delete()), store.write(POD, create(b"b")), store.write(POD, keep), store.write(POD, delete())
    )
    assert [seen(record) for record in results] == [
        (POD, b"gone", 2, 1),
        (POD, b"b", 3, 3),
        (POD, b"b", 3, 3),
        (POD, b"gone", 4, 3),
    ]
    assert store.get(POD) is None
    assert await take(watch, 3) == [
        ("DELETED", POD, b"gone", 2, 1),
        ("ADDED", POD, b"b", 3, 0),
        ("DELETED", POD, b"gone", 4, 3),
    ]


async def test_cancelling_a_writer_does_not_take_its_write_back(store: Store) -> None:
    writer = asyncio.create_task(store.write(POD, put(b"a")))
    await asyncio.sleep(0)
    writer.cancel()
    await store.write("core/pods/default/other", put(b"b"))
    assert seen(store.get(POD)) == (POD, b"a", 1, 1)
    with pytest.raises(asyncio.CancelledError):
        await writer


@pytest.mark.parametrize(
    ("prefix", "after", "limit", "expected"),
    [
        ("core/pods/", "", 0, ["core/pods/a-b/x", "core/pods/a/x", "core/pods/a/y", "core/pods/b/x"]),
        ("core/pods/", "", 2, ["core/pods/a-b/x", "core/pods/a/x"]),
        ("core/pods/", "core/pods/a/x", 0, ["core/pods/a/y", "core/pods/b/x"]),
        ("core/pods/", "core/pods/a/x", 1, ["core/pods/a/y"]),
        ("core/pods/", "core/pods/a/xx", 1, ["core/pods/a/y"]),
        ("core/pods/", "core/pods/z/z", 0, []),
        ("core/pods/a/", "", 0, ["core/pods/a/x", "core/pods/a/y"]),
        ("core/pods/a/", "core/pods/a/x", 0, ["core/pods/a/y"]),
        ("core/pods/a/", "", 9, ["core/pods/a/x", "core/pods/a/y"]),
        ("core/pods/none/", "", 0, []),
        ("core/none/", "", 0, []),
        ("core/nodes/", "", 0, ["core/nodes/n1"]),
        ("core/", "", 3, ["core/nodes/n1", "core/pods-extra/a/x", "core/pods/a-b/x"]),
        ("core/", "core/pods/a/y", 0, ["core/pods/b/x"]),
        ("", "", 2, ["apps/deployments/default/web", "core/nodes/n1"]),
    ],
)
async def test_lists_are_in_key_order(store: Store, prefix: str, after: str, limit: int, expected: list[str]) -> None:
    await fill(store, KEYS)
    assert [record.key for record in store.list(prefix, after, limit)] == expected
    if not after and not limit:
        assert store.count(prefix) == len(expected)
    # Reading again takes the keys as they were put in order by the first list.
    await store.write("core/pods/a/w", put(b""))
    await store.write("core/pods/a/w", delete())
    assert [record.key for record in store.list(prefix, after, limit)] == expected


async def test_prefixes_end_in_a_slash(store: Store) -> None:
    with pytest.raises(ValueError, match="does not end in '/'"):
        store.list("core/pods")
    with pytest.raises(ValueError, match="does not end in '/'"):
        store.watch("core/pods", 0)
    with pytest.raises(ValueError, match="does not start with"):
        await store.write("pods", put(b""))


async def test_pages_of_a_list_can_be_read_as_of_its_first_page(store: Store) -> None:
    keys = [f"core/pods/default/{name}" for name in "abcdef"]
    await fill(store, keys)
    at = store.revision
    assert [record.key for record in store.list("core/pods/", "", 2, at)] == keys[:2]
    await store.write(keys[2], delete())
    await store.write(keys[3], put(b"changed"))
    await store.write(keys[3], put(b"and again"))
    await store.write("core/pods/default/cc", put(b"new"))
    await store.write(keys[5], delete())
    await store.write(keys[5], create(b"another"))
    assert [seen(record) for record in store.list("core/pods/", keys[1], 2, at)] == [
        (keys[2], keys[2].encode(), 3, 3),
        (keys[3], keys[3].encode(), 4, 4),
    ]
    assert [seen(record) for record in store.list("core/pods/", keys[3], 0, at)] == [
        (keys[4], keys[4].encode(), 5, 5),
        (keys[5], keys[5].encode(), 6, 6),
    ]
    with pytest.raises(ValueError, match="in the future"):
        store.list("core/pods/", revision=store.revision + 1)


async def test_closing_commits_what_is_pending_and_ends_watches(open_store: Callable[..., Store]) -> None:
    store = open_store()
    watch = store.watch("core/pods/", 0)
    writers = [asyncio.create_task(store.write(f"core/pods/default/{name}", put(b""))) for name in "abc"]
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    assert [record and record.revision for record in await asyncio.gather(*writers)] == [1, 2, 3]
    assert [event.record.revision async for batch in watch for event in batch] == [1, 2, 3]
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.write(POD, put(b""))


async def test_closing_ends_while_one_group_commits_and_another_waits(open_store: Callable[..., Store]) -> None:
    store = open_store()
    first = asyncio.create_task(store.write(KEYS[0], put(b"")))
    for _ in range(3):  # the writer, the flush, the commit thread
        await asyncio.sleep(0)
    second = asyncio.create_task(store.write(KEYS[1], put(b"")))
    await asyncio.sleep(0)
    async with asyncio.timeout(120):
        await store.close()
    assert [record and record.revision for record in await asyncio.gather(first, second)] == [1, 2]


async def test_a_reopened_store_goes_on_where_it_was(open_store: Callable[..., Store]) -> None:
    store = open_store()
    await fill(store, KEYS)
    await store.write(KEYS[0], put(b"changed"))
    await store.write(KEYS[1], delete(b"last"))
    before = [seen(record) for record in store.list("")]
    await store.close()

    store = open_store()
    assert [seen(record) for record in store.list("")] == before
    assert (store.revision, store.compacted) == (9, 0)
    assert await take(store.watch("", 7), 2) == [
        ("MODIFIED", KEYS[0], b"changed", 8, 1),
        ("DELETED", KEYS[1], b"last", 9, 2),
    ]
    assert seen(await store.write(KEYS[1], create(b"again"))) == (KEYS[1], b"again", 10, 10)
