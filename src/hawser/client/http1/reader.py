"""One HTTP/1.1 answer, found in the bytes of its connection as they come. Pure: no I/O.

Source: RFC 9112, sections 2 to 7 and 9.3; RFC 9110, section 8.4 (content codings).
"""

from __future__ import annotations

import re
import zlib

LONGEST_HEAD = 64 * 1024
"""Bytes of a head, or of a line between chunks, at most."""
_START = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: .*)?")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# The names that servers of Kubernetes send with every answer.
_KNOWN = {
    name: name.lower()
    for name in (
        *("Audit-Id", "Cache-Control", "Content-Length", "Content-Type", "Date", "Retry-After", "Transfer-Encoding"),
        *("X-Kubernetes-PF-FlowSchema-UID", "X-Kubernetes-PF-PriorityLevel-UID", "X-Kubernetes-Pf-Flowschema-Uid"),
        "X-Kubernetes-Pf-Prioritylevel-Uid",
    )
}
_HEX = frozenset(b"0123456789abcdefABCDEF")
_LONGEST_NUMBER = 15
_ZLIB_OR_GZIP = zlib.MAX_WBITS | 32
_UNKNOWN = -1


class Malformed(ConnectionError):
    """The peer does not speak HTTP, or stopped in the middle of it."""


class Reader:
    """Takes an answer's bytes, cut anywhere.

    method: of the request. status: 0 until the head is whole. headers: by their names in lower case; the values of a
    name that comes again are joined by commas. pieces: what has come of the body, for the caller to take away.
    done: whether the answer is whole. reusable: whether another request may follow it on the connection.
    """

    __slots__ = ("_chunks", "_inflate", "_left", "_method", "_rest", "done", "headers", "pieces", "reusable", "status")

    def __init__(self, method: str) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.done = False
        self.reusable = False
        self._method = method
        self._rest = b""
        # Bytes of the body that are still to come, where that is known from the beginning.
        self._left = 0
        self._chunks: Chunks | None = None
        self._inflate: zlib._Decompress | None = None

    @property
    def begun(self) -> bool:
        """Whether anything has come."""
        return bool(self.status or self._rest)

    def feed(self, data: bytes) -> None:
        """The next bytes. Raises Malformed."""
        while not self.status:
            if self._rest:
                data = self._rest + data
            end = data.find(b"\r\n\r\n")
            if end < 0 or end > LONGEST_HEAD:
                self._rest = data
                if len(data) > LONGEST_HEAD:
                    raise Malformed("the answer's head is too long, or not HTTP")
                return
            self._rest = b""
            self._head(data[:end])
            data = data[end + 4 :]
        if not self.done:
            data = self._body(data)
        if data:
            # Nobody has asked for more.
            self.reusable = False

    def end(self) -> None:
        """The connection was closed. Raises Malformed when that leaves the answer incomplete."""
        if self.status and self._left == _UNKNOWN and self._chunks is None:
            self.done = True
        if not self.done or (self._inflate is not None and not self._inflate.eof):
            raise Malformed("the connection was closed in the middle of the answer")

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        pieces = self.pieces
        if len(pieces) == 1:
            data = pieces[0]
        elif pieces:
            data = b"".join(pieces)
        else:
            return b""
        self.pieces = []
        return data

    def _head(self, head: bytes) -> None:
        """Everything up to the empty line; an interim answer (1xx) leaves nothing."""
        minor, status, headers = parse(head)
        if status == 101:
            raise Malformed("the server switches protocols unasked")
        if status < 200:
            return
        self.status, self.headers = status, headers
        connection = headers.get("connection", "").lower()
        words = {word.strip() for word in connection.split(",")} if connection else ()
        self.reusable = "close" not in words and (minor > 0 or "keep-alive" in words)
        coding = headers.get("content-encoding")
        if coding is not None and coding.lower() != "identity":
            if coding.lower() not in ("gzip", "x-gzip", "deflate"):
                raise Malformed(f"the answer is encoded as {coding!r}, which was not asked for")
            self._inflate = zlib.decompressobj(_ZLIB_OR_GZIP)
        self._frame(minor)

    def _frame(self, minor: int) -> None:
        """How the body's end is found (RFC 9112, section 6.3)."""
        length, coding = self.headers.get("content-length"), self.headers.get("transfer-encoding")
        if self._method == "HEAD" or self.status in (204, 304):
            self.done = True
        elif coding is not None:
            if coding.lower() != "chunked":
                raise Malformed(f"the answer's transfer coding is {coding!r}, which was not asked for")
            self._chunks = Chunks()
            # Somebody between may have seen another end.
            self.reusable = self.reusable and length is None and minor > 0
        elif length is not None:
            self._left = _length(length)
            self.done = not self._left
        else:
            self._left, self.reusable = _UNKNOWN, False

    def _body(self, data: bytes) -> bytes:
        """Takes what belongs to the body; returns what comes after it."""
        if self._chunks is not None:
            rest = self._chunks.feed(data, self.pieces)
            self.done = self._chunks.done
        elif self._left == _UNKNOWN:
            self.pieces.append(data)
            rest = b""
        else:
            rest = data[self._left :]
            if data:
                self.pieces.append(data[: self._left] if rest else data)
            self._left -= len(data) - len(rest)
            self.done = not self._left
        if self._inflate is not None and self.pieces:
            self._unpack(self._inflate)
        return rest

    def _unpack(self, inflate: zlib._Decompress) -> None:
        try:
            unpacked = inflate.decompress(b"".join(self.pieces))
        except zlib.error as err:
            raise Malformed(f"the answer's encoding is broken: {err}") from err
        self.pieces[:] = [unpacked] if unpacked else []
        if self.done and not inflate.eof:
            raise Malformed("the answer's encoding ends too early")


class Chunks:
    """Takes a chunked body (RFC 9112, section 7.1). done: whether its end, trailers included, was there."""

    __slots__ = ("_left", "_line", "_state", "done")

    _SIZE, _DATA, _AFTER, _TRAILERS = range(4)

    def __init__(self) -> None:
        self.done = False
        self._left = 0
        self._line = b""
        self._state = self._SIZE

    def feed(self, data: bytes, pieces: list[bytes]) -> bytes:
        """Adds what data hold of the body to the pieces; returns what comes after its end. Raises Malformed."""
        if self._line:
            data, self._line = self._line + data, b""
        at, size = 0, len(data)
        while at < size:
            if self._state == self._DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = self._AFTER
                continue
            end = data.find(b"\r\n", at)
            if (end if end >= 0 else size) - at > LONGEST_HEAD:
                raise Malformed("a line between the answer's chunks is too long")
            if end < 0:
                self._line = data[at:]
                break
            line, at = data[at:end], end + 2
            if self._state == self._SIZE:
                self._left = _chunk_size(line)
                self._state = self._DATA if self._left else self._TRAILERS
            elif self._state == self._AFTER:
                if line:
                    raise Malformed("a chunk of the answer is longer than it says")
                self._state = self._SIZE
            elif not line:
                self.done = True
                return data[at:]
        return b""


def parse(head: bytes) -> tuple[int, int, dict[str, str]]:
    """Minor version, status and headers of a head without its last empty line. Raises Malformed."""
    text = head.decode("latin-1")
    lines = text.split("\r\n")
    breaks = len(lines) - 1
    if text.count("\r") != breaks or text.count("\n") != breaks or "\0" in text:
        raise Malformed("the answer's head has broken lines")
    start = _START.fullmatch(lines[0])
    if start is None:
        raise Malformed(f"the answer is not HTTP/1.1: {lines[0][:80]!r}")
    headers: dict[str, str] = {}
    last = ""
    for line in lines[1:]:
        if line[:1] in (" ", "\t") and last:
            # Folded, as RFC 9112, section 5.2 still wants it understood.
            headers[last] += " " + line.strip(" \t")
            continue
        name, colon, value = line.partition(":")
        if not colon or (name not in _KNOWN and _TOKEN.fullmatch(name) is None):
            raise Malformed(f"the answer has a header that is none: {line[:80]!r}")
        last, value = _KNOWN.get(name) or name.lower(), value.strip(" \t")
        headers[last] = f"{headers[last]}, {value}" if last in headers else value
    return int(start[1]), int(start[2]), headers


def _length(text: str) -> int:
    """A Content-Length; the same one several times counts as one."""
    values = {value.strip(" \t") for value in text.split(",")}
    value = values.pop()
    if values or not (value.isascii() and value.isdigit()) or len(value) > _LONGEST_NUMBER:
        raise Malformed(f"the answer's Content-Length is {text[:80]!r}")
    return int(value)


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].rstrip(b" \t")
    if not digits or not _HEX.issuperset(digits) or len(digits) > _LONGEST_NUMBER:
        raise Malformed(f"the answer has a chunk of size {line[:80]!r}")
    return int(digits, 16)
