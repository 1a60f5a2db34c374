"""Watches over WebSockets, which browsers can read event by event: a message each.

Source: kube-apiserver's watch handler (HandleWS): JSON in text messages, protobuf in binary ones, whatever protocol the
client names. What the client sends is not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hawser.apiserver.negotiation import Media
from hawser.apiserver.reply import Finished
from hawser.apiserver.watching import RECORD, STALLED, Watcher
from hawser.apiserver.websocket import BINARY_DATA, TEXT, Socket, frame

_LENGTH = 4
"""Bytes before each protobuf event that say its length, where nothing else does."""


class SocketWatcher(Watcher):
    """One watch on a WebSocket."""

    _socket: Socket

    def _head(self) -> None:
        # What other watchers are sent is framed otherwise.
        self._shared = None
        self._socket = Socket.accept(self._request, known=())
        if RECORD in self._request:
            self._request[RECORD].started()

    def _packed(self, frames: Sequence[bytes]) -> bytes:
        if self._form.media is Media.PROTOBUF:
            return b"".join(frame(BINARY_DATA, data[_LENGTH:]) for data in frames)
        return b"".join(frame(TEXT, data) for data in frames)

    def _end(self) -> None:
        self._socket.leave()

    def _finished(self) -> Finished:
        return Finished(keep_alive=False)

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(STALLED):
                await self._socket.drain()
        except TimeoutError:
            self._socket.abort()
            raise ConnectionResetError from None
