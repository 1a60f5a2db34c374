"""JSON as Kubernetes writes it, byte for byte where orjson's is not.

Source: Go's encoding/json, of which every Kubernetes serializer takes the defaults: ``<``, ``>``, ``&`` and the line
separators U+2028 and U+2029 are escaped, so that JSON may stand in HTML.
"""

from __future__ import annotations

import orjson

_LINES = b"\xe2\x80"
_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)


def dumps(value: object, option: int | None = None) -> bytes:
    """A value as JSON. option: orjson's. Raises TypeError for what JSON cannot hold."""
    return escaped(orjson.dumps(value, option=option))


def escaped(data: bytes) -> bytes:
    """JSON bytes with what Go escapes escaped; these characters occur only in strings. Mostly there are none."""
    if b"<" in data or b">" in data or b"&" in data or (not data.isascii() and _LINES in data):
        for plain, escape in _ESCAPES:
            data = data.replace(plain, escape)
    return data
