"""The SQLite backend's own duties: the file, group commit, failures, compaction."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import orjson
import pytest

import hawser.store.sqlite
from hawser.store.base import (
    Delete,
    Keep,
    Put,
    Record,
    StoreCorrupt,
    StoreLocked,
    StoreRefused,
    StoreTooNew,
    StoreUnavailable,
    WriteFn,
)
from hawser.store.log import Log, Row
from hawser.store.sqlite import SqliteStore

POD = "core/pods/default/web"


def put(value: bytes) -> WriteFn:
    return lambda state, revision: Put(value)


def delete(state: Record | None, revision: int) -> Delete:
    return Delete(b"gone")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "hawser.db"


class Gate:
    """Lets so many commits through as it is told, counts them, and fails those it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._permits = threading.Semaphore(0)
        self.sizes: list[int] = []
        self.failures: list[Exception] = []
        append = Log.append

        def gated(log: Log, rows: Sequence[Row]) -> None:
            assert self._permits.acquire(timeout=120)
            self.sizes.append(len(rows))
            if self.failures:
                raise self.failures.pop()
            append(log, rows)

        monkeypatch.setattr(Log, "append", gated)

    def let(self, commits: int) -> None:
        self._permits.release(commits)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


async def turns() -> None:
    """Lets everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_file_is_for_its_owner_only(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.write(POD, put(b"secret"))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    await store.close()
    assert modes == {"hawser.db": 0o600, "hawser.db-wal": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_writers_share_commits(path: Path, gate: Gate) -> None:
    store = SqliteStore.open(path)
    first = [asyncio.create_task(store.write(f"core/pods/default/a{n}", put(b""))) for n in range(3)]
    await turns()
    second = [asyncio.create_task(store.write(f"core/pods/default/b{n}", put(b""))) for n in range(100)]
    await turns()
    gate.let(2)
    await asyncio.gather(*first, *second)
    await store.close()
    assert gate.sizes == [3, 100]


async def test_a_write_sees_a_pending_write_while_an_older_one_is_committed(path: Path, gate: Gate) -> None:
    store = SqliteStore.open(path)
    first = asyncio.create_task(store.write(POD, put(b"a")))
    await turns()
    second = asyncio.create_task(store.write(POD, put(b"b")))
    await turns()
    gate.let(1)
    await first
    states: list[bytes | None] = []

    def note(state: Record | None, revision: int) -> Put:
        states.append(state.value if state is not None else None)
        return Put(b"c")

    third = asyncio.create_task(store.write(POD, note))
    await turns()
    record = store.get(POD)
    assert record is not None and record.value == b"a"
    assert states == [b"b"]
    gate.let(2)
    await asyncio.gather(second, third)
    await store.close()


async def test_a_failed_commit_fails_all_that_was_decided_on_it(path: Path, gate: Gate) -> None:
    store = SqliteStore.open(path)
    gate.let(1)
    await store.write(POD, put(b"old"))
    gate.failures.append(sqlite3.OperationalError("disk I/O error"))
    failing = asyncio.create_task(store.write(POD, put(b"new")))
    await turns()
    states: list[bytes] = []

    def note(state: Record | None, revision: int) -> Put:
        assert state is not None
        states.append(state.value)
        return Put(b"newer")

    waiting = asyncio.create_task(store.write(POD, note))
    keeping = asyncio.create_task(store.write(POD, lambda state, revision: Keep()))
    await turns()
    gate.let(2)
    results = await asyncio.gather(failing, waiting, keeping, return_exceptions=True)
    assert [str(result) for result in results] == [f"the store cannot write to {path}: disk I/O error"] * 3
    assert all(isinstance(result, StoreUnavailable) for result in results)
    assert states == [b"new"]
    record = store.get(POD)
    assert record is not None and (record.value, store.revision) == (b"old", 1)

    watch = store.watch("", 1)
    gate.let(1)
    written = await store.write(POD, note)
    assert written is not None and written.revision == 4, "2 and 3 may have been seen"
    assert states == [b"new", b"old"]
    assert [event.record.revision for event in await anext(aiter(watch))] == [4]
    await store.close()

    store = SqliteStore.open(path)
    assert [(record.value, record.revision) for record in store.list("")] == [(b"newer", 4)]
    await store.close()


async def test_a_commit_that_failed_after_all_is_taken_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore.open(path)
    append = Log.append

    def durable_but_failed(log: Log, rows: Sequence[Row]) -> None:
        append(log, rows)
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(Log, "append", durable_but_failed)
        with pytest.raises(StoreUnavailable):
            await store.write(POD, put(b"lost"))
    await store.write("core/pods/default/other", put(b"kept"))
    await store.close()
    store = SqliteStore.open(path)
    assert [record.value for record in store.list("")] == [b"kept"]
    await store.close()


@pytest.mark.parametrize("answer", ["keep", "raise"])
async def test_answers_that_rest_on_a_pending_write_wait_for_it(path: Path, gate: Gate, answer: str) -> None:
    def fn(state: Record | None, revision: int) -> Keep:
        assert state is not None
        if answer == "raise":
            raise FileExistsError
        return Keep()

    store = SqliteStore.open(path)
    first = asyncio.create_task(store.write(POD, put(b"a")))
    second = asyncio.create_task(store.write(POD, fn))
    await turns()
    assert not second.done()
    gate.let(1)
    record, result = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(result, FileExistsError) if answer == "raise" else result is record is store.get(POD)
    await store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    directory = tmp_path / "disk"
    directory.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", directory], check=False).returncode:
        pytest.skip("may not mount a tmpfs here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


async def test_a_full_disk_fails_writes_until_there_is_space(small_disk: Path) -> None:
    path, ballast = small_disk / "hawser.db", small_disk / "ballast"
    ballast.write_bytes(bytes(400_000))
    store = SqliteStore.open(path)
    written = 0
    with pytest.raises(StoreUnavailable, match="full"):
        for written in range(1000):
            await store.write(f"core/configmaps/default/{written:04}", put(bytes(5_000)))
    results = await asyncio.gather(
        *(store.write(f"core/secrets/default/{number}", put(bytes(50_000))) for number in range(8)),
        return_exceptions=True,
    )
    assert all(isinstance(result, StoreUnavailable) for result in results)
    assert (store.count("core/configmaps/"), store.count("core/secrets/"), store.revision) == (written, 0, written)

    ballast.unlink()
    record = await store.write(POD, put(b"fits"))
    assert record is not None and record.revision > written + 1
    keys = [record.key for record in store.list("")]
    await store.close()
    store = SqliteStore.open(path, check=True)
    assert [record.key for record in store.list("")] == keys
    assert store.revision == record.revision
    await store.close()


async def filled(path: Path) -> None:
    store = SqliteStore.open(path)
    for number in range(200):
        await store.write(f"core/configmaps/default/{number}", put(bytes(500)))
    await store.close()


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def execute(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(sql)


def torn(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda path: overwrite(path, 0, b"not a database at all"), StoreCorrupt, "is damaged"),
        (lambda path: overwrite(path, 8192, os.urandom(40_000)), StoreCorrupt, "restore a backup"),
        (torn, StoreCorrupt, "is damaged"),
        (lambda path: execute(path, "DROP TABLE log"), StoreCorrupt, "is damaged"),
        (lambda path: execute(path, "PRAGMA application_id = 1"), StoreCorrupt, "another program"),
        (lambda path: execute(path, "PRAGMA user_version = 0"), StoreCorrupt, "no format number"),
        (lambda path: execute(path, "PRAGMA user_version = 3"), StoreTooNew, "use the newer version"),
    ],
    ids=["header", "pages", "torn", "table", "foreign", "unversioned", "newer"],
)
async def test_a_file_that_cannot_be_served_is_refused(
    path: Path, damage: object, error: type[StoreRefused], message: str
) -> None:
    await filled(path)
    assert callable(damage)
    damage(path)
    with pytest.raises(error, match=message):
        SqliteStore.open(path)
    # Refusing leaves no lock behind.
    with pytest.raises(error):
        SqliteStore.open(path)


async def test_values_that_were_stored_less_escaped_are_read_as_clients_are_shown_them(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.write("core/configmaps/default/a", put(b'{"data":"<&>"}'))
    await store.close()
    store = SqliteStore.open(path)
    assert [record.value for record in store.list("")] == [b'{"data":"\\u003c\\u0026\\u003e"}']
    await store.close()


def open_elsewhere(path: Path) -> subprocess.CompletedProcess[str]:
    script = "import sys; from hawser.store.sqlite import SqliteStore; SqliteStore.open(sys.argv[1], timeout=0)"
    return subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)


async def test_a_store_cannot_be_opened_twice(path: Path) -> None:
    store = SqliteStore.open(path)
    other = open_elsewhere(path)
    assert other.returncode == 1
    assert "StoreLocked" in other.stderr and "in use by another process" in other.stderr
    with pytest.raises(StoreLocked):
        SqliteStore.open(path, timeout=0)
    await store.write(POD, put(b"still works"))
    await store.close()


def test_a_directory_that_cannot_be_made_is_said() -> None:
    with pytest.raises(StoreUnavailable, match="cannot create the store"):
        SqliteStore.open("/dev/null/store/hawser.db")


async def test_a_half_made_file_is_finished(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    store = SqliteStore.open(path)
    await store.write(POD, put(b"a"))
    await store.close()


def rows(path: Path) -> list[tuple[int, str, int]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT revision, key, deleted FROM log ORDER BY revision").fetchall()


async def test_old_rows_are_removed_from_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hawser.store.sqlite, "COMPACT_REVISIONS", 4)
    store = SqliteStore.open(path, history=2)
    other = "core/pods/default/other"
    await store.write("core/pods/default/stays", put(b"1"))
    for value in (b"2", b"3", b"4"):
        await store.write(POD, put(value))
    await store.write(other, put(b"5"))
    await store.write(other, delete)
    for value in (b"7", b"8", b"9", b"10"):
        await store.write(POD, put(value))
    assert store.compacted == 8
    await store.close()
    # Steps of 4 revisions: up to 8, so 7 (which 8 replaced) and the deletion at 6 are gone.
    assert rows(path) == [(1, "core/pods/default/stays", 0), (8, POD, 0), (9, POD, 0), (10, POD, 0)]
    store = SqliteStore.open(path)
    assert (store.revision, store.compacted) == (10, 8)
    assert [record.value for record in store.list("")] == [b"1", b"10"]
    await store.close()


async def test_revisions_go_on_after_the_newest_row_was_compacted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hawser.store.sqlite, "COMPACT_REVISIONS", 2)
    store = SqliteStore.open(path, history=0)
    await store.write(POD, put(b"1"))
    await store.write(POD, delete)
    await store.close()
    assert rows(path) == []
    store = SqliteStore.open(path)
    assert store.revision == 2
    await store.close()


async def test_a_record_takes_no_more_memory_than_its_value(path: Path) -> None:
    encoded = orjson.dumps({"data": "x" * 500})
    store = SqliteStore.open(path)
    record = await store.write(POD, put(encoded))
    assert record is not None
    assert record.value == encoded and record.value is not encoded
    await store.close()


async def test_history_is_bounded_in_bytes(path: Path) -> None:
    store = SqliteStore.open(path, history_bytes=1000)
    for _ in range(5):
        await store.write(POD, put(bytes(400)))
    assert store.compacted == 3
    await store.close()
    store = SqliteStore.open(path, history_bytes=1000)
    assert (store.revision, store.compacted) == (5, 3)
    await store.close()
