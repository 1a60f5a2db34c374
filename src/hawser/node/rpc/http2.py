"""One HTTP/2 connection, the client's side, as gRPC uses it: requests go out whole, answers come in pieces.

The server's side is in ``server.py``.

Source: RFC 9113. Priorities, pushes and upgrades are not used; what the other side says of them is passed over.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol, cast

from hawser.node.rpc import hpack
from hawser.node.rpc.hpack import Decoder, Header

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_BYTES = 16384
FIRST_WINDOW = 65535
# Answers of CRI may be 16 MiB; whoever reads them takes them at once, so there is nothing to hold back.
WINDOW = 1 << 24
_LAST_STREAM = (1 << 31) - 1


class Frame(IntEnum):
    """Types of frames."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Reset(IntEnum):
    """Error codes that a stream is reset with."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12


END_STREAM = _ACK = 1
END_HEADERS = 4
_PADDED = 8
_PRIORITY = 32
_ENABLE_PUSH, INITIAL_WINDOW, _MAX_FRAME = 2, 4, 5


class Stream(Protocol):
    """Who gets the answer to one request."""

    def headers(self, rows: list[Header], ended: bool) -> None:
        """A block of headers: the first one, or the trailers."""

    def data(self, piece: bytes, ended: bool) -> None:
        """A piece of the body."""

    def reset(self, code: int) -> None:
        """The other side gave the request up."""

    def lost(self, why: str) -> None:
        """The connection is gone; nothing more comes."""


class Connection(asyncio.Protocol):
    """A connection from its making on. closed: called once, when no further request can be made on it."""

    def __init__(self, closed: Callable[[Connection], None]) -> None:
        self._closed = closed
        self._transport: asyncio.Transport | None = None
        self._decoder = Decoder()
        self._streams: dict[int, Stream] = {}
        self._next = 1
        self._buffer = b""
        self._block: tuple[int, int, bytes] | None = None
        self._window = FIRST_WINDOW
        self._first_window = FIRST_WINDOW
        self._frame_bytes = _FRAME_BYTES
        self._windows: dict[int, int] = {}
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._trailers: dict[int, bytes] = {}
        self._taken = 0
        self._given: dict[int, int] = {}
        self._why = ""

    @property
    def usable(self) -> bool:
        """Whether requests can be made."""
        return not self._why and self._transport is not None and self._next < _LAST_STREAM

    # What the client does

    def request(self, headers: bytes, body: bytes, stream: Stream) -> int:
        """Sends a request; the number of its stream. headers: a header block of less than 16 KiB."""
        number = self._next
        self._next += 2
        self._streams[number] = stream
        self._windows[number] = self._first_window
        head = frame(Frame.HEADERS, END_HEADERS, number, headers)
        if len(body) <= min(self._window, self._first_window, self._frame_bytes) and not self._waiting:
            self._window -= len(body)
            self._windows[number] -= len(body)
            self._write(head + frame(Frame.DATA, END_STREAM, number, body))
        else:
            self._write(head)
            self._waiting.append((number, body))
            self._send_waiting()
        return number

    def cancel(self, number: int, code: Reset = Reset.CANCEL) -> None:
        """Gives a request up; its stream hears nothing more."""
        if self._forget(number):
            self._write(frame(Frame.RST_STREAM, 0, number, struct.pack(">I", code)))

    def close(self) -> None:
        """Ends the connection at once."""
        if self._transport is not None:
            self._transport.close()
        self._end("the connection was closed")

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        settings = struct.pack(">HIHI", _ENABLE_PUSH, 0, INITIAL_WINDOW, WINDOW)
        grown = struct.pack(">I", WINDOW - FIRST_WINDOW)
        self._write(PREFACE + frame(Frame.SETTINGS, 0, 0, settings) + frame(Frame.WINDOW_UPDATE, 0, 0, grown))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(str(exc) if exc else "the connection was closed by the other side")

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        i, size = 0, len(data)
        try:
            while size - i >= 9:
                length = int.from_bytes(data[i : i + 3], "big")
                if length > _FRAME_BYTES:
                    raise Broken("the other side does not speak HTTP/2")
                if size - i - 9 < length:
                    break
                number = int.from_bytes(data[i + 5 : i + 9], "big") & _LAST_STREAM
                self._take(data[i + 3], data[i + 4], number, data[i + 9 : i + 9 + length])
                i += 9 + length
        except (Broken, hpack.HeaderError, struct.error, IndexError) as error:
            if self._transport is not None:
                self._transport.abort()
            self._end(str(error) or "a frame is cut short")
            return
        self._buffer = data[i:]

    # Frames

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is not None and kind != Frame.CONTINUATION:
            raise Broken("a header block is interrupted")
        if kind == Frame.DATA:
            self._take_data(number, _unpadded(flags, payload), len(payload), bool(flags & END_STREAM))
        elif kind == Frame.HEADERS:
            block = _unpadded(flags, payload)
            self._take_block(number, flags, block[5:] if flags & _PRIORITY else block, flags)
        elif kind == Frame.CONTINUATION:
            if self._block is None or self._block[0] != number:
                raise Broken("a header block goes on that has not begun")
            self._take_block(number, flags, self._block[2] + payload, self._block[1])
        elif kind == Frame.SETTINGS:
            if not flags & _ACK:
                self._settle(payload)
        elif kind == Frame.PING:
            if not flags & _ACK:
                self._write(frame(Frame.PING, _ACK, 0, payload))
        elif kind == Frame.WINDOW_UPDATE:
            (grown,) = struct.unpack(">I", payload)
            if number == 0:
                self._window += grown & _LAST_STREAM
            elif number in self._windows:
                self._windows[number] += grown & _LAST_STREAM
            self._send_waiting()
        elif kind == Frame.RST_STREAM:
            if stream := self._forget(number):
                stream.reset(*struct.unpack(">I", payload))
        elif kind == Frame.GOAWAY:
            self._go_away(payload)
        elif kind == Frame.PUSH_PROMISE:
            raise Broken("the other side pushes what was not asked for")

    def _take_block(self, number: int, flags: int, block: bytes, first_flags: int) -> None:
        if not flags & END_HEADERS:
            if len(block) > WINDOW:
                raise Broken("a header block is too long")
            self._block = (number, first_flags, block)
            return
        self._block = None
        self._took_headers(number, self._decoder.decode(block), bool(first_flags & END_STREAM))

    def _took_headers(self, number: int, rows: list[Header], ended: bool) -> None:
        stream = self._forget(number) if ended else self._streams.get(number)
        if stream is not None:
            stream.headers(rows, ended)

    def _take_data(self, number: int, piece: bytes, taken: int, ended: bool) -> None:
        """taken: bytes of the windows, padding included; they are given back when half of a window is gone."""
        self._taken += taken
        updates = b""
        if self._taken > WINDOW // 2:
            updates = frame(Frame.WINDOW_UPDATE, 0, 0, struct.pack(">I", self._taken))
            self._taken = 0
        stream = self._streams.get(number)
        if stream is None:
            pass
        elif ended:
            self._took_all(number)
        else:
            given = self._given[number] = self._given.get(number, 0) + taken
            if given > WINDOW // 2:
                updates += frame(Frame.WINDOW_UPDATE, 0, number, struct.pack(">I", given))
                self._given[number] = 0
        if updates:
            self._write(updates)
        if stream is not None:
            stream.data(piece, ended)

    def _took_all(self, number: int) -> None:
        """Nothing more comes of a stream."""
        self._forget(number)

    def _settle(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == INITIAL_WINDOW:
                for number in self._windows:
                    self._windows[number] += value - self._first_window
                self._first_window = value
            elif name == _MAX_FRAME:
                self._frame_bytes = value
        self._write(frame(Frame.SETTINGS, _ACK, 0, b""))
        self._send_waiting()

    def _go_away(self, payload: bytes) -> None:
        """What the other side has not begun is over; what it has goes on."""
        last = struct.unpack(">I", payload[:4])[0] & _LAST_STREAM
        self._why = self._why or "the other side is ending"
        for number in [number for number in self._streams if number > last]:
            if stream := self._forget(number):
                stream.lost(self._why)
        self._closed(self)
        if not self._streams and self._transport is not None:
            self._transport.close()

    def _send_waiting(self) -> None:
        """Sends what windows allow of the bodies that wait, in their order."""
        for _ in range(len(self._waiting)):
            number, body = self._waiting.popleft()
            while body and number in self._windows:
                size = min(len(body), self._frame_bytes, self._window, self._windows[number])
                if size <= 0:
                    self._waiting.append((number, body))
                    break
                piece, body = body[:size], body[size:]
                self._window -= size
                self._windows[number] -= size
                last = not body and number not in self._trailers
                self._write(frame(Frame.DATA, END_STREAM if last else 0, number, piece))
            if not body and (block := self._trailers.pop(number, None)) is not None:
                self._write(frame(Frame.HEADERS, END_HEADERS | END_STREAM, number, block))
                self._forget(number)

    def _forget(self, number: int) -> Stream | None:
        self._windows.pop(number, None)
        self._given.pop(number, None)
        self._trailers.pop(number, None)
        stream = self._streams.pop(number, None)
        if self._why and not self._streams and self._transport is not None:
            self._transport.close()
        return stream

    def _end(self, why: str) -> None:
        self._why = self._why or why
        streams, self._streams = self._streams, {}
        self._windows.clear()
        self._given.clear()
        self._waiting.clear()
        for stream in streams.values():
            stream.lost(why)
        self._closed(self)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


class Broken(Exception):
    """The other side breaks the protocol."""


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 255, kind, flags, number) + payload


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & _PADDED:
        return payload
    end = len(payload) - payload[0]
    if end < 1:
        raise Broken("a frame is all padding")
    return payload[1:end]
