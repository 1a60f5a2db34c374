"""A checksum for every row of a store file, so that a byte that changed on disk is noticed before it is served.

SQLite notices damage of its own structures only; inside a value anything is a value. CRC-32 (ISO 3309, as zlib
computes it) finds every single flipped byte.
"""

from __future__ import annotations

import sqlite3
from zlib import crc32

SCHEMA = 2
"""The format of store files; 1 had no checksums."""

DAMAGED = "its key or value is not what was written (the checksum differs)"


def checksum(key: str, value: bytes) -> int:
    """The checksum of a row: of its key and its value as it is stored, encrypted or not."""
    return crc32(value, crc32(key.encode()))


def migrate(db: sqlite3.Connection) -> None:
    """Bring a file of format 1 to this one: every row gets its checksum, all or none. Raises sqlite3.Error."""
    db.create_function("checksum_of", 2, checksum, deterministic=True)
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute("ALTER TABLE log ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0")
        db.execute("UPDATE log SET checksum = checksum_of(key, value)")
        db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
