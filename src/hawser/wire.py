"""Numbers of the protobuf wire format (protobuf.dev, "Encoding"), which the API server and the node agent write."""

from __future__ import annotations

SMALL = [bytes([value]) for value in range(128)]
"""Numbers that take one byte."""
BITS = 1 << 64


def varint(value: int) -> bytes:
    """A number; negative ones take ten bytes."""
    if 0 <= value < 128:
        return SMALL[value]
    value %= BITS
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
