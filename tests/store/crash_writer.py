"""Run by test_crash.py: 64 writers that print each write once it is acknowledged, until the process is killed.

Arguments: the store's path. A line is: key, revision, and the value or "-" for a deletion.
"""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count

from hawser.store.base import Delete, Put, Record
from hawser.store.sqlite import SqliteStore


async def writer(store: SqliteStore, number: int) -> None:
    key = f"core/configmaps/default/w{number}"
    for turn in count():

        def fn(state: Record | None, revision: int, turn: int = turn) -> Put | Delete:
            if state is not None and turn % 5 == 4:
                return Delete(b"")
            return Put(b"%d:%s" % (revision, b"x" * (turn * 37 % 900)))

        record = await store.write(key, fn)
        assert record is not None
        os.write(1, b"%s %d %s\n" % (key.encode(), record.revision, record.value or b"-"))


async def main() -> None:
    store = SqliteStore.open(sys.argv[1], history=100)
    await asyncio.gather(*(writer(store, number) for number in range(64)))


asyncio.run(main())
