"""What a store promises: etcd's guarantees to Kubernetes, for one process on one machine.

One writer process owns a store. Revisions are one global sequence; an object's ``metadata.resourceVersion`` is the
revision of its last write, so the revision must be known before the object is encoded: a write is a function that
is called, on the event loop, with the newest state of its key and the revision it will get. Writes are applied in
revision order, committed in groups, and acknowledged (the awaitable returns) only after fsync. Reads and watches see
committed writes only; writes see all earlier writes (``WriteFn``s get the newest state, committed or
pending): if a commit fails, every write since then fails with it and the pending state is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from hawser.exposition import Histogram


class Record:
    """A stored object: its encoded bytes, and a place for what readers derive from them once.

    key: ``<group>/<plural>/<namespace>/<name>`` (an empty group is ``core``); for cluster-scoped
    kinds ``<group>/<plural>/<name>``. value: JSON, resourceVersion included. revision: of the last write.
    created: revision of the creation. index: anything the owner computes from value (labels, fields), or None.
    """

    __slots__ = ("created", "index", "key", "revision", "value")

    def __init__(self, key: str, value: bytes, revision: int, created: int, index: object = None) -> None:
        self.key = key
        self.value = value
        self.revision = revision
        self.created = created
        self.index = index


class EventType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


# What is made with every write is not frozen: that would take three times as long.
@dataclass(slots=True)
class StoreEvent:
    """One committed write. Read-only.

    record: the new state; for DELETED the last state, re-encoded with the deletion's revision.
    prev: the state before the write, None for ADDED.
    """

    type: EventType
    record: Record
    prev: Record | None


@dataclass(slots=True)
class Put:
    """A write function's answer: store this value (it carries the revision it was given)."""

    value: bytes
    index: object = None


@dataclass(slots=True)
class Delete:
    """A write function's answer: remove the key; value is the final state that watchers are shown."""

    value: bytes
    index: object = None


@dataclass(frozen=True, slots=True)
class Keep:
    """A write function's answer: change nothing (the revision is not used)."""


WriteFn = Callable[["Record | None", int], Put | Delete | Keep]
"""(newest state or None, the revision this write will get) -> what to do. Runs on the event loop, must not block;
what it raises reaches the caller of ``write`` and nothing is changed. It must not call ``write`` itself."""


Follower = Callable[[Sequence[StoreEvent]], None]
"""Sees committed events on the event loop; see ``Store.follow``. Must neither block nor raise."""


Sink = Callable[[Sequence[StoreEvent]], bool]
"""Takes a watch's events at once, on the event loop; see ``Watch.sink``. Must neither block nor raise."""


class Expired(Exception):
    """The revision asked for is older than the watch history or compacted away."""


class StoreUnavailable(Exception):
    """A commit failed (disk full, I/O error): nothing of the group was acknowledged; later writes may succeed."""


class StoreRefused(Exception):
    """The store cannot be opened; the message says why and what to do."""


class StoreCorrupt(StoreRefused):
    """The file is damaged or is not a store."""


class StoreTooNew(StoreRefused):
    """The file was written by a newer version of Hawser."""


class StoreLocked(StoreRefused):
    """Another process has the store open."""


class Watch(Protocol):
    """Events of one prefix in revision order.

    ``async for batch in watch`` yields non-empty sequences of events; watches of one prefix are given the very same
    StoreEvent objects. A watcher that falls too far behind is closed: iteration raises Expired. ``close`` ends
    iteration. Cancelling ``__anext__`` loses nothing; while it waits, all up to ``Store.revision`` has been seen.
    sink: while it is set and nothing is queued, live events are given to it first; what it returns False for is queued
    for the iteration.
    """

    sink: Sink | None

    def __aiter__(self) -> Watch: ...

    async def __anext__(self) -> Sequence[StoreEvent]: ...

    def close(self) -> None: ...


class Store(Protocol):
    """See the module's docstring for the guarantees."""

    @property
    def revision(self) -> int:
        """The newest committed revision."""
        ...

    @property
    def compacted(self) -> int:
        """Watches can start at this revision or later (exclusive of their start)."""
        ...

    @property
    def path(self) -> Path:
        """The store's file."""
        ...

    @property
    def commits(self) -> Histogram:
        """How long commits took, in seconds."""
        ...

    @property
    def writable(self) -> bool:
        """Whether the last commit was kept."""
        ...

    def size(self) -> int:
        """How many bytes the store takes on disk."""
        ...

    def get(self, key: str) -> Record | None:
        """The committed state of a key."""
        ...

    def list(self, prefix: str, after: str = "", limit: int = 0, revision: int = 0) -> list[Record]:
        """Committed records whose key starts with prefix (which ends in "/"), in key order.

        after: only keys greater than this one. limit: at most so many (0: all). revision: the state as of this
        revision (0: now), which is what the pages of one list need; raises Expired when it is older than ``compacted``
        and ValueError when it is in the future.
        """
        ...

    def count(self, prefix: str) -> int:
        """How many committed records a prefix has."""
        ...

    async def write(self, key: str, fn: WriteFn) -> Record | None:
        """Calls fn at once (synchronously, before the first await) and waits until its change is durable.

        Returns the new record; for Delete a record with the final value; for Keep the current state.
        Raises what fn raised, or StoreUnavailable. Answers that rest on a write which is not committed yet (Keep, and
        what fn raised) wait for that commit too: a caller who is told "already exists" or "conflict" can read why.
        Cancelling the caller does not take the write back.
        """
        ...

    def watch(self, prefix: str, start: int) -> Watch:
        """Events of keys under prefix with revision > start, history first, then live; never a gap.

        Raises Expired when start is older than ``compacted``; a start in the future is served when it comes.
        """
        ...

    def follow(self, prefix: str, follower: Follower) -> None:
        """Calls follower with every event under prefix that is committed from now on, for as long as the store is open.

        It is called in revision order, after ``get`` and ``list`` show the writes and before anybody who waits for one
        of them goes on: what it keeps up to date is so for whoever has been told of the write.
        """
        ...

    def stale(self, record: Record) -> bool:
        """Whether a record would be stored otherwise today (with another key): it is to be written anew."""
        ...

    async def snapshot(self, path: Path) -> int:
        """Write what is committed now to a new store file, while the store goes on; the revision it is as of.

        Raises StoreUnavailable when that fails; nothing is left at path then.
        """
        ...

    async def close(self) -> None:
        """Commits what is pending and closes; waiting writes end."""
        ...
