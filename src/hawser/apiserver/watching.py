"""Watches: one coroutine a watcher over the store's events; every event is encoded once for all watchers of a form.

Source: API concepts, "Efficient detection of changes", "Watch bookmarks" and "Streaming lists".
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cache

from aiohttp import web

from hawser.api.encoding import dumps
from hawser.api.errors import expired
from hawser.api.types import Obj
from hawser.apiserver import forms, index, listing
from hawser.apiserver.connection import Connection
from hawser.apiserver.listing import Selection
from hawser.apiserver.metrics import sent
from hawser.apiserver.negotiation import As, Form, Media
from hawser.apiserver.paths import parse_flag
from hawser.apiserver.registry import Resource
from hawser.apiserver.reply import JSON, LAST_CHUNK, Finished, chunk, chunked_head, drain
from hawser.store.base import EventType, Expired, Record, StoreEvent
from hawser.store.base import Watch as StoreWatch

_BOOKMARK_SECONDS = 55.0
_SHORTEST, _LONGEST = 1800.0, 3600.0
# The end of an initial list is written at once; so many initial events go into one chunk.
_BATCH = 200
# Bytes that may wait for a peer before its events wait in its queue.
_SLOW = 64 * 1024
RECORD = "audit"
"""Where a request has its audit record, when it has one."""
_PIECE = 128 * 1024
STALLED = 15.0
_INITIAL_END = "k8s.io/initial-events-end"


class Watcher:
    """One watch request: what it wants, and its way onto the wire."""

    def __init__(
        self,
        request: web.BaseRequest,
        resource: Resource,
        namespace: str,
        selection: Selection,
        form: Form,
        query: dict[str, str],
        now: Callable[[], datetime],
    ) -> None:
        self._request = request
        self._resource = resource
        self._prefix = resource.prefix + (f"{namespace}/" if namespace else "")
        self._selection = None if selection.everything else selection
        # For a watch bare metadata is one shape, whatever it is called; people read events a line each.
        shape = As.METADATA if form.shape is As.METADATA_LIST else form.shape
        self._form = form = Form(shape, form.media, form.meta)
        name = selection.fields.exact("metadata.name")
        self._tail = "" if name is None else f"/{name}"
        """The end of the keys that can be meant at all."""
        every = self._selection is None and not namespace and resource.as_stored
        self._bare = b""
        if every and shape is As.METADATA and form.media is Media.JSON:
            # Only for those that see every object do writes leave its metadata, lest it is never taken.
            self._bare = _BARE % form.meta.encode()
        self._shared = _shared(form) if resource.as_stored and shape is not As.TABLE else None
        self._include = query.get("includeObject", "Metadata")
        self._now = now
        self._sent = sent(resource.kind)
        self._bookmarks = parse_flag(query.get("allowWatchBookmarks", "false"))
        self._version = query.get("resourceVersion", "")
        asked = query.get("sendInitialEvents")
        # A watch without a version begins with what is there, and nowadays says where that ends.
        legacy = self._version in ("", "0") and not query.get("resourceVersionMatch")
        self._initial = legacy if asked is None else parse_flag(asked)
        self._seconds = _timeout(query)
        self._columns = True
        self._waiting = False
        if query:
            listing.check_options(query, watching=True)

    async def run(self) -> Finished:
        """Serve the watch until its time is over, the peer is gone, it is too slow, or the server stops.

        APIError before anything is written: 400, 410, 504.
        """
        store = self._resource.store
        start = listing.parse_revision(self._version)
        initial: list[Record] = []
        if self._initial or not start:
            # No version, or "0": the state first, then what follows it. Both are taken in the same turn of the loop.
            if start:
                await listing.wait_for(self._resource, start)
            start = store.revision
            if self._initial:
                initial = store.list(self._prefix)
        try:
            watch = store.watch(self._prefix, start)
        except Expired:
            return await self._expired(f"too old resource version: {start} ({store.compacted})")
        connection = self._request.protocol
        assert isinstance(connection, Connection)
        connection.on_end = watch.close
        self._resource.watches.add(watch)
        if self._bare:
            self._resource.bare.add(watch)
        timer = asyncio.get_running_loop().call_later(self._seconds, watch.close)
        bookmarks = asyncio.get_running_loop().call_later(_jitter(), self._note_bookmark) if self._bookmarks else None
        self._bookmark_timer = bookmarks
        try:
            self._head()
            await self._send_initial(initial, start)
            await self._follow(watch)
            self._end()
        except ConnectionResetError:
            # The peer left in the middle, which is how most watches end.
            return Finished(keep_alive=False)
        finally:
            watch.close()
            self._resource.watches.discard(watch)
            self._resource.bare.discard(watch)
            timer.cancel()
            if self._bookmark_timer is not None:
                self._bookmark_timer.cancel()
            connection.on_end = None
        return self._finished()

    def _head(self) -> None:
        media = JSON if self._form.media is Media.JSON else f"{self._form.media};stream=watch"
        self._write(chunked_head(media, self._request.keep_alive))
        if RECORD in self._request:
            self._request[RECORD].started()

    def _end(self) -> None:
        """All is sent."""
        self._write(LAST_CHUNK)

    def _finished(self) -> Finished:
        return Finished(self._request.keep_alive)

    def _packed(self, frames: Sequence[bytes]) -> bytes:
        """Events as they are written."""
        return chunk(frames[0] if len(frames) == 1 else b"".join(frames))

    async def _follow(self, watch: StoreWatch) -> None:
        try:
            while True:
                self._waiting = True
                watch.sink = None if self._resource.asks else self._deliver
                try:
                    batch = await anext(watch)
                finally:
                    self._waiting = False
                    watch.sink = None
                if self._resource.asks:
                    await self._resource.ready(event.record for event in batch)
                for piece in pieces([data for data in map(self._chunk, batch) if data]):
                    self._sent.observe(piece)
                    self._write(b"".join(piece))
                    await self._drain()
        except StopAsyncIteration:
            return
        except Expired as error:
            self._write(self._packed([self._event("ERROR", expired(str(error)).status)]))

    def _deliver(self, batch: Sequence[StoreEvent]) -> bool:
        """Write events in the moment they are committed, unless the peer is slow: no task need wake up for them."""
        transport = self._request.transport
        if transport is None or not self._waiting or transport.get_write_buffer_size() > _SLOW:
            return False
        try:
            chunks = [data for data in map(self._chunk, batch) if data]
        except Exception:
            # It is this watch's failure, to be met where it is served; never the writer's.
            return False
        if chunks:
            self._sent.observe(chunks)
            transport.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        return True

    async def _send_initial(self, records: list[Record], revision: int) -> None:
        kind = self._resource.kind
        chosen = records
        if self._selection is not None:
            chosen = [record for record in records if self._selection.matches(kind, record)]
        if self._resource.asks:
            await self._resource.ready(chosen)
        for first in range(0, len(chosen), _BATCH):
            frames = [self._frame(EventType.ADDED, record) for record in chosen[first : first + _BATCH]]
            self._sent.observe(frames)
            self._write(self._packed(frames))
            await self._drain()
        if self._initial and self._bookmarks:
            self._write(self._packed([self._bookmark(revision, initial_end=True)]))

    def _chunk(self, event: StoreEvent) -> bytes:
        """The wire bytes of an event for this watcher; empty when it does not concern it."""
        kind = event.type
        record = event.record
        if self._selection is not None:
            if self._tail and not record.key.endswith(self._tail):
                return b""
            matches = kind is not EventType.DELETED and self._selection.matches(self._resource.kind, record)
            matched = event.prev is not None and self._selection.matches(self._resource.kind, event.prev)
            if matches:
                kind = EventType.MODIFIED if matched else EventType.ADDED
            elif matched:
                # Out of the selection is gone, for this watcher; the object is shown as it now is.
                kind = EventType.DELETED
            else:
                return b""
        if self._shared is None:
            return self._packed([self._frame(kind, record)])
        key = (record.revision, kind._value_)
        data = self._shared.found.get(key)
        if data is None:
            data = chunk(self._frame(kind, record))
            self._shared.keep(key, data)
        return data

    def _frame(self, event: EventType, record: Record) -> bytes:
        form = self._form
        if self._bare and (left := index.take_metadata(record)) is not None:
            return self._bare % (_NAMES[event._value_], left)
        if form.media is Media.PROTOBUF:
            return forms.event(self._resource, event, record, form)
        shown = self._resource.show(record)
        if form.plain:
            return _frame(event, shown)
        kind = self._resource.kind
        if form.shape is As.TABLE:
            metadata: Obj = {"resourceVersion": str(record.revision)}
            value = forms.table(kind, [shown], metadata, form, self._include, self._now(), columns=self._columns)
            self._columns = False
            return _frame(event, value)
        return _frame(event, forms.one(kind, shown, form, self._include, self._now()))

    def _note_bookmark(self) -> None:
        """Remember how far the store is; a second later everything up to there has been sent or we are not waiting."""
        loop = asyncio.get_running_loop()
        self._bookmark_timer = loop.call_later(1.0, self._send_bookmark, self._resource.store.revision)

    def _send_bookmark(self, revision: int) -> None:
        if self._waiting and self._request.transport is not None:
            self._request.transport.write(self._packed([self._bookmark(revision)]))
        self._bookmark_timer = asyncio.get_running_loop().call_later(_jitter(), self._note_bookmark)

    def _bookmark(self, revision: int, initial_end: bool = False) -> bytes:
        metadata: Obj = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {_INITIAL_END: "true"}
        kind = self._resource.kind
        obj: Obj = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
        if self._form.shape is As.TABLE:
            row = {"cells": [], "object": {**obj, "kind": str(As.METADATA), "apiVersion": self._form.meta}}
            obj = {"kind": "Table", "metadata": metadata, "columnDefinitions": [], "rows": [row]}
            obj["apiVersion"] = self._form.meta
        elif self._form.shape is not As.OBJECT:
            obj.update(kind=str(As.METADATA), apiVersion=self._form.meta)
        return self._event("BOOKMARK", obj)

    def _event(self, event: str, obj: Obj) -> bytes:
        """An event that is not of the store."""
        if self._form.media is Media.PROTOBUF:
            from hawser.apiserver.protobuf import frames

            return frames.event(event, frames.document(obj) or b"")
        return dumps({"type": event, "object": obj}) + b"\n"

    async def _expired(self, message: str) -> Finished:
        """A watch that starts too early is answered with 200 and one ERROR event, as clients expect."""
        self._head()
        self._write(self._packed([self._event("ERROR", expired(message).status)]))
        self._end()
        return self._finished()

    async def _drain(self) -> None:
        """Wait until the peer has read; one that reads nothing for long is dropped, and what waits for it with it."""
        protocol = self._request.protocol
        if protocol is None or not protocol.writing_paused:
            return
        try:
            async with asyncio.timeout(STALLED):
                await drain(self._request)
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError from None

    def _write(self, data: bytes) -> None:
        transport = self._request.transport
        if transport is None:
            raise ConnectionResetError
        transport.write(data)


def pieces(chunks: list[bytes]) -> Iterator[list[bytes]]:
    """Chunks in groups of about so many bytes: what one watcher has not read yet must not become large."""
    piece: list[bytes] = []
    size = 0
    for data in chunks:
        piece.append(data)
        size += len(data)
        if size >= _PIECE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _frame(event: EventType, value: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (_NAMES[event._value_], value)


_NAMES = {event.value: event.encode() for event in EventType}
_BARE = b'{"type":"%%b","object":{"kind":"PartialObjectMetadata","apiVersion":"%b","metadata":%%b}}\n'


_SHARED_BYTES = 4 << 20


class Shared:
    """The chunks of recent events in one form, for all watchers of it (a revision belongs to one record)."""

    __slots__ = ("_size", "found")

    def __init__(self) -> None:
        self.found: dict[tuple[int, str], bytes] = {}
        self._size = 0

    def keep(self, key: tuple[int, str], data: bytes) -> None:
        """Remember a chunk, for as long as there are not too many."""
        self._size += len(data)
        if self._size > _SHARED_BYTES:
            self.found.clear()
            self._size = len(data)
        self.found[key] = data


@cache
def _shared(form: Form) -> Shared:
    return Shared()


def _jitter() -> float:
    return _BOOKMARK_SECONDS * random.uniform(0.9, 1.1)


def _timeout(query: dict[str, str]) -> float:
    return listing.number(query, "timeoutSeconds") or random.uniform(_SHORTEST, _LONGEST)
