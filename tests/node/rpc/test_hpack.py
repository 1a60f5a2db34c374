"""Header blocks: the examples of RFC 7541 and what its own encoder cannot say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.node.rpc.hpack import Decoder, HeaderError, encode

REQUESTS = (
    # RFC 7541, C.3 (literals) and C.4 (Huffman): three requests on one connection.
    (
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ),
    (
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ),
)


@pytest.mark.parametrize("blocks", REQUESTS)
def test_the_requests_of_the_rfc(blocks: tuple[str, ...]) -> None:
    decoder = Decoder()
    read = [decoder.decode(bytes.fromhex(block)) for block in blocks]
    first = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")]
    assert read[0] == first
    assert read[1] == [*first, ("cache-control", "no-cache")]
    assert read[2] == [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ]


def test_a_table_that_shrinks_forgets_its_oldest_rows() -> None:
    decoder = Decoder()
    decoder.decode(bytes.fromhex("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572"))
    assert decoder.decode(b"\xbe") == [("custom-key", "custom-header")]
    # A size update to 0, as an encoder sends it that keeps no table.
    assert decoder.decode(b"\x20\x88") == [(":status", "200")]
    with pytest.raises(HeaderError):
        decoder.decode(b"\xbe")


@given(st.lists(st.tuples(st.text(max_size=300), st.text(max_size=300)), max_size=5))
def test_what_is_written_is_read(headers: list[tuple[str, str]]) -> None:
    assert Decoder().decode(encode(headers)) == headers


@given(st.binary(max_size=60))
def test_any_bytes_are_headers_or_an_error(block: bytes) -> None:
    try:
        Decoder().decode(block)
    except HeaderError:
        pass
