"""A gRPC service of some plugin of this node, over its socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

from hawser.node.cri.errors import from_status
from hawser.node.rpc.channel import Channel, RPCError
from hawser.node.rpc.schema import Schema

_CALL_SECONDS = 120.0


class Service:
    """A gRPC service on a unix socket. Every call raises CRIError. lost: called when a connection has ended."""

    def __init__(self, schema: Schema, service: str, socket: str, *, lost: Callable[[], None] | None = None) -> None:
        self._schema = schema
        self._service = service
        self._channel = Channel(f"unix://{socket}", lost=lost)

    def path(self, name: str) -> str:
        """The path of an RPC."""
        return self._schema.method(self._service, name).path

    async def call(self, name: str, seconds: float = _CALL_SECONDS, **fields: Any) -> Any:
        """One RPC by name; its response."""
        method = self._schema.method(self._service, name)
        try:
            return await self._channel.call(method, fields, seconds=seconds)
        except RPCError as err:
            raise from_status(err) from None

    async def stream(self, name: str, **fields: Any) -> AsyncGenerator[Any]:
        """The responses of one RPC by name, until the plugin ends them."""
        method = self._schema.method(self._service, name)
        try:
            async for row in self._channel.stream(method, fields):
                yield row
        except RPCError as err:
            raise from_status(err) from None

    async def connect(self, seconds: float) -> None:
        """Connects, if it is not connected."""
        try:
            await self._channel.connect(seconds)
        except RPCError as err:
            raise from_status(err) from None

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()
