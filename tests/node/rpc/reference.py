"""The same tables as messages of google.protobuf, an implementation of its own: what ours is compared with."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from hawser.node.rpc.schema import Table

_SCALARS = {
    "double": 1,
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


class Reference:
    """Message classes of one table."""

    def __init__(self, table: Table) -> None:
        self._package = table["package"]
        self._enums = set(table["enums"])
        file = descriptor_pb2.FileDescriptorProto(name="reference.proto", package=self._package, syntax="proto3")
        messages = {name: file.message_type.add(name=name) for name in table["messages"]}
        for full_name, values in table["enums"].items():
            outer, _, name = full_name.rpartition(".")
            enum = (messages[outer] if outer else file).enum_type.add(name=name)
            for value, number in values.items():
                # Values are siblings of their enum: a prefix keeps equal names apart.
                enum.value.add(name=f"{full_name.replace('.', '_')}_{value}", number=number)
        for name, fields in table["messages"].items():
            for field, (number, kind) in fields.items():
                self._add(messages[name], name, field, number, kind)
        self._pool = descriptor_pool.DescriptorPool()
        self._pool.Add(file)

    def message(self, name: str) -> Any:
        """The class of a message."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"{self._package}.{name}"))

    def _add(self, message: Any, message_name: str, field: str, number: int, kind: str) -> None:
        label = _REPEATED if kind.startswith(("repeated ", "map<")) else _OPTIONAL
        added = message.field.add(name=field, number=number, label=label)
        if not kind.startswith("map<"):
            self._type(added, kind.removeprefix("repeated "))
            return
        entry_name = "".join(part.title() for part in field.split("_")) + "Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        self._type(entry.field.add(name="key", number=1, label=_OPTIONAL), "string")
        self._type(entry.field.add(name="value", number=2, label=_OPTIONAL), "string")
        added.type, added.type_name = _MESSAGE, f".{self._package}.{message_name}.{entry_name}"

    def _type(self, field: Any, kind: str) -> None:
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type = _ENUM if kind in self._enums else _MESSAGE
            field.type_name = f".{self._package}.{kind}"
