"""Resources that are another form of a kind: kept in one version, shown in two.

Source: API concepts, "API versioning" (all versions of a resource are the same objects).
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from hawser.api import conversion
from hawser.api.defaults import apply_defaults
from hawser.api.encoding import dumps
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.apiserver.registry import Resource
from hawser.store.base import Record


class FormResource(Resource):
    """The objects of a row with ``form_of``, under the keys of that row."""

    as_stored = False

    def adopt(self, kept: Resource) -> None:
        """Share the keys and the watches of the resource that keeps the objects."""
        self.prefix = kept.prefix
        self.watches = kept.watches
        self.bare = kept.bare

    def load(self, record: Record) -> Obj:
        """The object in this form."""
        return conversion.shown(self.kind, orjson.loads(record.value))

    def encode(self, obj: Obj) -> bytes:
        """The object in the form that it is kept in."""
        kept = conversion.kept(self.kind, obj)
        if (row := self.kind.form_of) is not None:
            apply_defaults(row, kept)
        return dumps(kept)

    def show(self, record: Record) -> bytes:
        """The bytes of the object in this form."""
        return dumps(self.load(record))

    def values(self, records: Iterable[Record]) -> list[bytes]:
        """The bytes of each, in this form."""
        return [self.show(record) for record in records]


def resource(kind: Kind) -> type[Resource]:
    """The class of a row's Resource."""
    return Resource if kind.form_of is None else FormResource
