"""Copies of stores, what takes a store's place, and files that are not what they should be."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from hawser.store import copies
from hawser.store.base import (
    Delete,
    Expired,
    Put,
    Record,
    StoreCorrupt,
    StoreRefused,
    StoreTooNew,
    StoreUnavailable,
    WriteFn,
)
from hawser.store.log import Log
from hawser.store.sqlite import SqliteStore

PREFIX = "core/configmaps/"


def key(name: str) -> str:
    return f"{PREFIX}default/{name}"


def put(name: str, data: str = "") -> WriteFn:
    def fn(state: Record | None, revision: int) -> Put:
        metadata = {"name": name, "namespace": "default", "resourceVersion": str(revision)}
        return Put(orjson.dumps({"metadata": metadata, "data": data}))

    return fn


def delete(state: Record | None, revision: int) -> Delete:
    assert state is not None
    obj = orjson.loads(state.value)
    obj["metadata"]["resourceVersion"] = str(revision)
    return Delete(orjson.dumps(obj))


async def filled(path: Path) -> None:
    """A store with objects, replaced versions and deletions: 9 writes, 3 objects."""
    store = SqliteStore.open(path)
    for name in "abcd":
        await store.write(key(name), put(name, "x" * 5000))
    for _ in range(4):
        await store.write(key("a"), put("a"))
    await store.write(key("d"), delete)
    await store.close()


def names(store: SqliteStore) -> list[str]:
    return [record.key.rpartition("/")[2] for record in store.list("")]


async def test_a_snapshot_is_as_of_one_revision_while_writes_go_on(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "store.db")
    for number in range(200):
        await store.write(key(f"n{number}"), put(f"n{number}"))

    async def write() -> None:
        for number in range(200):
            await store.write(key(f"later{number}"), put(f"later{number}"))

    writing = asyncio.create_task(write())
    revision = await store.snapshot(tmp_path / "copy.db")
    await writing
    await store.close()
    found = copies.examine(tmp_path / "copy.db")
    assert (found.problems, found.revision) == ([], revision)
    assert found.objects == revision == found.rows
    again = SqliteStore.open(tmp_path / "copy.db")
    assert (again.revision, again.count("")) == (revision, revision)
    await again.close()


async def test_what_is_restored_goes_on_from_a_revision_that_nobody_has_seen(tmp_path: Path) -> None:
    await filled(tmp_path / "store.db")
    copies.copy(tmp_path / "store.db", tmp_path / "backup.db")
    store = SqliteStore.open(tmp_path / "store.db")
    await store.write(key("late"), put("late"))
    seen = store.revision
    await store.close()
    kept = tmp_path / "kept.db"
    start = copies.restore(tmp_path / "backup.db", tmp_path / "store.db", kept, copies.newest(tmp_path / "store.db"))
    assert start == seen + copies.GAP
    store = SqliteStore.open(tmp_path / "store.db")
    assert (store.revision, names(store)) == (start, ["a", "b", "c"])
    with pytest.raises(Expired):
        store.watch(PREFIX, seen)
    with pytest.raises(Expired):
        store.watch(PREFIX, 3)
    watch = store.watch(PREFIX, start)
    await store.write(key("b"), put("b"))
    assert [event.record.revision for event in await anext(watch)] == [start + 1]
    await store.close()
    assert copies.examine(tmp_path / "store.db").problems == []
    old = SqliteStore.open(kept)
    assert names(old) == ["a", "b", "c", "late"]
    await old.close()


@pytest.mark.parametrize("stop", ["link", "replace", "fsync"])
async def test_a_restore_that_is_interrupted_leaves_a_whole_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    await filled(tmp_path / "store.db")
    copies.copy(tmp_path / "store.db", tmp_path / "backup.db")

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path if stop == "replace" else copies.os, stop, interrupted)
        with pytest.raises(KeyboardInterrupt):
            copies.restore(tmp_path / "backup.db", tmp_path / "store.db", tmp_path / "kept.db", 9)
    store = SqliteStore.open(tmp_path / "store.db")
    assert names(store) == ["a", "b", "c"]
    await store.close()


async def test_compaction_keeps_objects_and_revision(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await filled(path)
    size = path.stat().st_size
    assert copies.compact(path) == 9
    assert path.stat().st_size < size
    found = copies.examine(path)
    assert (found.problems, found.rows, found.objects, found.revision) == ([], 3, 3, 9)
    store = SqliteStore.open(path)
    assert (store.revision, store.compacted, names(store)) == (9, 9, ["a", "b", "c"])
    await store.close()


async def test_a_store_in_use_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore.open(path)
    for work in (copies.newest, copies.compact, copies.examine):
        with pytest.raises(StoreRefused, match="in use by another process"):
            work(path)
    await store.close()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 : 2 * 4096] = bytes(byte ^ 0xFF for byte in data[4096 : 2 * 4096])
    path.write_bytes(data)


def one_byte(path: Path) -> None:
    """Inside a value, where SQLite has no structure to check."""
    data = path.read_bytes()
    at = data.index(b"xxxx") + 1000
    path.write_bytes(data[:at] + b"y" + data[at + 1 :])


def text(path: Path) -> None:
    path.write_text("not a database at all, but long enough to be read as one" * 100)


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (truncated, StoreCorrupt, "is damaged"),
        (flipped, StoreCorrupt, "is damaged"),
        (text, StoreCorrupt, "is damaged"),
        (newer, StoreTooNew, "has format 99 and this version of Hawser knows formats up to 2"),
        (
            one_byte,
            StoreCorrupt,
            "is damaged .revision . of core/configmaps/default/.: its key or value is not",
        ),
    ],
)
async def test_a_file_that_is_not_sound_is_not_opened(
    tmp_path: Path, damage: Callable[[Path], None], error: type[Exception], message: str
) -> None:
    path = tmp_path / "store.db"
    await filled(path)
    damage(path)
    with pytest.raises(error, match=message):
        SqliteStore.open(path)
    if damage is not newer:
        try:
            assert copies.examine(path).problems
        except StoreCorrupt as refused:
            assert "is damaged" in str(refused)


async def test_a_file_of_the_format_before_is_brought_to_this_one(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await filled(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("ALTER TABLE log DROP COLUMN checksum")
        db.execute("PRAGMA user_version = 1")
    assert copies.examine(path).problems == []
    copies.copy(path, tmp_path / "old.db")
    store = SqliteStore.open(path)
    assert names(store) == ["a", "b", "c"]
    await store.write(key("e"), put("e"))
    await store.close()
    report = copies.examine(path)
    assert (report.problems, report.objects) == ([], 4)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM log WHERE checksum = 0").fetchone() == (0,)
    one_byte(path)
    assert "the checksum differs" in copies.examine(path).problems[0]
    # A backup of the format before takes the store's place and is brought to this one when it is opened.
    assert copies.restore(tmp_path / "old.db", path, None, None) > report.revision
    store = SqliteStore.open(path)
    assert names(store) == ["a", "b", "c"]
    await store.close()


async def test_rows_that_contradict_each_other_are_found(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await filled(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE log SET value = CAST(replace(value, 'default', 'other00') AS BLOB) WHERE revision = 2")
        db.execute("UPDATE log SET created = 99 WHERE revision = 3")
        db.execute("UPDATE log SET previous = 3 WHERE revision = 8")
    problems = "\n".join(copies.examine(path).problems)
    assert "revision 2 of core/configmaps/default/b: its value is another object" in problems
    assert "revision 3 of core/configmaps/default/c: it was created at revision 99" in problems
    assert "revision 8 of core/configmaps/default/a follows 3, but the one before it is 7" in problems


def test_a_copy_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    Log(tmp_path / "store.db").close()
    with pytest.raises(StoreUnavailable):
        copies.copy(tmp_path / "store.db", tmp_path / "nowhere" / "copy.db")
    with pytest.raises(StoreRefused, match="there is no file"):
        copies.copy(tmp_path / "nothing.db", tmp_path / "copy.db")
    assert [path.name for path in tmp_path.iterdir()] == ["store.db"]
