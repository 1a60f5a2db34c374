"""The field table: which number, type and shape a field of a Kubernetes protobuf message has.

``fields.json`` is data (see ``generate.py``); messages are called as Kubernetes' published definitions are.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import orjson

from hawser.api.definitions import definition_name, resolve

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
RUNTIME = "io.k8s.apimachinery.pkg.runtime."
EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
INTEGERS = ("int32", "int64", "uint32", "uint64", "bool")

_META_KINDS = frozenset({"PartialObjectMetadata", "PartialObjectMetadataList"})


class Field(NamedTuple):
    """One field of a message.

    name: in JSON. type: a scalar's or a message's name. shape: "" for one value, "*" where zero is a value, "[]", "{}"
    for maps with text keys, "." when the message's fields are inlined in JSON. required: JSON shows it even when zero.
    """

    name: str
    type: str
    shape: str
    required: bool


@lru_cache(maxsize=1)
def _rows() -> dict[str, dict[str, list[str]]]:
    rows: dict[str, dict[str, list[str]]] = orjson.loads((Path(__file__).parent / "fields.json").read_bytes())
    return rows


@cache
def fields(message: str) -> dict[int, Field]:
    """The fields of a message by number. Raises KeyError when there is no such message."""
    rows = _rows()[message]
    try:
        required = frozenset(resolve(message).get("required", ()))
    except KeyError:
        required = frozenset()
    return {int(n): Field(name, kind, shape, name in required) for n, (name, kind, shape) in rows.items()}


@lru_cache(maxsize=256)
def message_of(api_version: str, kind: str) -> str | None:
    """The message of objects with these words in them, or None when they have no protobuf form."""
    group, _, version = api_version.rpartition("/")
    if group == "meta.k8s.io" and kind in _META_KINDS:
        return META + kind
    try:
        name = definition_name((group, version, kind))
    except KeyError:
        return None
    return name if name in _rows() else None
