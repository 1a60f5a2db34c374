"""The durable half of the store: one SQLite file that holds every recent version of every key.

Table ``log`` has a row a write: revision (primary key, so writes append to the last page), key, value, revision of the
key's creation, whether the write deleted the key, and the revision of the key's write before (0: none). Rows that were
replaced, and deletions, are removed once they are older than the history that watches may ask for; table ``compaction``
says how far. Every row has a checksum, which is looked at whenever a row is read. The journal is a WAL with
``synchronous=FULL``: a commit is one fsync (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hawser.store.base import StoreCorrupt, StoreLocked, StoreTooNew, StoreUnavailable
from hawser.store.checksums import DAMAGED, SCHEMA, checksum, migrate
from hawser.store.sealing import NoSeal, Seal

APPLICATION_ID = 0x48575352  # "HWSR", in the file's header

ROWS_A_STATEMENT = 32
"""One statement takes so many rows: each is a trip through the interpreter's lock, and each size stays prepared."""

CHECKPOINT_PAGES = 4096
"""The WAL is copied into the database each time it has grown by so many pages (16 MiB)."""

Row = tuple[int, str, bytes, int, bool, int]
"""revision, key, value, created, deleted, previous"""

PLACES = "(?,?,?,?,?,?,?)"
"""Those of a row as it is inserted: see ``summed``."""

TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE log (
    revision INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB NOT NULL,
    created INTEGER NOT NULL, deleted INTEGER NOT NULL, previous INTEGER NOT NULL,
    checksum INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE compaction (revision INTEGER NOT NULL) STRICT;
INSERT INTO compaction VALUES (0);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA};
COMMIT;
"""


class Log:
    """An open store file. It may be used from any thread, but from one at a time.

    Opening creates a file that is not there (readable by its owner only) and locks it against other processes.
    check: read the whole file for damage first (``PRAGMA quick_check``; seconds for a large one).
    timeout: how many seconds to wait for another process to let go of the file. seal: encrypts values.
    Raises StoreCorrupt, StoreTooNew, StoreLocked, or StoreUnavailable (no space, no permission, I/O error).
    """

    def __init__(self, path: Path, *, check: bool = False, timeout: float = 1.0, seal: Seal | None = None) -> None:
        self.path = path
        self.seal = seal
        self.stale: set[int] = set()
        """Revisions whose values would be stored otherwise today, as with another key."""
        self._doubtful = False
        try:
            _create(path)
        except OSError as error:
            raise StoreUnavailable(f"cannot create the store {path}: {error.strerror}") from error
        with self._opening():
            self._db = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
        try:
            with self._opening():
                self._prepare(check)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, check: bool) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        tables = self._number("SELECT count(*) FROM sqlite_schema")
        version = self._number("PRAGMA user_version")
        if tables and self._number("PRAGMA application_id") != APPLICATION_ID:
            raise StoreCorrupt(f"{self.path} is a database of another program; choose another data directory")
        if version > SCHEMA:
            raise StoreTooNew(
                f"{self.path} has format {version} and this version of Hawser knows formats up to {SCHEMA}; "
                "use the newer version, or restore a backup that was made before the upgrade"
            )
        self._db.execute("PRAGMA journal_mode = WAL")
        if self.seal is not None:
            # What was stored before it was encrypted must not stay in pages that are free.
            self._db.execute("PRAGMA secure_delete = ON")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        if not tables:
            self._db.executescript(TABLES)
            sync_directory(self.path.parent)
        elif version == 0:
            raise StoreCorrupt(f"{self.path} has tables but no format number; restore it from a backup")
        elif version != SCHEMA:
            migrate(self._db)
        # Reading takes a shared lock only: this makes it exclusive, and exclusive locking mode keeps it.
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("COMMIT")
        if check and (found := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise StoreCorrupt(_damaged(self.path, found))

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """Translates SQLite's errors while the store is opened and read."""
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise StoreLocked(f"{self.path} is in use by another process; stop that one first") from error
            if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_ERROR")):
                raise StoreCorrupt(_damaged(self.path, str(error))) from error
            raise StoreUnavailable(f"cannot open the store {self.path}: {error}") from error

    def _number(self, sql: str, *values: int) -> int:
        return int(self._db.execute(sql, values).fetchone()[0] or 0)

    def compacted(self) -> int:
        """Rows after this revision are all there."""
        with self._opening():
            return self._number("SELECT revision FROM compaction")

    def newest(self) -> int:
        """The highest revision that the file knows of (0: none)."""
        with self._opening():
            return max(self._number("SELECT max(revision) FROM log"), self._number("SELECT revision FROM compaction"))

    def rows(self) -> Iterator[Row]:
        """Every row, in revision order.

        Raises StoreCorrupt for a row that has changed since it was written, StoreRefused when one cannot be decrypted.
        """
        seal = self.seal or NoSeal()
        with self._opening():
            for revision, key, stored, created, deleted, previous, written in self._db.execute(
                "SELECT revision, key, value, created, deleted, previous, checksum FROM log ORDER BY revision"
            ):
                if checksum(key, stored) != written:
                    raise StoreCorrupt(_damaged(self.path, f"revision {revision} of {key}: {DAMAGED}"))
                value, stale = seal.unseal(key, stored)
                if stale:
                    self.stale.add(revision)
                yield revision, key, value, created, deleted, previous

    def append(self, rows: Sequence[Row]) -> None:
        """Commits rows, all or none; they are on disk when this returns.

        Raises sqlite3.Error when that failed.
        """
        if self.seal is not None:
            rows = sealed(self.seal, rows)
        try:
            if len(rows) <= ROWS_A_STATEMENT and not self._doubtful:
                self._insert(rows)
                return
            self._db.execute("BEGIN IMMEDIATE")
            if self._doubtful:
                # A commit whose fsync failed was reported as failed, but may be in the file all the same.
                self._db.execute("DELETE FROM log WHERE revision > ?", (self._sure,))
            for start in range(0, len(rows), ROWS_A_STATEMENT):
                self._insert(rows[start : start + ROWS_A_STATEMENT])
            self._db.execute("COMMIT")
            self._doubtful = False
        except BaseException:
            self._roll_back()
            raise

    def _insert(self, rows: Sequence[Row]) -> None:
        places = ",".join([PLACES] * len(rows))
        self._db.execute(f"INSERT INTO log VALUES {places}", [value for row in rows for value in summed(row)])

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # The next write fails too, and says why.

    def doubt(self, committed: int) -> None:
        """After a failed append: rows after this revision must not survive the next one."""
        self._doubtful = True
        self._sure = committed

    def compact(self, after: int, upto: int) -> None:
        """Removes rows that were replaced, and deletions, at revisions in (after, upto].

        Raises sqlite3.Error. Not synced by itself: a compaction that is lost in a crash is done again.
        """
        self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "DELETE FROM log WHERE revision IN "
                "(SELECT previous FROM log WHERE revision > ? AND revision <= ? AND previous > 0)",
                (after, upto),
            )
            self._db.execute("DELETE FROM log WHERE revision > ? AND revision <= ? AND deleted", (after, upto))
            self._db.execute("UPDATE compaction SET revision = ?", (upto,))
            self._db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._db.execute("PRAGMA synchronous = FULL")

    def size(self) -> int:
        """The bytes of the file and of its WAL."""
        wal = self.path.with_name(f"{self.path.name}-wal")
        return self.path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)

    def close(self) -> None:
        """Closes the file; SQLite copies the WAL into it."""
        self._db.close()


def summed(row: Row) -> tuple[int, str, bytes, int, bool, int, int]:
    """A row as it is stored, with its checksum."""
    return (*row, checksum(row[1], row[2]))


def sealed(seal: Seal, rows: Iterable[Row]) -> list[Row]:
    """Rows as they are stored."""
    return [
        (revision, key, seal.seal(key, value), created, deleted, previous)
        for revision, key, value, created, deleted, previous in rows
    ]


def _create(path: Path) -> None:
    """Makes the file and its directory; objects include secrets, so nobody else may read them."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Without this a new file may be gone after a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(path: Path, found: str) -> str:
    return (
        f"{path} is damaged ({found}); move it and the files {path.name}-* away and restore a backup, "
        f"or save what can be read with: sqlite3 {path} .recover"
    )
