"""Answers of other servers, kept for as long as they may be. Bounded; the ones that were not used longest go first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from hawser.node.dns.replies import Reply
from hawser.node.dns.wire import Name, Query, Rcode, folded

Key = tuple[Name, int, int, bool, bool, bool]

LONGEST = 30
"""Seconds that anything is kept, at most: as kubeadm sets CoreDNS up."""
FAILURE = 5
"""Seconds that a failure is kept."""


def key_of(query: Query) -> Key:
    """What tells questions apart: case does not; whether a client speaks EDNS does, as its answers differ."""
    edns = query.edns
    return (
        folded(query.name),
        query.type,
        query.dns_class,
        query.checking_disabled,
        edns is not None,
        edns is not None and edns.do,
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    reply: Reply | None
    since: float
    until: float


class Cache:
    """size: how many answers are kept; bytes: how much they may hold together."""

    def __init__(self, size: int = 2000, volume: int = 1 << 20) -> None:
        self._size = size
        self._volume = volume
        self._held = 0
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key, now: float) -> tuple[Reply | None, int] | None:
        """The kept answer (None: that there was none) and its age in seconds; None when nothing is kept."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if now >= kept.until:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return kept.reply, int(now - kept.since)

    def put(self, key: Key, reply: Reply | None, now: float) -> None:
        """Keep an answer, or that there was none."""
        seconds = FAILURE if reply is None or reply.rcode == Rcode.SERVFAIL else min(reply.lifetime or 0, LONGEST)
        if not seconds:
            return
        self._drop(key)
        self._kept[key] = _Kept(reply, now, now + seconds)
        self._held += _bytes(reply)
        while len(self._kept) > self._size or self._held > self._volume:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._held -= _bytes(kept.reply)


def _bytes(reply: Reply | None) -> int:
    return len(reply.data) if reply is not None else 0
