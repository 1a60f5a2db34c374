"""Whole answers in Kubernetes' protobuf encoding: objects, lists and the frames of watches.

Source: API concepts, "Kubernetes Protobuf encoding" (magic number and runtime.Unknown). A watch with this encoding is a
sequence of metav1.WatchEvent messages, each after its length in four bytes, big endian; the object in an event has
magic number and envelope again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache

import orjson

from hawser.api.types import Obj
from hawser.apiserver.protobuf.encode import encoder, field
from hawser.apiserver.protobuf.table import META, message_of
from hawser.wire import varint

MAGIC = b"k8s\x00"


@lru_cache(maxsize=512)
def _head(api_version: str, kind: str) -> bytes:
    """Magic number and type of an envelope."""
    return MAGIC + field(1, field(1, api_version.encode()) + field(2, kind.encode()))


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    """The whole form of a message: what it is, and its bytes."""
    return b"".join((_head(api_version, kind), b"\x12", varint(len(raw)), raw, b"\x1a\x00\x22\x00"))


def document(obj: Obj) -> bytes | None:
    """An object with apiVersion and kind as a whole answer, or None when it has no protobuf form."""
    api_version, kind = obj.get("apiVersion", ""), obj.get("kind", "")
    message = message_of(api_version, kind)
    return envelope(api_version, kind, encoder(message)(obj)) if message is not None else None


def raw(message: str, value: bytes) -> bytes:
    """The message bytes of an encoded JSON object."""
    return encoder(message)(orjson.loads(value))


def metadata(obj: Obj) -> bytes:
    """The message of an object's PartialObjectMetadata."""
    return field(1, encoder(META + "ObjectMeta")(obj.get("metadata") or {}))


def many(api_version: str, kind: str, list_meta: Obj, items: Iterable[bytes]) -> bytes:
    """A list as a whole answer: every Kubernetes list has its metadata in field 1 and its items in field 2."""
    parts = [field(1, encoder(META + "ListMeta")(list_meta))]
    for item in items:
        parts += (b"\x12", varint(len(item)), item)
    return envelope(api_version, kind, b"".join(parts))


def event(kind: str, obj: bytes) -> bytes:
    """One frame of a watch. kind: ADDED and so on. obj: the object's whole form."""
    body = field(1, kind.encode()) + field(2, field(1, obj))
    return struct.pack(">I", len(body)) + body
