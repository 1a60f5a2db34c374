"""Other shapes of stored objects: tables and bare metadata, for single objects, lists and watch events.

Source: API concepts, "Receiving resources as Tables" and "Fetching only metadata"; metav1.Table and
metav1.PartialObjectMetadata of the API reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import orjson

from hawser.api import tables
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.apiserver.negotiation import As, Form, encode_yaml

_META = tables.META_VERSION


def one(kind: Kind, value: bytes, form: Form, include: str, now: datetime) -> bytes:
    """A single object in a form. include: the table's includeObject (None, Metadata or Object)."""
    if form.plain:
        return value
    if form.shape is As.TABLE:
        version = orjson.loads(value)["metadata"].get("resourceVersion", "")
        value = table(kind, [value], {"resourceVersion": version}, include, now)
    elif form.shape is As.METADATA:
        value = orjson.dumps(tables.partial_object(orjson.loads(value)))
    return encode_yaml(value) if form.yaml else value


def many(kind: Kind, values: Sequence[bytes], metadata: Obj, form: Form, include: str, now: datetime) -> bytes:
    """A list in a form; the plain one is joined, never decoded."""
    if form.shape is As.TABLE:
        body = table(kind, values, metadata, include, now)
    elif form.shape in (As.METADATA, As.METADATA_LIST):
        items = [tables.partial_object(orjson.loads(value)) for value in values]
        body = orjson.dumps(
            {"kind": "PartialObjectMetadataList", "apiVersion": _META, "metadata": metadata, "items": items}
        )
    else:
        head = b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":[' % (
            kind.list_kind.encode(),
            kind.api_version.encode(),
            orjson.dumps(metadata),
        )
        body = b"".join((head, b",".join(values), b"]}"))
    return encode_yaml(body) if form.yaml else body


def table(
    kind: Kind, values: Sequence[bytes], metadata: Obj, include: str, now: datetime, *, columns: bool = True
) -> bytes:
    """A metav1.Table with a row for each object. columns: a watch shows them in its first event only."""
    objs = (orjson.loads(value) for value in values)
    return orjson.dumps(tables.table(kind, objs, metadata, include, now=now, headers=columns))
