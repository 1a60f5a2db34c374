"""The messages and methods of a gRPC API, from a table of field numbers: no generated code.

A table (see tools/cri_fields.py) has ``package``, ``enums``, ``messages`` and ``services``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hawser.node.rpc.messages import MessageType

Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC: its path, and the types of its request and (each) response."""

    path: str
    request: MessageType
    response: MessageType
    streams: bool


class Schema:
    """The message types and methods of one table."""

    def __init__(self, table: Table) -> None:
        self._package: str = table["package"]
        self._enums: Mapping[str, Mapping[str, int]] = table["enums"]
        self._messages: Mapping[str, Any] = table["messages"]
        self._methods: Mapping[str, Mapping[str, list[str]]] = table["services"]
        self._types: dict[str, MessageType] = {}
        self._made: dict[tuple[str, str], Method] = {}

    def message(self, name: str) -> MessageType:
        """A message's type. Raises KeyError for a name that the table lacks."""
        known = self._types.get(name)
        if known is None:
            known = MessageType(name, self._messages[name], self._find, self._enums)
            self._types[name] = known
        return known

    def enum(self, name: str) -> Mapping[str, int]:
        """An enum's values by name. Raises KeyError for a name that the table lacks."""
        return self._enums[name]

    def method(self, service: str, name: str) -> Method:
        """One RPC of a service. Raises KeyError for a name that the table lacks."""
        known = self._made.get((service, name))
        if known is None:
            request, response = self._methods[service][name]
            known = Method(
                f"/{self._package}.{service}/{name}",
                self.message(request),
                self.message(response.removeprefix("stream ")),
                response.startswith("stream "),
            )
            self._made[(service, name)] = known
        return known

    def _find(self, name: str) -> MessageType | None:
        return self.message(name) if name in self._messages else None
