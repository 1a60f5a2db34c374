"""SPDY/3.1 as container runtimes' streaming servers speak it: streams of bytes over one connection, client side.

Source: "SPDY Protocol - Draft 3.1" (frames, header compression). Runtimes and kubectl neither send nor heed
WINDOW_UPDATE for flow control and rely on TCP's; so does this module, and accepts the frames.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

_NAMES = """
options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow
authorization cache-control connection content-base content-encoding content-language content-length content-location
content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match
if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range
referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get
status
"""
_WORDS = (*_NAMES.split(), "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_REST = (
    "1001012012022052063003023033043053063074024054064074084094104114124134144154164175025045"
    "05203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in _WORDS) + _REST.encode()
"""Section 2.6.10.1: the start of both directions' header compression."""

_VERSION = 3
_FIN = 0x01
_LONGEST_WRITE = 1 << 16
_QUEUE = 64


class Kind(IntEnum):
    """Types of control frames."""

    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. kind: None for data, whose stream is ``stream``; a control frame's body includes its stream id."""

    kind: Kind | None
    flags: int
    body: bytes
    stream: int = 0

    def encode(self) -> bytes:
        """The frame as bytes."""
        tail = struct.pack(">I", self.flags << 24 | len(self.body)) + self.body
        if self.kind is None:
            return struct.pack(">I", self.stream & 0x7FFFFFFF) + tail
        return struct.pack(">HH", 0x8000 | _VERSION, self.kind) + tail


class HeaderCodec:
    """Both directions of a connection's header compression; every block must pass through in order."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def encode(self, headers: Mapping[str, str]) -> bytes:
        """A compressed block. Names become lower case; values may hold several, separated by NUL."""
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower(), value):
                data = text.encode()
                parts.append(struct.pack(">I", len(data)) + data)
        return self._deflate.compress(b"".join(parts)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def decode(self, block: bytes) -> dict[str, str]:
        """The headers of a block. Raises zlib.error or struct.error for a broken one."""
        data = self._inflate.decompress(block)
        (count,) = struct.unpack_from(">I", data)
        at = 4
        texts: list[str] = []
        for _ in range(2 * count):
            (size,) = struct.unpack_from(">I", data, at)
            texts.append(data[at + 4 : at + 4 + size].decode("utf-8", "replace"))
            at += 4 + size
        return dict(zip(texts[::2], texts[1::2], strict=True))


class Stream:
    """One stream of a session: bytes both ways, each direction with an end of its own."""

    def __init__(self, session: Session, number: int) -> None:
        self._session = session
        self.number = number
        self._incoming: asyncio.Queue[bytes] = asyncio.Queue(_QUEUE)
        self._ended = False
        self.finished = False
        self.accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def read(self) -> bytes:
        """The next piece; empty at the end."""
        if self._ended and self._incoming.empty():
            return b""
        piece = await self._incoming.get()
        self._ended = self._ended or not piece
        return piece

    async def feed(self, piece: bytes) -> None:
        """Take a piece from the peer; empty for the end. Waits while the reader is behind."""
        if not self._ended:
            await self._incoming.put(piece)

    def cut(self) -> None:
        """End what is read, now: the stream was reset or the connection is gone."""
        self._ended = True
        if self._incoming.empty():
            self._incoming.put_nowait(b"")
        if not self.accepted.done():
            self.accepted.set_exception(ConnectionError("the runtime refused a stream"))
            self.accepted.exception()  # waiting for it is optional

    async def write(self, data: bytes) -> None:
        """Send data. Raises ConnectionError."""
        for at in range(0, len(data), _LONGEST_WRITE):
            await self._session.send(Frame(None, 0, data[at : at + _LONGEST_WRITE], self.number))

    async def finish(self) -> None:
        """Say that nothing more will be sent; reading goes on."""
        if not self.finished:
            self.finished = True
            await self._session.send(Frame(None, _FIN, b"", self.number))


class Session:
    """A connection on which the upgrade to SPDY/3.1 has been answered. ``run`` must run for anything to arrive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._headers = HeaderCodec()
        self._streams: dict[int, Stream] = {}
        self._next = 1  # a client's streams have odd numbers

    async def open(self, headers: Mapping[str, str]) -> Stream:
        """Open a stream; use ``stream.accepted`` to learn whether the peer takes it. Raises ConnectionError."""
        stream = Stream(self, self._next)
        self._next += 2
        self._streams[stream.number] = stream
        body = struct.pack(">IIH", stream.number, 0, 0) + self._headers.encode(headers)
        await self.send(Frame(Kind.SYN_STREAM, 0, body))
        return stream

    async def send(self, frame: Frame) -> None:
        """Send one frame. Raises ConnectionError."""
        self._writer.write(frame.encode())
        await self._writer.drain()

    async def run(self) -> None:
        """Take frames until the peer ends the connection; then every stream ends."""
        try:
            while True:
                frame = await self._read()
                await self._take(frame)
        except (OSError, EOFError, zlib.error, struct.error, ValueError):
            pass  # the end of the connection, in whatever way, is the end of its streams
        finally:
            for stream in self._streams.values():
                stream.cut()

    async def _read(self) -> Frame:
        head = await self._reader.readexactly(8)
        first, second = struct.unpack(">II", head)
        body = await self._reader.readexactly(second & 0xFFFFFF)
        if first & 0x80000000:
            return Frame(Kind(first & 0xFFFF), second >> 24, body)
        return Frame(None, second >> 24, body, first)

    async def _take(self, frame: Frame) -> None:
        match frame.kind:
            case None:
                await self._take_data(frame)
            case Kind.SYN_REPLY:
                stream = self._stream_of(frame)
                self._headers.decode(frame.body[4:])
                if stream is not None and not stream.accepted.done():
                    stream.accepted.set_result(None)
                if stream is not None and frame.flags & _FIN:
                    await stream.feed(b"")
            case Kind.HEADERS:
                self._headers.decode(frame.body[4:])
            case Kind.RST_STREAM:
                stream = self._stream_of(frame)
                if stream is not None:
                    stream.cut()
            case Kind.PING:
                # Even numbers are the server's: it expects them back.
                if struct.unpack_from(">I", frame.body)[0] % 2 == 0:
                    await self.send(frame)
            case Kind.SYN_STREAM:
                self._headers.decode(frame.body[10:])
                refused = 3
                await self.send(Frame(Kind.RST_STREAM, 0, frame.body[:4] + struct.pack(">I", refused)))
            case _:
                pass

    async def _take_data(self, frame: Frame) -> None:
        stream = self._streams.get(frame.stream)
        if stream is None:
            return
        if frame.body:
            await stream.feed(frame.body)
        if frame.flags & _FIN:
            await stream.feed(b"")

    def _stream_of(self, frame: Frame) -> Stream | None:
        return self._streams.get(struct.unpack_from(">I", frame.body)[0] & 0x7FFFFFFF)

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


async def upgrade(
    host: str, port: int, path: str, headers: Iterable[tuple[str, str]]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect and ask for SPDY/3.1; the connection behind the 101 answer. Raises ConnectionError otherwise."""
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
    try:
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}:{port}", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
        lines += ["Content-Length: 0", *(f"{name}: {value}" for name, value in headers)]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status = head.split(b"\r\n", 1)[0].decode("latin-1")
        if " 101 " not in f"{status} ":
            rest = await asyncio.wait_for(reader.read(4096), 1)
            raise ConnectionError(f"the runtime refuses the stream: {status} {rest.decode('utf-8', 'replace')}")
    except BaseException as error:
        writer.close()
        if isinstance(error, asyncio.IncompleteReadError | asyncio.LimitOverrunError | TimeoutError):
            raise ConnectionError("the runtime's answer is cut short") from error
        raise
    return reader, writer
