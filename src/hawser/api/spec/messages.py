"""Protobuf messages of OpenAPI documents: what both versions of them share.

Source: Protocol Buffers, "Encoding"; messages Any and NamedAny of google/gnostic.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from hawser.api.types import Obj
from hawser.wire import varint


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field: a message or a string."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def text(number: int, value: str | None) -> bytes:
    """A string, unless it is empty."""
    return field(number, value.encode()) if value else b""


def texts(number: int, values: Iterable[str]) -> bytes:
    """A repeated string."""
    return b"".join(field(number, value.encode()) for value in values)


def flag(number: int, value: object) -> bytes:
    """A bool, unless it is false."""
    return varint(number << 3) + b"\x01" if value else b""


def named(number: int, pairs: Iterable[tuple[str, bytes]]) -> bytes:
    """Repeated Named... messages: a map as (name, value) pairs."""
    return b"".join(field(number, text(1, name) + field(2, value)) for name, value in pairs)


def anything(value: Any) -> bytes:
    """The value as a message Any: as YAML, of which JSON is a part."""
    return field(2, orjson.dumps(value))


def extensions(number: int, source: Obj) -> bytes:
    """What an object says beside the specification, by names that begin with x-."""
    return named(number, ((key, anything(value)) for key, value in source.items() if key.startswith("x-")))
