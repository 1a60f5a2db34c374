"""What Go's JSON decoder says of what it cannot read."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api.syntax import complaint


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "unexpected end of JSON input"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b"{'a':1}", r"invalid character '\'' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"01", "invalid character '1' after top-level value"),
        (b"-x", "invalid character 'x' in numeric literal"),
        (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
        (b"1ex", "invalid character 'x' in exponent of numeric literal"),
        (b'"\x01"', r"invalid character '\x01' in string literal"),
        (b'"\n"', r"invalid character '\n' in string literal"),
        (b'"\\q"', "invalid character 'q' in string escape code"),
        (b'"\\u12g4"', r"invalid character 'g' in \u hexadecimal character escape"),
        (b"\xc3", "invalid character 'Ã' looking for beginning of value"),
        (b"[" * 20000, "exceeded max depth"),
        (b' {"a": [1.5e-3, true, null, "\\u00e9"]} ', ""),
    ],
)
def test_complaints(data: bytes, expected: str) -> None:
    assert complaint(data) == expected


@given(st.text('{}[]",:0123456789.eE+-truefalsn\\u \n').map(str.encode))
def test_what_is_read_without_complaint_is_read_elsewhere_too(data: bytes) -> None:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError as error:
        # Halves of surrogate pairs are Go's to mend.
        assert complaint(data) or "surrogate" in str(error)
    else:
        assert complaint(data) == ""
