"""The committed state in memory: records by key, and the keys of each collection in order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence

from hawser.store.base import Record

REBUILD_SHARE = 64
"""When more than one key in so many is new or gone, going over the whole list is cheaper than single steps."""


def collection_of(key: str) -> str:
    """``<group>/<plural>/`` of a key or of a prefix that is at least as long.

    Raises ValueError for a key without a collection.
    """
    # Quicker than to look for the second "/": every write and read comes here.
    parts = key.split("/", 2)
    if len(parts) < 3 or not parts[0]:
        raise ValueError(f"store key {key!r} does not start with <group>/<plural>/")
    return f"{parts[0]}/{parts[1]}/"


class Collection:
    """Records of one resource. The key order is brought up to date when somebody asks for it."""

    __slots__ = ("_added", "_keys", "_removed", "records")

    def __init__(self, records: dict[str, Record]) -> None:
        self.records = records
        self._keys = sorted(records)
        self._added: set[str] = set()
        self._removed: set[str] = set()

    def put(self, record: Record) -> None:
        key = record.key
        if key not in self.records:
            if key in self._removed:
                self._removed.remove(key)
            else:
                self._added.add(key)
        self.records[key] = record

    def remove(self, key: str) -> None:
        if self.records.pop(key, None) is None:
            return
        if key in self._added:
            self._added.remove(key)
        else:
            self._removed.add(key)

    def keys(self) -> list[str]:
        """All keys in order (the collection's own list: not to be changed)."""
        keys = self._keys
        if self._removed:
            if len(self._removed) * REBUILD_SHARE > len(keys):
                keys = self._keys = [key for key in keys if key not in self._removed]
            else:
                for key in self._removed:
                    del keys[bisect_left(keys, key)]
            self._removed.clear()
        if self._added:
            if len(self._added) * REBUILD_SHARE > len(keys):
                keys += self._added
                keys.sort()
            else:
                for key in self._added:
                    insort(keys, key)
            self._added.clear()
        return keys

    def span(self, prefix: str, after: str) -> tuple[int, int]:
        """Where the keys under prefix and greater than after begin and end in ``keys()``."""
        keys = self.keys()
        first = bisect_left(keys, prefix)
        if after >= prefix:
            first = max(first, bisect_right(keys, after))
        # "0" is the character after "/": the first string that is greater than all keys under the prefix.
        return first, max(first, bisect_left(keys, prefix[:-1] + "0"))


class Memory:
    """All committed records, which are those of state (by key) to begin with."""

    __slots__ = ("_collections",)

    def __init__(self, state: Mapping[str, Record]) -> None:
        self._collections: dict[str, Collection] = {}
        parts: dict[str, dict[str, Record]] = {}
        for key, record in state.items():
            name = collection_of(key)
            if name not in parts:
                parts[name] = {}
            parts[name][key] = record
        for name, records in parts.items():
            self._collections[name] = Collection(records)

    def get(self, key: str) -> Record | None:
        collection = self._collections.get(collection_of(key))
        return collection.records.get(key) if collection is not None else None

    def put(self, record: Record) -> None:
        name = collection_of(record.key)
        collection = self._collections.get(name)
        if collection is None:
            collection = self._collections[name] = Collection({})
        collection.put(record)

    def remove(self, key: str) -> None:
        name = collection_of(key)
        collection = self._collections.get(name)
        if collection is not None:
            collection.remove(key)
            if not collection.records:
                del self._collections[name]

    def list(self, prefix: str, after: str = "", limit: int = 0) -> list[Record]:
        """See ``Store.list``."""
        if prefix and prefix not in self._collections and prefix.count("/") == 2 and prefix[-1] == "/":
            # What nobody uses is asked for with every write.
            return []
        found: list[Record] = []
        for name in self._names(prefix):
            collection = self._collections[name]
            first, end = collection.span(max(prefix, name), after)
            if limit:
                end = min(end, first + limit - len(found))
            found += map(collection.records.__getitem__, collection.keys()[first:end])
            if limit and len(found) == limit:
                break
        return found

    def count(self, prefix: str) -> int:
        """See ``Store.count``."""
        total = 0
        for name in self._names(prefix):
            if len(prefix) <= len(name):
                total += len(self._collections[name].records)
            else:
                first, end = self._collections[name].span(prefix, "")
                total += end - first
        return total

    def _names(self, prefix: str) -> Sequence[str]:
        """The collections that have keys under a prefix, in key order."""
        check_prefix(prefix)
        if prefix.count("/") >= 2:
            name = collection_of(prefix)
            return [name] if name in self._collections else []
        return sorted(name for name in self._collections if name.startswith(prefix))


def check_prefix(prefix: str) -> None:
    """Raises ValueError unless a prefix is empty (everything) or ends in "/"."""
    if prefix and not prefix.endswith("/"):
        raise ValueError(f"store prefix {prefix!r} does not end in '/'")
