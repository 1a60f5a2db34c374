"""Answers questions: the cluster's own names from what is known, all others by asking, once for all who ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from hawser.node.dns import replies, wire
from hawser.node.dns.cache import Cache, Key, key_of
from hawser.node.dns.metrics import Metrics
from hawser.node.dns.replies import Reply
from hawser.node.dns.upstream import Upstream
from hawser.node.dns.wire import FormatError, Name, Query, Rcode, Record, Type, folded, respond
from hawser.node.dns.zone import Zone

_LONGEST_CHAIN = 8
_MOST_ASKED = 1000
"""Questions that others are asked at a time."""


@dataclass(frozen=True, slots=True)
class _Own:
    """What the zone says, aliases followed as far as it goes. alias: what others are to be asked for."""

    rcode: Rcode
    answers: tuple[Record, ...]
    additional: tuple[Record, ...]
    authority: tuple[Record, ...]
    alias: Name | None


class Resolver:
    """zone: the cluster's names. upstream: everybody else's."""

    def __init__(
        self,
        zone: Zone,
        upstream: Upstream,
        metrics: Metrics,
        cache: Cache | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._zone = zone
        self._upstream = upstream
        self._metrics = metrics
        self._cache = cache or Cache()
        self._clock = clock
        self._asked: dict[Key, asyncio.Task[Reply | None]] = {}
        metrics.cached = self._cache.__len__

    def close(self) -> None:
        """Stops asking."""
        for task in self._asked.values():
            task.cancel()

    def at_once(self, query: Query, limit: int) -> bytes | None:
        """The answer, if nobody else is to be asked. limit: its size, bytes."""
        if query.opcode:
            return respond(query, Rcode.NOTIMP)
        if query.edns and query.edns.version:
            return respond(query, Rcode.BADVERS)
        if query.dns_class != wire.IN or query.type in (Type.AXFR, Type.IXFR):
            return respond(query, Rcode.REFUSED)
        name = folded(query.name)
        if not self._zone.ready and self._zone.covers(name):
            return respond(query, Rcode.SERVFAIL)
        own = self._own(query, name)
        if own is not None:
            if own.alias is not None:
                return None
            return respond(
                query, own.rcode, own.answers, own.authority, own.additional, authoritative=True, limit=limit
            )
        kept = self._cache.get(key_of(query), self._clock())
        if kept is None:
            return None
        reply, age = kept
        self._metrics.hit(reply is None or reply.denial)
        return respond(query, Rcode.SERVFAIL) if reply is None else replies.hand_on(reply, query, age, limit)

    async def after_asking(self, query: Query, limit: int) -> bytes:
        """The answer, when ``at_once`` has none."""
        own = self._own(query, folded(query.name))
        if own is None or own.alias is None:
            reply = await self._ask(query)
            return respond(query, Rcode.SERVFAIL) if reply is None else replies.hand_on(reply, query, 0, limit)
        further = replace(query, name=own.alias, question=wire.question(own.alias, query.type))
        reply = await self._ask(further)
        try:
            found = tuple(replies.answers(reply)) if reply is not None else ()
        except FormatError:
            reply, found = None, ()
        rcode = Rcode.SERVFAIL if reply is None else reply.rcode
        return respond(query, rcode, own.answers + found, authoritative=True, limit=limit)

    def _own(self, query: Query, name: Name) -> _Own | None:
        """What the zone says to a question; None when the name is not its own."""
        first = answer = self._zone.lookup(name, query.type)
        if first is None or answer is None:
            return None
        chain: tuple[Record, ...] = ()
        for _ in range(_LONGEST_CHAIN):
            chain += answer.answers
            if answer.alias is None or query.type == Type.CNAME:
                return _Own(answer.rcode, chain, answer.additional, answer.authority, None)
            following = self._zone.lookup(folded(answer.alias), query.type)
            if following is None:
                return _Own(Rcode.NOERROR, chain, (), (), answer.alias)
            answer = following
        return _Own(Rcode.SERVFAIL, (), (), (), None)

    async def _ask(self, query: Query) -> Reply | None:
        key = key_of(query)
        # Whoever forwards a question back to us waits for its own answer here, instead of going round for ever.
        task = self._asked.get(key)
        if task is None:
            kept = self._cache.get(key, self._clock())
            if kept is not None:
                return kept[0]
            if len(self._asked) >= _MOST_ASKED:
                return None
            self._metrics.misses += 1
            task = asyncio.create_task(self._upstream.ask(query), name=f"dns {wire.text_of(query.name)}")
            self._asked[key] = task
            task.add_done_callback(lambda done: self._asked_for(key, done))
        return await asyncio.shield(task)

    def _asked_for(self, key: Key, done: asyncio.Task[Reply | None]) -> None:
        del self._asked[key]
        if not done.cancelled() and done.exception() is None:
            self._cache.put(key, done.result(), self._clock())
