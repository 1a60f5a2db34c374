"""Store files that are not open: copies of a store, what is wrong with one, and how one takes another's place.

A copy is a store file itself. Revisions must never go back for clients: what takes a store's place goes on from a
revision that no client can have seen, and says that everything before is compacted, so that watches start anew (410).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from hawser.store.base import StoreCorrupt, StoreRefused, StoreTooNew, StoreUnavailable
from hawser.store.checksums import DAMAGED, SCHEMA, checksum
from hawser.store.log import APPLICATION_ID, PLACES, TABLES, Row, summed, sync_directory

Progress = Callable[[int, int], None]
"""Called now and then with what is done and how much there is."""

GAP = 1_000_000
"""A store that takes another's place starts so far after the newest revision that is known: the rest may be lost."""
UNKNOWN_GAP = 1_000_000_000
_FOUND = 20
_SEALED = b"k8s:enc:"


@dataclass
class Report:
    """What was found in a store file. problems: the first of them; empty when it is sound."""

    path: Path
    bytes: int = 0
    revision: int = 0
    objects: int = 0
    rows: int = 0
    sealed: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        """Note a problem."""
        if len(self.problems) < _FOUND:
            self.problems.append(problem)


def write(path: Path, rows: Iterable[Row], revision: int) -> None:
    """Write a new store file with these rows, as of a revision; it is on disk when this returns.

    Raises StoreUnavailable when that fails; nothing is left at path then.
    """
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("PRAGMA synchronous = OFF")
            db.executescript(TABLES)
            db.execute("BEGIN")
            db.executemany(f"INSERT INTO log VALUES {PLACES}", map(summed, rows))
            db.execute("UPDATE compaction SET revision = ?", (revision,))
            db.execute("COMMIT")
        _sync(path)
    except (sqlite3.Error, OSError) as error:
        path.unlink(missing_ok=True)
        raise StoreUnavailable(f"cannot write {path}: {error}") from error


def copy(source: Path, target: Path, progress: Progress = lambda done, total: None) -> None:
    """Copy a store file that nobody has open, its WAL included; target appears whole or not at all.

    Raises StoreRefused and its kinds, StoreUnavailable.
    """
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        with opened(source) as db:
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            with closing(sqlite3.connect(part, isolation_level=None)) as to:
                db.backup(to, pages=1024, progress=lambda _, left, total: progress(total - left, total), sleep=0)
        _sync(part)
        part.replace(target)
        sync_directory(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"cannot copy {source} to {target}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def restore(backup: Path, target: Path, kept: Path | None, known: int | None) -> int:
    """Put a copy of a backup in the place of a store; the revision from which it goes on.

    kept: the name that the file in its place gets (with its WAL), when there is one. known: the newest revision that
    clients may have seen, 0 when there were none, None when nobody knows. Interrupted at any point, either the old
    file or the new one is in its place.
    """
    fresh = target.with_name(f"{target.name}.restoring")
    copy(backup, fresh)
    with opened(fresh) as db:
        newest = _newest(db)
        revision = newest + UNKNOWN_GAP if known is None else max(newest, known) + GAP
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("BEGIN IMMEDIATE")
        db.execute(_REPLACED)
        db.execute("DELETE FROM log WHERE deleted")
        db.execute("UPDATE log SET previous = 0")
        db.execute("UPDATE compaction SET revision = ?", (revision,))
        db.execute("COMMIT")
    _sync(fresh)
    if kept is not None:
        os.link(target, kept)
        for suffix in ("-wal", "-shm"):
            beside = target.with_name(target.name + suffix)
            if beside.exists():
                beside.replace(kept.with_name(kept.name + suffix))
    fresh.replace(target)
    sync_directory(target.parent)
    return revision


def compact(path: Path) -> int:
    """Remove everything but the newest version of each object and give the space back; the newest revision.

    Watches that ask for earlier events get 410. Raises StoreRefused and its kinds, StoreUnavailable.
    """
    with opened(path) as db:
        try:
            newest = _newest(db)
            db.execute("BEGIN IMMEDIATE")
            db.execute(_REPLACED)
            db.execute("DELETE FROM log WHERE deleted")
            db.execute("UPDATE log SET previous = 0")
            db.execute("UPDATE compaction SET revision = ?", (newest,))
            db.execute("COMMIT")
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise StoreUnavailable(f"cannot compact {path}: {error}") from error
    return newest


_REPLACED = "DELETE FROM log WHERE revision NOT IN (SELECT max(revision) FROM log GROUP BY key)"


def newest(path: Path) -> int:
    """The newest revision of a store file. Raises StoreRefused and its kinds."""
    with opened(path) as db:
        return _newest(db)


def _newest(db: sqlite3.Connection) -> int:
    (row,) = db.execute("SELECT max(coalesce(max(log.revision), 0), compaction.revision) FROM log, compaction")
    found = row[0] if row[0] is not None else db.execute("SELECT revision FROM compaction").fetchone()[0]
    return int(found)


def examine(path: Path, progress: Progress = lambda done, total: None) -> Report:
    """Read a whole store file: SQLite's own check, then what the rows say. Raises StoreRefused and its kinds."""
    report = Report(path, bytes=path.stat().st_size)
    try:
        with opened(path) as db:
            for (found,) in db.execute(f"PRAGMA integrity_check({_FOUND})"):
                if found != "ok":
                    report.add(str(found))
            if not report.problems:
                _examine(db, report, progress)
    except sqlite3.Error as error:
        report.add(str(error))
    return report


def _examine(db: sqlite3.Connection, report: Report, progress: Progress) -> None:
    total = int(db.execute("SELECT count(*) FROM log").fetchone()[0])
    report.revision = _newest(db)
    live: dict[str, int] = {}
    for revision, key, value, created, deleted, previous, *written in db.execute("SELECT * FROM log ORDER BY revision"):
        report.rows += 1
        if report.rows % 4096 == 0:
            progress(report.rows, total)
        # A file of the format before has none: the server adds them when it opens it.
        if written and written != [checksum(key, value)]:
            report.add(f"revision {revision} of {key}: {DAMAGED}")
        for problem in _row_problems(key, value, revision, created, previous):
            report.add(f"revision {revision} of {key}: {problem}")
        report.sealed += value.startswith(_SEALED)
        if previous and key in live and live[key] != previous:
            report.add(f"revision {revision} of {key} follows {previous}, but the one before it is {live[key]}")
        if deleted:
            live.pop(key, None)
        else:
            live[key] = revision
    report.objects = len(live)
    progress(total, total)


def _row_problems(key: str, value: bytes, revision: int, created: int, previous: int) -> Iterator[str]:
    parts = key.split("/")
    if len(parts) not in (3, 4) or not all(parts):
        yield "its key is not GROUP/RESOURCE/[NAMESPACE/]NAME"
        return
    if not 0 < created <= revision:
        yield f"it was created at revision {created}"
    if not 0 <= previous < revision:
        yield f"it follows revision {previous}"
    if value.startswith(_SEALED):
        return
    try:
        metadata = orjson.loads(value)["metadata"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        yield "its value is not a JSON object with metadata"
        return
    if metadata.get("resourceVersion") != str(revision):
        yield f"its value says resourceVersion {metadata.get('resourceVersion')}"
    if metadata.get("name") != parts[-1] or (len(parts) == 4 and metadata.get("namespace") != parts[2]):
        yield "its value is another object"


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A store file that nobody else has open; it is not made when it is not there.

    Raises StoreCorrupt, StoreTooNew, StoreUnavailable, and StoreRefused when it is not there or in use.
    """
    if not path.is_file():
        raise StoreRefused(f"there is no file {path}")
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as db:
            _check_head(db, path)
            yield db
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise StoreRefused(f"{path} is in use by another process; stop that one first") from error
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_ERROR")):
            raise StoreCorrupt(f"{path} is damaged ({error})") from error
        raise StoreUnavailable(f"cannot read {path}: {error}") from error


def _check_head(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("BEGIN IMMEDIATE")
    db.execute("COMMIT")
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreCorrupt(f"{path} is not a store of Hawser")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        raise StoreTooNew(f"{path} has format {version} and this version of Hawser knows formats up to {SCHEMA}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
