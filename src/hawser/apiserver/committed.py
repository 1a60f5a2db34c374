"""Committed objects, decoded once: what admission asks of quotas, limit ranges and classes on every write.

Asking for what does not exist costs a look into a dict: there is no collection of that kind, or none in the namespace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson

from hawser.api.kind import Kind
from hawser.api.types import Obj
from hawser.apiserver import index
from hawser.store.base import Record, Store

_NONE: tuple[Obj, ...] = ()
_MOST = 4096


class Presence:
    """Whether there are objects of a kind at all: writes ask for what most clusters have none of. there: the answer."""

    __slots__ = ("there",)

    def __init__(self, store: Store, kind: Kind) -> None:
        prefix = f"{kind.group or 'core'}/{kind.plural}/"

        def look(events: object = None) -> None:
            self.there = store.count(prefix) > 0

        store.follow(prefix, look)
        look()


class Committed:
    """Objects of a store, as of the last commit. They are shared: nobody may change them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._decoded: dict[str, tuple[int, Obj]] = {}

    def every(self, kind: Kind, namespace: str = "") -> tuple[Obj, ...] | list[Obj]:
        """All objects of a kind (in a namespace), by name."""
        prefix = f"{kind.group or 'core'}/{kind.plural}/"
        records = self.store.list(f"{prefix}{namespace}/" if namespace else prefix)
        return [self._object(record) for record in records] if records else _NONE

    def once(self, kind: Kind, namespace: str) -> Iterator[Obj]:
        """The same of a kind that is seldom asked for: nothing is kept."""
        for record in self.store.list(f"{kind.group or 'core'}/{kind.plural}/{namespace}/"):
            yield orjson.loads(record.value)

    def get(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        """One object, or None."""
        prefix = f"{kind.group or 'core'}/{kind.plural}/"
        record = self.store.get(f"{prefix}{namespace}/{name}" if namespace else prefix + name)
        return self._object(record) if record is not None else None

    def labels(self, kind: Kind, name: str) -> Mapping[str, str]:
        """The labels of a cluster-scoped object; none when there is no such object."""
        record = self.store.get(f"{kind.group or 'core'}/{kind.plural}/{name}")
        return index.of(kind, record).labels if record is not None else {}

    def _object(self, record: Record) -> Obj:
        found = self._decoded.get(record.key)
        if found is not None and found[0] == record.revision:
            return found[1]
        obj: Obj = orjson.loads(record.value)
        if len(self._decoded) >= _MOST:
            self._forget()
        self._decoded[record.key] = (record.revision, obj)
        return obj

    def _forget(self) -> None:
        """Drop what is stored no longer; when that is not much, everything."""
        left = dict(self._live())
        self._decoded = left if len(left) < _MOST // 2 else {}

    def _live(self) -> Iterator[tuple[str, tuple[int, Obj]]]:
        for key, held in self._decoded.items():
            record = self.store.get(key)
            if record is not None and record.revision == held[0]:
                yield key, held
