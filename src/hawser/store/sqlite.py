"""The store: state in memory, SQLite as the durable log, writes committed in groups.

A write is decided on the event loop at once, against the newest state, and joins the group that is being collected.
While the commit thread waits for the disk with one group, the next one collects; so a lone writer pays one fsync, and
many writers share them. A group becomes visible, acknowledged and published to watches in one step, in revision order.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from pathlib import Path

from hawser.api.encoding import escaped
from hawser.exposition import Histogram
from hawser.store import copies
from hawser.store.base import (
    Delete,
    EventType,
    Follower,
    Keep,
    Record,
    StoreEvent,
    StoreUnavailable,
    WriteFn,
)
from hawser.store.committer import Committer
from hawser.store.history import History
from hawser.store.log import Log, Row, sealed
from hawser.store.memory import Memory, check_prefix
from hawser.store.sealing import Seal
from hawser.store.watch import Hub, Watcher

logger = logging.getLogger(__name__)

HISTORY_EVENTS = 10_000
HISTORY_BYTES = 64 << 20
WATCH_BACKLOG = 10_000
COMPACT_REVISIONS = 256
"""Old rows are removed in steps of so many revisions, so that no write waits long behind one."""


class _Group:
    """Writes that are committed together, and who waits for them."""

    __slots__ = ("events", "rows", "waiters")

    def __init__(self) -> None:
        self.events: list[StoreEvent] = []
        self.rows: list[Row] = []
        self.waiters: list[tuple[asyncio.Future[Record | None], Record | None]] = []


class _Pending:
    """The newest, uncommitted write of a key."""

    __slots__ = ("event", "group")

    def __init__(self, event: StoreEvent, group: _Group) -> None:
        self.event = event
        self.group = group

    @property
    def state(self) -> Record | None:
        return None if self.event.type is EventType.DELETED else self.event.record


class SqliteStore:
    """Implements ``base.Store``. Made by ``open``; used from one event loop."""

    def __init__(self, log: Log, memory: Memory, history: History, revision: int, watch_backlog: int) -> None:
        self._log = log
        self._memory = memory
        self._history = history
        self._revision = revision
        self._next = revision + 1
        self._hub = Hub(watch_backlog)
        self._committer = Committer()
        self._pending: dict[str, _Pending] = {}
        self._collecting = _Group()
        self._committing: _Group | None = None
        self._flush_wanted = False
        self._log_compacted = log.compacted()
        self._compacting = False
        self._closed = False
        self._began = 0.0
        self.commits = Histogram()
        self.writable = True

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        history: int = HISTORY_EVENTS,
        history_bytes: int = HISTORY_BYTES,
        watch_backlog: int = WATCH_BACKLOG,
        check: bool = False,
        timeout: float = 1.0,
        seal: Seal | None = None,
    ) -> SqliteStore:
        """Opens or creates a store and reads it into memory (50,000 objects take about 0.3 s).

        history, history_bytes: how many events, of how many bytes together, watches can resume from.
        watch_backlog: how many events may wait for one watcher before it is dropped.
        check, timeout, seal, errors: see ``log.Log``.
        """
        log = Log(Path(path), check=check, timeout=timeout, seal=seal)
        try:
            newest = log.newest()
            memory, events = _load(log, newest, history, history_bytes)
            return cls(log, memory, events, newest, watch_backlog)
        except BaseException:
            log.close()
            raise

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def compacted(self) -> int:
        return self._history.compacted

    @property
    def path(self) -> Path:
        return self._log.path

    def size(self) -> int:
        return self._log.size()

    def get(self, key: str) -> Record | None:
        return self._memory.get(key)

    def list(self, prefix: str, after: str = "", limit: int = 0, revision: int = 0) -> list[Record]:
        if not revision or revision == self._revision:
            return self._memory.list(prefix, after, limit)
        if revision > self._revision:
            raise ValueError(f"revision {revision} is in the future; the newest is {self._revision}")
        undone = self._history.undo(prefix, revision)
        now = self._memory.list(prefix, after, limit + len(undone) if limit else 0)
        found = [record for record in now if record.key not in undone]
        found += [record for record in undone.values() if record is not None and record.key > after]
        found.sort(key=lambda record: record.key)
        return found[:limit] if limit else found

    def count(self, prefix: str) -> int:
        return self._memory.count(prefix)

    def watch(self, prefix: str, start: int) -> Watcher:
        check_prefix(prefix)
        return self._hub.watch(prefix, start, self._history.since(prefix, start))

    def follow(self, prefix: str, follower: Follower) -> None:
        check_prefix(prefix)
        self._hub.follow(prefix, follower)

    async def write(self, key: str, fn: WriteFn) -> Record | None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        pending = self._pending.get(key)
        state = self._memory.get(key) if pending is None else pending.state
        revision = self._next
        try:
            answer = fn(state, revision)
        except Exception:
            if pending is not None:
                await self._wait(pending.group, None)
            raise
        if isinstance(answer, Keep):
            return state if pending is None else await self._wait(pending.group, state)
        deleted = isinstance(answer, Delete)
        # A copy, because encoders hand out bytes in a buffer that is larger (orjson: by 4 to 8 KiB).
        value = bytes(memoryview(answer.value))
        if state is None:
            if deleted:
                raise ValueError(f"the write of {key} deletes what is not there")
            record = Record(key, value, revision, revision, answer.index)
            event = StoreEvent(EventType.ADDED, record, None)
        else:
            record = Record(state.key, value, revision, state.created, answer.index)
            event = StoreEvent(EventType.DELETED if deleted else EventType.MODIFIED, record, state)
        # After a deletion the key's row before is the deletion's, which compaction removes by itself.
        previous = state.revision if state is not None else 0
        self._next += 1
        group = self._collecting
        group.rows.append((revision, record.key, record.value, record.created, deleted, previous))
        group.events.append(event)
        self._pending[record.key] = _Pending(event, group)
        if self._committing is None and not self._flush_wanted:
            # Not at once: what else is ready to run in this turn of the loop may write too.
            self._flush_wanted = True
            asyncio.get_running_loop().call_soon(self._flush)
        return await self._wait(group, record)

    async def snapshot(self, path: Path) -> int:
        records = self._memory.list("")
        revision = self._revision
        rows = [(r.revision, r.key, r.value, r.created, False, 0) for r in records]
        rows.sort()
        seal = self._log.seal
        await asyncio.to_thread(lambda: copies.write(path, sealed(seal, rows) if seal else rows, revision))
        return revision

    def stale(self, record: Record) -> bool:
        return record.revision in self._log.stale

    def resealed(self, otherwise: Callable[[str], bool]) -> None:
        """The seal has changed. otherwise: whether a key's values are stored otherwise since then."""
        found: dict[str, bool] = {}
        for record in self._memory.list(""):
            resource = record.key[: record.key.index("/", record.key.index("/") + 1)]
            if resource not in found:
                found[resource] = otherwise(record.key)
            if found[resource]:
                self._log.stale.add(record.revision)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # Asked anew each time: a group that is done wakes nobody any more.
        while (group := self._committing or self._collecting).rows:
            try:
                await self._wait(group, None)
            except StoreUnavailable:
                pass  # The writers were told.
        self._hub.close()
        self._committer.close()
        self._log.close()

    def _wait(self, group: _Group, result: Record | None) -> asyncio.Future[Record | None]:
        """Result once the group is committed; raises StoreUnavailable when that fails."""
        waiter: asyncio.Future[Record | None] = asyncio.get_running_loop().create_future()
        group.waiters.append((waiter, result))
        return waiter

    def _flush(self) -> None:
        """Sends what was collected to the commit thread, unless that is busy with a group."""
        self._flush_wanted = False
        group = self._collecting
        if self._committing is None and group.rows:
            self._committing, self._collecting = group, _Group()
            self._began = time.perf_counter()
            self._committer.submit(lambda: self._log.append(group.rows), self._committed)

    def _committed(self, error: BaseException | None) -> None:
        """Called on the loop when a group is durable or has failed."""
        group = self._committing
        assert group is not None
        self._committing = None
        self.commits.observe(time.perf_counter() - self._began)
        self.writable = error is None
        if error is not None:
            self._fail(group, error)
            return
        for event in group.events:
            record = event.record
            if event.type is EventType.DELETED:
                self._memory.remove(record.key)
            else:
                self._memory.put(record)
            self._history.append(event)
            if self._pending[record.key].event is event:
                del self._pending[record.key]
        self._revision = group.events[-1].record.revision
        for waiter, result in group.waiters:
            if not waiter.done():
                waiter.set_result(result)
        self._flush()
        self._hub.publish(group.events)
        self._compact()

    def _fail(self, group: _Group, error: BaseException) -> None:
        """Drops a failed group and what was decided on top of it. Its revisions are not used again."""
        dropped, self._collecting = self._collecting, _Group()
        self._pending.clear()
        self._log.doubt(self._revision)
        message = f"the store cannot write to {self._log.path}: {error}"
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            message += "; free some space, reads go on meanwhile"
        logger.error(message)
        for waiter, _ in group.waiters + dropped.waiters:
            if not waiter.done():
                unavailable = StoreUnavailable(message)
                unavailable.__cause__ = error
                waiter.set_exception(unavailable)

    def _compact(self) -> None:
        """Has one step's worth of old rows removed when there are as many."""
        upto = self._log_compacted + COMPACT_REVISIONS
        if self._compacting or self._closed or upto > self._history.compacted:
            return
        after = self._log_compacted
        self._compacting = True

        def done(error: BaseException | None) -> None:
            self._compacting = False
            if error is None:
                self._log_compacted = upto
            else:
                logger.warning("old revisions in %s were not removed: %s", self._log.path, error)

        self._committer.submit(lambda: self._log.compact(after, upto), done)


def _load(log: Log, newest: int, events: int, size: int) -> tuple[Memory, History]:
    """Reads the log: the state, and the events of the most recent revisions."""
    compacted = log.compacted()
    # Revisions do not repeat, so no older one can be among the last so many events.
    oldest = max(compacted, newest - events)
    state: dict[str, Record] = {}
    history = History(events, size, oldest)
    # Nothing that is made here is garbage; looking for it again and again doubles the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        for revision, key, value, created, deleted, _ in log.rows():
            before = state.get(key)
            # Versions before stored JSON with less escaped than clients are to be shown.
            record = Record(before.key if before is not None else key, escaped(value), revision, created)
            if deleted:
                state.pop(key, None)
                if revision > oldest and before is not None:
                    history.append(StoreEvent(EventType.DELETED, record, before))
                continue
            state[key] = record
            if revision > oldest:
                history.append(StoreEvent(EventType.MODIFIED if before else EventType.ADDED, record, before))
        return Memory(state), history
    finally:
        if collecting:
            gc.enable()
