"""ComponentStatuses: computed when they are asked for, never stored.

Source: API reference, ComponentStatus (deprecated). The server tells of its own store, which it knows; controllers and
scheduler are processes whose health it is not told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from hawser.api.encoding import dumps
from hawser.api.kinds import COMPONENT_STATUS
from hawser.apiserver.registry import Resource
from hawser.apiserver.strategies.base import Lookup, Strategy
from hawser.store.base import Record, Store

# The name that clients know the store by.
_STORE = "etcd-0"


class _Statuses:
    """As much of a Store as reads need."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def revision(self) -> int:
        return self._store.revision

    def get(self, key: str) -> Record | None:
        return next((record for record in self._records() if record.key == key), None)

    def list(self, prefix: str, after: str = "", limit: int = 0, revision: int = 0) -> Sequence[Record]:
        found = [record for record in self._records() if record.key.startswith(prefix) and record.key > after]
        return found[:limit] if limit else found

    def count(self, prefix: str) -> int:
        return len(self.list(prefix))

    def _records(self) -> Sequence[Record]:
        good = self._store.writable
        condition = {"type": "Healthy", "status": "True" if good else "False", "message": "ok" if good else ""}
        if not good:
            condition["error"] = "the last commit was not kept"
        status = {
            "kind": COMPONENT_STATUS.kind,
            "apiVersion": COMPONENT_STATUS.api_version,
            "metadata": {"name": _STORE, "creationTimestamp": None},
            "conditions": [condition],
        }
        return [Record(f"core/{COMPONENT_STATUS.plural}/{_STORE}", dumps(status), 0, 0)]


def resource(lookup: Lookup, store: Store) -> Resource:
    """The Resource of ComponentStatuses, for reading only."""
    return Resource(COMPONENT_STATUS, Strategy(COMPONENT_STATUS, lookup), cast(Store, _Statuses(store)), _refuse)


def _refuse(*_: object) -> None:
    """Nothing is ever created; the verbs of the kind say so before."""
