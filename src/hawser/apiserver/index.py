"""What reads need of an object without decoding it: labels and selectable fields, kept beside the stored bytes."""

from __future__ import annotations

import orjson

from hawser.api import conversion
from hawser.api.crd.kinds import CustomKind
from hawser.api.encoding import dumps
from hawser.api.field_selectors import field_value
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.store.base import Record

_NO_LABELS: dict[str, str] = {}


class Index:
    """Labels and selectable fields of one stored object, and its protobuf form once somebody has asked for it.

    metadata: the metadata as JSON, from the write until a watch of bare metadata has taken it.
    """

    __slots__ = ("fields", "labels", "message", "metadata")

    def __init__(self, labels: dict[str, str], fields: dict[str, str]) -> None:
        self.labels = labels
        self.fields = fields
        self.message: bytes | None = None
        self.metadata: bytes | None = None

    def field(self, path: str) -> str:
        """The value of a field path, as field selectors ask for it."""
        return self.fields.get(path, "")


class CustomIndex(Index):
    """Of a custom resource: fields that any of its versions selects by, and its bytes in each version once made."""

    __slots__ = ("shown",)

    def __init__(self, kind: CustomKind, obj: Obj) -> None:
        metadata = obj["metadata"]
        fields = {path: field_value(obj, path) for path in kind.model.indexed}
        fields["metadata.name"] = metadata["name"]
        if kind.namespaced:
            fields["metadata.namespace"] = metadata["namespace"]
        super().__init__(metadata.get("labels") or _NO_LABELS, fields)
        self.shown: dict[str, bytes] = {}


def written(kind: Kind, obj: Obj, bare: bool) -> Index:
    """The index of an object that is about to be stored. bare: somebody watches the metadata of such objects."""
    made = make(kind, obj)
    if bare:
        # Not to be taken out of the stored bytes again, which costs three times as much.
        made.metadata = dumps(obj["metadata"])
    return made


def take_metadata(record: Record) -> bytes | None:
    """The metadata that a write left for a watch, once; None when it left none."""
    found = record.index
    if not isinstance(found, Index):
        return None
    metadata, found.metadata = found.metadata, None
    return metadata


def make(kind: Kind, obj: Obj) -> Index:
    """The index of an object."""
    if type(kind) is CustomKind:
        return CustomIndex(kind, obj)
    if kind.form_of is not None:
        obj, kind = conversion.kept(kind, obj), kind.form_of
    metadata = obj["metadata"]
    fields = {"metadata.name": metadata["name"]}
    if kind.namespaced:
        fields["metadata.namespace"] = metadata["namespace"]
    for path in kind.selectable:
        fields[path] = field_value(obj, path)
    return Index(metadata.get("labels") or _NO_LABELS, fields)


def of(kind: Kind, record: Record) -> Index:
    """A record's index; made from its bytes when the record was read from disk."""
    index = record.index
    if not isinstance(index, Index):
        index = make(kind, orjson.loads(record.value))
        record.index = index
    return index
