"""Message classes of a gRPC API from a table of field numbers, made at import: no generated code.

A table (see tools/cri_fields.py) has ``package``, ``enums``, ``messages`` and ``services``. CRI's own table is
``fields.json``; the small ones of containerd's event service and of gRPC's health check are written here.
Source of their numbers: containerd api/services/events/v1, api/events/task.proto; grpc/health/v1/health.proto.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_SCALARS = {
    "double": 1,
    "float": 2,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "uint32": 13,
}
_MESSAGE, _ENUM = 11, 14
_OPTIONAL, _REPEATED = 1, 3

Table = Mapping[str, Any]

_TIMESTAMP = {"seconds": [1, "int64"], "nanos": [2, "int32"]}
EVENTS_TABLE: Table = {
    "package": "containerd.services.events.v1",
    "enums": {},
    "messages": {
        "SubscribeRequest": {"filters": [1, "repeated string"]},
        "Timestamp": _TIMESTAMP,
        "Any": {"type_url": [1, "string"], "value": [2, "bytes"]},
        "Envelope": {
            "timestamp": [1, "Timestamp"],
            "namespace": [2, "string"],
            "topic": [3, "string"],
            "event": [4, "Any"],
        },
        "TaskExit": {
            "container_id": [1, "string"],
            "id": [2, "string"],
            "pid": [3, "uint32"],
            "exit_status": [4, "uint32"],
            "exited_at": [5, "Timestamp"],
        },
    },
    "services": {"Events": {"Subscribe": ["SubscribeRequest", "stream Envelope"]}},
}
HEALTH_TABLE: Table = {
    "package": "grpc.health.v1",
    "enums": {"ServingStatus": {"UNKNOWN": 0, "SERVING": 1, "NOT_SERVING": 2, "SERVICE_UNKNOWN": 3}},
    "messages": {
        "HealthCheckRequest": {"service": [1, "string"]},
        "HealthCheckResponse": {"status": [1, "ServingStatus"]},
    },
    "services": {"Health": {"Check": ["HealthCheckRequest", "HealthCheckResponse"]}},
}


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC: its path, and the classes of its request and (each) response."""

    path: str
    request: Any
    response: Any
    streams: bool


class Schema:
    """The message classes and methods of one table."""

    def __init__(self, table: Table) -> None:
        self._package: str = table["package"]
        self._pool = descriptor_pool.DescriptorPool()
        self._pool.Add(_file(table))
        self._methods: Mapping[str, Mapping[str, list[str]]] = table["services"]
        self._made: dict[tuple[str, str], Method] = {}

    def message(self, name: str) -> Any:
        """The class of a message. Raises KeyError for a name that the table lacks."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"{self._package}.{name}"))

    def method(self, service: str, name: str) -> Method:
        """One RPC of a service. Raises KeyError for a name that the table lacks."""
        known = self._made.get((service, name))
        if known is None:
            request, response = self._methods[service][name]
            streams = response.startswith("stream ")
            known = Method(
                f"/{self._package}.{service}/{name}",
                self.message(request),
                self.message(response.removeprefix("stream ")),
                streams,
            )
            self._made[(service, name)] = known
        return known


@cache
def cri() -> Schema:
    """CRI runtime.v1."""
    return Schema(json.loads((Path(__file__).parent / "fields.json").read_text()))


@cache
def events() -> Schema:
    """containerd's event service."""
    return Schema(EVENTS_TABLE)


@cache
def health() -> Schema:
    """gRPC's health checking protocol."""
    return Schema(HEALTH_TABLE)


def _file(table: Table) -> Any:
    package = table["package"]
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    messages = {name: file.message_type.add(name=name) for name in table["messages"]}
    enums = set(table["enums"])
    for full_name, values in table["enums"].items():
        outer, _, name = full_name.rpartition(".")
        enum = (messages[outer] if outer else file).enum_type.add(name=name)
        for value, number in values.items():
            # Values are siblings of their enum, and CRI's enums are few: a prefix keeps equal names apart.
            enum.value.add(name=f"{full_name.replace('.', '_')}_{value}", number=number)
    for name, fields in table["messages"].items():
        for field, (number, kind) in fields.items():
            _add_field(package, messages[name], name, field, number, kind, enums)
    return file


def _add_field(
    package: str, message: Any, message_name: str, field: str, number: int, kind: str, enums: set[str]
) -> None:
    label = _REPEATED if kind.startswith(("repeated ", "map<")) else _OPTIONAL
    added = message.field.add(name=field, number=number, label=label)
    if kind.startswith("map<"):
        key, value = kind[4:-1].replace(" ", "").split(",")
        entry_name = "".join(part.title() for part in field.split("_")) + "Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        _set_type(package, entry.field.add(name="key", number=1, label=_OPTIONAL), key, enums)
        _set_type(package, entry.field.add(name="value", number=2, label=_OPTIONAL), value, enums)
        added.type, added.type_name = _MESSAGE, f".{package}.{message_name}.{entry_name}"
        return
    _set_type(package, added, kind.removeprefix("repeated "), enums)


def _set_type(package: str, field: Any, kind: str, enums: set[str]) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = (_ENUM if kind in enums else _MESSAGE), f".{package}.{kind}"
