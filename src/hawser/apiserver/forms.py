"""Other forms of stored objects: tables, bare metadata, YAML and protobuf; single objects, lists and watch events.

Source: API concepts, "Receiving resources as Tables", "Fetching only metadata" and "Alternate representations of
resources"; metav1.Table and metav1.PartialObjectMetadata of the API reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import orjson

from hawser.api import tables
from hawser.api.encoding import dumps
from hawser.api.errors import APIError, not_acceptable
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.apiserver import index, negotiation
from hawser.apiserver.negotiation import As, Form, Media
from hawser.apiserver.registry import Resource
from hawser.apiserver.scheme import go_type
from hawser.store.base import Record


def one(kind: Kind, value: bytes, form: Form, include: str, now: datetime) -> bytes:
    """A single object in a form. include: the table's includeObject (None, Metadata or Object). APIError 406."""
    if form.plain:
        return value
    if form.shape is As.METADATA_LIST:
        raise not_acceptable(
            f"you requested PartialObjectMetadataList, but the requested object is not a list (*{go_type(kind)})"
        )
    if form.media is Media.PROTOBUF:
        return _protobuf(kind, value, form)
    if form.shape is As.TABLE:
        version = orjson.loads(value)["metadata"].get("resourceVersion", "")
        value = table(kind, [value], {"resourceVersion": version}, form, include, now)
    elif form.shape is As.METADATA:
        value = dumps({**tables.partial_object(orjson.loads(value)), "apiVersion": form.meta})
    return text(value, form)


def listed(
    resource: Resource, records: Sequence[Record], metadata: Obj, form: Form, include: str, now: datetime
) -> bytes:
    """Stored objects as a list in a form; each object's protobuf form is kept beside it. APIError 406."""
    kind = resource.kind
    if form.media is not Media.PROTOBUF:
        return many(kind, resource.values(records), metadata, form, include, now)
    if form.shape is As.OBJECT:
        return _list(kind, (message(resource, record) for record in records), metadata)
    return _metadata_list(kind, (_metadata(resource, record) for record in records), metadata, form)


def many(kind: Kind, values: Sequence[bytes], metadata: Obj, form: Form, include: str, now: datetime) -> bytes:
    """A list in a form; the plain one is joined, never decoded. APIError 406."""
    if form.media is Media.PROTOBUF:
        from hawser.apiserver.protobuf import frames

        if form.shape is As.OBJECT:
            return _list(kind, (frames.raw(_message(kind), value) for value in values), metadata)
        return _metadata_list(kind, (frames.metadata(orjson.loads(value)) for value in values), metadata, form)
    if form.shape is As.TABLE:
        body = table(kind, values, metadata, form, include, now)
    elif form.shape is not As.OBJECT:
        _check_list(kind, form)
        items = [{**tables.partial_object(orjson.loads(value)), "apiVersion": form.meta} for value in values]
        body = dumps({"kind": str(As.METADATA_LIST), "apiVersion": form.meta, "metadata": metadata, "items": items})
    else:
        head = b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":[' % (
            kind.list_kind.encode(),
            kind.api_version.encode(),
            dumps(metadata),
        )
        body = b"".join((head, b",".join(values), b"]}"))
    return body if form.plain else text(body, form)


def table(
    kind: Kind,
    values: Sequence[bytes],
    metadata: Obj,
    form: Form,
    include: str,
    now: datetime,
    *,
    columns: bool = True,
) -> bytes:
    """A metav1.Table with a row for each object. columns: a watch shows them in its first event only."""
    objs = (orjson.loads(value) for value in values)
    made = tables.table(kind, objs, metadata, include, now=now, headers=columns)
    return dumps({**made, "apiVersion": form.meta})


def text(value: bytes, form: Form) -> bytes:
    """JSON bytes as the form's YAML or JSON."""
    if form.media is Media.YAML:
        return negotiation.encode_yaml(value)
    return negotiation.encode_pretty(value) if form.pretty else value


def document(value: bytes, media: Media) -> bytes | None:
    """Any other JSON object that says its kind in another encoding; None when it has no protobuf form."""
    if media is Media.YAML:
        return negotiation.encode_yaml(value)
    from hawser.apiserver.protobuf import frames

    obj = orjson.loads(value)
    return frames.document(obj) if isinstance(obj, dict) else None


def event(resource: Resource, kind: str, record: Record, form: Form) -> bytes:
    """A watch event in protobuf, with the whole object or its metadata. kind: ADDED and so on."""
    from hawser.apiserver.protobuf import frames

    row = resource.kind
    if form.shape is As.OBJECT:
        return frames.event(kind, frames.envelope(row.api_version, row.kind, message(resource, record)))
    return frames.event(kind, frames.envelope(form.meta, As.METADATA, _metadata(resource, record)))


def message(resource: Resource, record: Record) -> bytes:
    """The protobuf message of a stored object, made once for all who ask."""
    from hawser.apiserver.protobuf import frames

    kind = resource.kind
    if not resource.as_stored:
        return frames.raw(_message(kind), resource.show(record))
    found = index.of(kind, record)
    if found.message is None:
        found.message = frames.raw(_message(kind), record.value)
    return found.message


def _metadata(resource: Resource, record: Record) -> bytes:
    """The message of a stored object's PartialObjectMetadata."""
    from hawser.apiserver.protobuf import frames

    return frames.metadata(orjson.loads(resource.show(record)))


def _protobuf(kind: Kind, value: bytes, form: Form) -> bytes:
    from hawser.apiserver.protobuf import frames

    if form.shape is As.OBJECT:
        return frames.envelope(kind.api_version, kind.kind, frames.raw(_message(kind), value))
    return frames.envelope(form.meta, As.METADATA, frames.metadata(orjson.loads(value)))


def _list(kind: Kind, items: Iterable[bytes], metadata: Obj) -> bytes:
    from hawser.apiserver.protobuf import frames

    return frames.many(kind.api_version, kind.list_kind, metadata, items)


def _metadata_list(kind: Kind, items: Iterable[bytes], metadata: Obj, form: Form) -> bytes:
    from hawser.apiserver.protobuf import frames

    _check_list(kind, form)
    return frames.many(form.meta, As.METADATA_LIST, metadata, items)


def _message(kind: Kind) -> str:
    """The protobuf message of a kind. APIError 406 when it has none."""
    from hawser.apiserver.protobuf.table import message_of

    name = message_of(kind.api_version, kind.kind)
    if name is None:
        raise APIError(
            406,
            "NotAcceptable",
            f"object *{go_type(kind)} does not implement the protobuf marshalling interface and cannot be encoded to a "
            "protobuf message",
        )
    return name


def _check_list(kind: Kind, form: Form) -> None:
    if form.shape is As.METADATA:
        raise not_acceptable(
            f"you requested PartialObjectMetadata, but the requested object is a list (*{go_type(kind, 'List')})"
        )
