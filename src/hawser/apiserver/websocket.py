"""WebSockets on which the API server sends and the client only listens, as for logs.

Source: RFC 6455; the protocols are those of Kubernetes' stream reader (apimachinery, pkg/util/httpstream/wsstream):
each piece is a binary message, or base64 in a text message, and an empty message comes first.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Collection
from typing import cast

from aiohttp import web

from hawser.api.errors import bad_request
from hawser.apiserver.connection import Connection
from hawser.apiserver.piping import ClientEnd

BINARY = "binary.k8s.io"
BASE64 = "base64.binary.k8s.io"
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY_DATA, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_MASKED, _FINAL = 0x80, 0x80
_LARGEST = 1 << 16
_LEAVING_SECONDS = 2.0


def wanted(request: web.BaseRequest) -> bool:
    """Whether a request asks for a WebSocket."""
    upgrades = "upgrade" in request.headers.get("Connection", "").lower()
    return upgrades and request.headers.get("Upgrade", "").lower() == "websocket"


def frame(kind: int, data: bytes) -> bytes:
    """A whole message of a server."""
    size = len(data)
    if size < 126:
        head = bytes((_FINAL | kind, size))
    elif size < 1 << 16:
        head = bytes((_FINAL | kind, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((_FINAL | kind, 127)) + size.to_bytes(8, "big")
    return head + data


class Socket(ClientEnd):
    """The client's connection. It ends when the client says or does so; what the client sends besides is not read."""

    def __init__(self, transport: asyncio.Transport, before: asyncio.Protocol, protocol: str) -> None:
        super().__init__(transport, before)
        self._base64 = protocol == BASE64
        self._buffer = b""
        self._ended = False
        self._room = asyncio.Event()
        self._room.set()

    @classmethod
    def accept(cls, request: web.BaseRequest, known: Collection[str] = (BINARY, BASE64)) -> Socket:
        """Answers the upgrade, with the first protocol that is known. APIError 400; ConnectionResetError.

        known: empty where the protocol does not matter.
        """
        key = request.headers.get("Sec-WebSocket-Key", "")
        if request.headers.get("Sec-WebSocket-Version") != "13" or not key:
            raise bad_request("a WebSocket of version 13 with a Sec-WebSocket-Key is needed")
        asked = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()]
        protocol = next((name for name in asked if name in known or not known), "")
        if asked and not protocol:
            raise bad_request(f"requested protocol(s) are not supported: {asked}; supports ['', {BINARY}, {BASE64}]")
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        digest = base64.b64encode(hashlib.sha1(key.encode() + _MAGIC).digest()).decode()
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        head += f"Sec-WebSocket-Accept: {digest}\r\n"
        head += f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
        socket = cls(transport, cast(Connection, request.protocol), protocol)
        transport.write(f"{head}\r\n".encode())
        return socket

    async def drain(self) -> None:
        """Wait until the client has room for more."""
        await self._room.wait()

    async def send(self, data: bytes) -> None:
        """Sends a piece, when the client has room for it. Raises ConnectionResetError."""
        if self.transport is None:
            raise ConnectionResetError
        self.transport.write(frame(TEXT, base64.b64encode(data)) if self._base64 else frame(BINARY_DATA, data))
        await self.drain()

    async def finish(self) -> None:
        """Says that all is sent, and gives the client time to have it all."""
        self._say_end()
        await asyncio.wait((self.closed,), timeout=_LEAVING_SECONDS)
        self.close()

    def abort(self) -> None:
        """Leaves without a word, whatever is not sent yet."""
        if self.transport is not None:
            self.transport.abort()

    def leave(self) -> None:
        """Says that it is over, and closes."""
        self._say_end()
        self.close()

    def _say_end(self) -> None:
        if self.transport is not None and not self._ended:
            self._ended = True
            self.transport.write(frame(_CLOSE, (1000).to_bytes(2, "big")))

    def pause_writing(self) -> None:
        """The client is slow."""
        self._room.clear()

    def resume_writing(self) -> None:
        """It caught up."""
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for room any more."""
        self._room.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Answers what is about the connection."""
        self._buffer += data
        while (message := _message(self._buffer)) is not None:
            kind, payload, size = message
            self._buffer = self._buffer[size:]
            if kind == _CLOSE:
                self.leave()
            elif kind == _PING and self.transport is not None:
                self.transport.write(frame(_PONG, payload))
        if len(self._buffer) > _LARGEST:
            self.close()


def _message(data: bytes) -> tuple[int, bytes, int] | None:
    """Kind, payload and size of a client's frame; None when it is not whole yet."""
    if len(data) < 2:
        return None
    size, at = data[1] & 0x7F, 2
    if size > 125:
        at += 2 if size == 126 else 8
        size = int.from_bytes(data[2:at], "big")
    mask = b"\0" * 4
    if data[1] & _MASKED:
        mask, at = data[at : at + 4], at + 4
    if len(data) < at + size:
        return None
    payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data[at : at + size]))
    return data[0] & 0x0F, payload, at + size
