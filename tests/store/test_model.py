"""The store against a dict: whatever is written, listed, watched, compacted and reopened in whatever order."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import hawser.store.sqlite
from hawser.store.base import Delete, Expired, Keep, Put, Record, StoreEvent
from hawser.store.sqlite import SqliteStore
from hawser.store.watch import Watcher

T = TypeVar("T")
HISTORY = 12
PREFIXES = ["", "core/", "core/pods/", "core/pods/a/", "core/pods/b/", "apps/deployments/"]
KEYS = [f"{prefix}{name}" for prefix in PREFIXES[3:] for name in ("x/1"[2:], "y", "z")] + [
    "core/podsets/x",
    "core/nodes/n",
]

keys = st.sampled_from(KEYS)
prefixes = st.sampled_from(PREFIXES)
changes = st.tuples(keys, st.sampled_from(["put", "put", "delete", "keep", "raise"]))
Told = tuple[str, str, bytes, int, bytes | None]


def told(event: StoreEvent) -> Told:
    return (
        str(event.type),
        event.record.key,
        event.record.value,
        event.record.revision,
        event.prev.value if event.prev else None,
    )


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory(prefix="hawser-store-")
        self.path = Path(self.directory.name) / "store.db"
        self.state: dict[str, tuple[bytes, int, int]] = {}
        self.states: list[dict[str, tuple[bytes, int, int]]] = [{}]
        self.events: list[Told] = []
        self.watches: list[tuple[Watcher, str, int]] = []
        self.store = self.open()

    def open(self) -> SqliteStore:
        return SqliteStore.open(self.path, history=HISTORY, watch_backlog=10**6)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    async def write(self, key: str, change: str) -> None:
        expected: tuple[bytes, int, int] | None = None

        def fn(record: Record | None, revision: int) -> Put | Delete | Keep:
            nonlocal expected
            before = self.state.get(key)
            assert (record and (record.value, record.revision, record.created)) == before
            assert revision == len(self.events) + 1
            expected = before
            if change == "raise":
                raise LookupError
            if change == "keep" or (change == "delete" and before is None):
                return Keep()
            value = b"%s at %d" % (change.encode(), revision)
            expected = (value, revision, before[2] if before else revision)
            if change == "delete":
                kind = "DELETED"
                del self.state[key]
            else:
                kind = "MODIFIED" if before else "ADDED"
                self.state[key] = expected
            self.events.append((kind, key, value, revision, before[0] if before else None))
            self.states.append(dict(self.state))
            return Delete(value) if change == "delete" else Put(value)

        try:
            record = await self.store.write(key, fn)
        except LookupError:
            return
        assert (record and (record.value, record.revision, record.created)) == expected

    @rule(batch=st.lists(changes, min_size=1, max_size=12))
    def write_together(self, batch: list[tuple[str, str]]) -> None:
        async def together() -> None:
            await asyncio.gather(*(self.write(*change) for change in batch))

        self.run(together())

    @rule(change=changes)
    def write_alone(self, change: tuple[str, str]) -> None:
        self.run(self.write(*change))

    @rule(prefix=prefixes, after=st.just("") | keys, limit=st.integers(0, 5), back=st.integers(0, HISTORY + 3))
    def list(self, prefix: str, after: str, limit: int, back: int) -> None:
        revision = max(0, len(self.events) - back)
        if 0 < revision < self.store.compacted:
            with pytest.raises(Expired):
                self.store.list(prefix, after, limit, revision)
            return
        state = self.states[revision or -1]
        found = [
            (record.key, record.value, record.revision, record.created)
            for record in self.store.list(prefix, after, limit, revision)
        ]
        expected = [(key, *state[key]) for key in sorted(state) if key.startswith(prefix) and key > after]
        assert found == (expected[:limit] if limit else expected)

    @rule(prefix=prefixes, back=st.integers(-3, HISTORY + 3))
    def watch(self, prefix: str, back: int) -> None:
        start = max(0, len(self.events) - back)
        if start < self.store.compacted:
            with pytest.raises(Expired):
                self.store.watch(prefix, start)
        else:
            self.watches.append((self.store.watch(prefix, start), prefix, start))

    @rule(which=st.integers(0, 10))
    def close_a_watch(self, which: int) -> None:
        if which < len(self.watches):
            self.check_watch(*self.watches.pop(which))

    @rule()
    def reopen(self) -> None:
        compacted = self.store.compacted
        self.close()
        self.store = self.open()
        assert self.store.compacted == compacted

    @invariant()
    def agrees(self) -> None:
        assert self.store.revision == len(self.events)
        assert self.store.compacted == max(0, len(self.events) - HISTORY)
        for prefix in PREFIXES:
            assert self.store.count(prefix) == sum(key.startswith(prefix) for key in self.state)

    def check_watch(self, watch: Watcher, prefix: str, start: int) -> None:
        async def drain() -> list[Told]:
            watch.close()
            return [told(event) async for batch in watch for event in batch]

        assert self.run(drain()) == [event for event in self.events[start:] if event[1].startswith(prefix)]

    def close(self) -> None:
        self.run(self.store.close())
        while self.watches:
            self.check_watch(*self.watches.pop())

    def teardown(self) -> None:
        self.close()
        self.loop.close()
        self.directory.cleanup()


@pytest.fixture(autouse=True)
def small_compaction_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hawser.store.sqlite, "COMPACT_REVISIONS", 5)


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_the_store_agrees_with_a_dict = Model.TestCase
