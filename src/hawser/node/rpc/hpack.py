"""Header blocks of HTTP/2, as much as a client of gRPC needs: every form is read, the plainest one is written.

Source: RFC 7541 (HPACK), its appendix A (static table) and B (Huffman code).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from hawser.wire import varint

Header = tuple[str, str]

_STATIC_TEXT = """:authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|
:status 204|:status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|accept-encoding gzip, deflate|
accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control|
content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type|
cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|
last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|
server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"""
_STATIC: list[Header] = [
    (name, value) for name, _, value in (row.partition(" ") for row in _STATIC_TEXT.replace("\n", "").split("|"))
]
_TABLE_BYTES = 4096
_ENTRY_BYTES = 32

# The Huffman code is canonical: symbols by the length of their codes are all that there is to know.
_BY_LENGTH: dict[int, bytes] = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\\\xc3\xd0",
    20: b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2",
    21: b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6",
    22: b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    23: b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5"
    b"\xe7\xef",
    24: b"\t\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed",
    25: b"\xc7\xcf\xea\xeb",
    26: b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff",
    27: b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe",
    28: b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f"
    b"\xdc\xf9",
    30: b"\n\r\x16",
}


class HeaderError(ValueError):
    """A header block that cannot be read: the connection is of no more use."""


class Decoder:
    """The header blocks of one connection, in their order."""

    def __init__(self) -> None:
        self._table: list[Header] = []
        self._size = 0
        self._limit = _TABLE_BYTES

    def decode(self, block: bytes) -> list[Header]:
        """Names and values. Raises HeaderError."""
        try:
            return list(self._rows(block))
        except (IndexError, UnicodeDecodeError) as error:
            raise HeaderError("a header block is cut short or not readable") from error

    def _rows(self, block: bytes) -> Iterator[Header]:
        i = 0
        while i < len(block):
            first = block[i]
            if first & 0x80:
                index, i = _integer(block, i, 7)
                yield self._entry(index)
            elif first & 0xE0 == 0x20:
                self._limit, i = _integer(block, i, 5)
                if self._limit > _TABLE_BYTES:
                    raise HeaderError("a header table is larger than agreed")
                self._shrink()
            else:
                kept = bool(first & 0x40)
                index, i = _integer(block, i, 6 if kept else 4)
                name, i = (self._entry(index)[0], i) if index else _string(block, i)
                value, i = _string(block, i)
                if kept:
                    self._table.insert(0, (name, value))
                    self._size += _weight(name, value)
                    self._shrink()
                yield name, value

    def _entry(self, index: int) -> Header:
        if index == 0:
            raise HeaderError("a header has no index")
        return _STATIC[index - 1] if index <= len(_STATIC) else self._table[index - len(_STATIC) - 1]

    def _shrink(self) -> None:
        while self._size > self._limit:
            self._size -= _weight(*self._table.pop())


def encode(headers: Iterable[Header]) -> bytes:
    """A header block of literals that no table remembers."""
    return b"".join(b"\0" + _literal(name) + _literal(value) for name, value in headers)


def _literal(text: str) -> bytes:
    """A string after its length: seven bits, and more bytes of seven bits when they do not do."""
    data = text.encode()
    size = len(data)
    return (bytes([size]) if size < 127 else b"\x7f" + varint(size - 127)) + data


def _weight(name: str, value: str) -> int:
    return len(name.encode()) + len(value.encode()) + _ENTRY_BYTES


def _integer(block: bytes, i: int, bits: int) -> tuple[int, int]:
    """A number whose first bits share a byte, and where it ends."""
    most = (1 << bits) - 1
    value = block[i] & most
    i += 1
    if value < most:
        return value, i
    shift = 0
    while True:
        byte = block[i]
        i += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value, i
        shift += 7
        if shift > 28:
            raise HeaderError("a number in a header block is too large")


def _string(block: bytes, i: int) -> tuple[str, int]:
    huffman = block[i] & 0x80
    size, i = _integer(block, i, 7)
    data = block[i : i + size]
    if len(data) < size:
        raise HeaderError("a header block is cut short")
    return (_plain(data) if huffman else data.decode("utf-8", "replace")), i + size


@cache
def _symbols() -> dict[tuple[int, int], int]:
    """(length of a code, code) -> byte."""
    found, code, before = {}, 0, 0
    for length, symbols in _BY_LENGTH.items():
        code <<= length - before
        before = length
        for symbol in symbols:
            found[length, code] = symbol
            code += 1
    return found


def _plain(data: bytes) -> str:
    """A string out of its Huffman code. Raises HeaderError when something else than the padding is left."""
    symbols, out, code, length = _symbols(), bytearray(), 0, 0
    for byte in data:
        for shift in range(7, -1, -1):
            code = code << 1 | byte >> shift & 1
            length += 1
            symbol = symbols.get((length, code))
            if symbol is not None:
                out.append(symbol)
                code = length = 0
            elif length > 30:
                raise HeaderError("a header has no Huffman code")
    if length > 7 or code != (1 << length) - 1:
        raise HeaderError("a Huffman code is cut short")
    return out.decode("utf-8", "replace")
