"""JSON as Kubernetes writes it, byte for byte where orjson's is not.

Source: Go's encoding/json, of which every Kubernetes serializer takes the defaults: ``<``, ``>``, ``&`` and the line
separators U+2028 and U+2029 are escaped, so that JSON may stand in HTML.
"""

from __future__ import annotations

import orjson

from hawser.api.errors import bad_request

_DEEP = "Recursion limit reached"
_LINES = b"\xe2\x80"
_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)


def dumps(value: object, option: int | None = None) -> bytes:
    """A value as JSON. option: orjson's. APIError 400 if it is too deep; TypeError for what JSON cannot hold."""
    try:
        return escaped(orjson.dumps(value, option=option))
    except TypeError as error:
        if str(error) == _DEEP:
            raise bad_request("exceeded max depth") from None
        raise


def escaped(data: bytes) -> bytes:
    """JSON bytes with what Go escapes escaped; these characters occur only in strings. Mostly there are none."""
    # "<", ">" and "&" by their numbers: asked for a byte as bytes, Python makes an error first, of 2,000 instructions.
    if 60 in data or 62 in data or 38 in data or (not data.isascii() and data.find(_LINES) >= 0):
        for plain, escape in _ESCAPES:
            data = data.replace(plain, escape)
    return data
