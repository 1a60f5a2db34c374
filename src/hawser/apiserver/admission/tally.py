"""What a ResourceQuota has given away: what committed objects count for, and what is being written.

A write takes its part before it is committed, in the same step that checks whether there is enough, and gives it back
should it fail. From its commit on the object itself counts. So two writers never get the same room, however many there
are, and nothing has to be corrected afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import orjson

from hawser.api.kind import Kind
from hawser.api.kinds import RESOURCE_CLAIM
from hawser.api.quantity import Quantity
from hawser.api.quota.names import bounds_extended, concerning
from hawser.api.quota.scopes import matches, selectors
from hawser.api.quota.usage import ALONE, Around, Usage, add, changes_by_itself, is_measured, subtract, usage
from hawser.api.types import Obj
from hawser.store.base import Record, Store


class Tally:
    """What the committed objects of one kind in one namespace count for in one quota."""

    def __init__(self, store: Store, kind: Kind, quota: Obj, around: Around = ALONE) -> None:
        self._store = store
        self._kind = kind
        self._around = around
        self._prefix = f"{kind.group or 'core'}/{kind.plural}/{quota['metadata']['namespace']}/"
        self._names = concerning(kind, quota["spec"].get("hard") or {})
        self._scopes = selectors(quota)
        self._each = is_measured(kind) or bool(self._scopes)
        # Whose count depends on other objects.
        self._moves = kind is RESOURCE_CLAIM and any(map(bounds_extended, self._names))
        self._counted: dict[str, tuple[int, Usage]] = {}
        self._total: Usage = {}
        self._revision = -1

    def used(self, now: datetime) -> Usage:
        """The sum as of the newest commit; only what changed since the last time is looked at."""
        revision = self._store.revision
        if revision == self._revision:
            return self._total
        self._revision = revision
        records = self._store.list(self._prefix)
        if self._each:
            self._recount(records, now)
        else:
            self._total = dict.fromkeys(self._names, Quantity.parse(len(records)))
        return self._total

    def _recount(self, records: list[Record], now: datetime) -> None:
        before, total = self._counted, self._total
        counted: dict[str, tuple[int, Usage]] = {}
        for record in records:
            held = before.pop(record.key, None)
            if held is None or held[0] != record.revision:
                if held is not None:
                    total = subtract(total, held[1])
                obj: Obj = orjson.loads(record.value)
                amount = self.amount(obj, now)
                total = add(total, amount)
                moving = self._moves or changes_by_itself(self._kind, obj)
                if moving:
                    # Something else may change it, or time alone: it is looked at every time.
                    self._revision = -1
                held = (-1 if moving else record.revision, amount)
            counted[record.key] = held
        for _, amount in before.values():
            total = subtract(total, amount)
        self._counted, self._total = counted, total

    def amount(self, obj: Obj, now: datetime) -> Usage:
        """What one object counts for in this quota."""
        if not matches(self._kind, self._scopes, obj):
            return {}
        found = usage(self._kind, obj, now, self._around)
        return {name: found[name] for name in self._names if name in found}


class Ledger:
    """One quota: its tallies, and what was taken by writes that are under way. around: see ``usage``."""

    def __init__(self, store: Store, quota: Obj, around: Around = ALONE) -> None:
        self._around = around
        self.spec = quota["spec"]
        self._quota = quota
        self._store = store
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._taken: list[tuple[Obj, Usage]] = []
        self._under_way: Usage = {}

    @property
    def hard(self) -> Mapping[str, str]:
        """The bounds."""
        found: Mapping[str, str] = self.spec.get("hard") or {}
        return found

    def tally(self, kind: Kind) -> Tally:
        """What objects of a kind count for; made when it is first asked for."""
        key = (kind.group, kind.plural)
        found = self._tallies.get(key)
        if found is None:
            found = self._tallies[key] = Tally(self._store, kind, self._quota, self._around)
        return found

    def used(self, kind: Kind, now: datetime) -> Usage:
        """What is committed and what is under way, of the names that concern a kind."""
        self._settle()
        return add(self.tally(kind).used(now), self._under_way)

    def take(self, obj: Obj, amount: Usage) -> Callable[[], None]:
        """Count an object that is about to be written; returns how to give it back."""
        taken = (obj, amount)
        self._taken.append(taken)
        self._under_way = add(self._under_way, amount)

        def give_back() -> None:
            if any(one is taken for one in self._taken):
                self._taken = [one for one in self._taken if one is not taken]
                self._under_way = subtract(self._under_way, amount)

        return give_back

    def inherit(self, before: Ledger) -> None:
        """The quota was changed while writes are under way: what they took of what is still bounded is taken."""
        for obj, amount in before._taken:
            self.take(obj, {name: value for name, value in amount.items() if name in self.hard})

    def _settle(self) -> None:
        """What has been committed is counted by the tallies."""
        if not self._taken:
            return
        newest = self._store.revision
        left: list[tuple[Obj, Usage]] = []
        for taken in self._taken:
            obj, amount = taken
            revision = obj["metadata"].get("resourceVersion")
            if revision and int(revision) <= newest:
                self._under_way = subtract(self._under_way, amount)
            else:
                # The very same one: whoever gives it back looks for it.
                left.append(taken)
        if len(left) != len(self._taken):
            self._taken = left
