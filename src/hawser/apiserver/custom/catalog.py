"""The CustomResourceDefinitions that are committed, and what they make this server serve.

Everything here happens at once, on the event loop: between two requests a definition is served as a whole or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from hawser.api import kinds
from hawser.api.apply import types
from hawser.api.crd import kinds as rows
from hawser.api.crd import names
from hawser.api.crd.kinds import CustomKind
from hawser.api.status import is_true
from hawser.api.types import Obj
from hawser.apiserver.custom.resource import CustomResource


@dataclass(slots=True)
class _Entry:
    """One definition: the object, what of it makes a difference, and a Resource for each served version."""

    crd: Obj
    key: Any = None
    served: dict[CustomKind, CustomResource] = field(default_factory=dict)


class Catalog:
    """Made empty; whoever owns the store tells it of every committed definition."""

    def __init__(self, make: Callable[[CustomKind], CustomResource]) -> None:
        """make: a CustomResource of a row."""
        self._make = make
        self._entries: dict[str, _Entry] = {}
        self._resources: dict[CustomKind, CustomResource] = {}
        self._typed: dict[tuple[str, str, str], Obj] = {}

    def __getitem__(self, kind: CustomKind) -> CustomResource:
        return self._resources[kind]

    def definitions(self) -> list[Obj]:
        """Every definition, read-only."""
        return [entry.crd for entry in self._entries.values()]

    def get(self, name: str) -> Obj | None:
        """A definition by name, read-only."""
        entry = self._entries.get(name)
        return entry.crd if entry is not None else None

    def status(self, crd: Obj, now: str) -> Obj:
        """The status that a definition should have, by the names that others of its group have."""
        group = crd["spec"]["group"]
        name = crd["metadata"]["name"]
        others = [
            entry.crd for other, entry in self._entries.items() if other != name and entry.crd["spec"]["group"] == group
        ]
        return names.accept(crd, others, now)

    def keep(self, crds: Iterable[Obj]) -> None:
        """Take over definitions as they are now committed, and serve them."""
        changed = False
        for crd in crds:
            changed |= self._keep(crd)
        if changed:
            self._publish()

    def forget(self, name: str) -> None:
        """A definition is gone: nothing of it is served any more."""
        entry = self._entries.pop(name, None)
        if entry is not None:
            _end(entry)
            self._publish()

    def storage(self, crd: Obj) -> CustomResource:
        """The objects of a definition in the version they are kept in, whether or not that is served."""
        return self._make(rows.storage_row(crd))

    def _keep(self, crd: Obj) -> bool:
        entry = self._entries.setdefault(crd["metadata"]["name"], _Entry(crd))
        entry.crd = crd
        status = crd.get("status") or {}
        key = orjson.dumps(
            (
                crd["spec"],
                status.get("acceptedNames"),
                is_true(crd, rows.ESTABLISHED),
                "deletionTimestamp" in crd["metadata"],
            )
        )
        if key == entry.key:
            return False
        _end(entry)
        entry.key = key
        entry.served = {row: self._make(row) for row in rows.rows(crd)}
        for resource in entry.served.values():
            # What readers derived from the objects by the old schemas is stale, in every version.
            for record in resource.store.list(resource.prefix):
                record.index = None
            break
        return True

    def _publish(self) -> None:
        self._resources = {row: made for entry in self._entries.values() for row, made in entry.served.items()}
        kinds.serve_custom(self._resources)
        typed = {row.gvk: row.model.source["schema"]["openAPIV3Schema"] for row in self._resources}
        for gvk in self._typed.keys() - typed.keys():
            types.provide(gvk, None)
        for gvk, schema in typed.items():
            if self._typed.get(gvk) is not schema:
                types.provide(gvk, {**schema, "properties": schema.get("properties") or {}})
        self._typed = typed


def _end(entry: _Entry) -> None:
    """Clients of a definition that changed watch anew."""
    for resource in entry.served.values():
        for watch in list(resource.watches):
            watch.close()
