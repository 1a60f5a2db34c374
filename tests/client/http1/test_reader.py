"""Answers, cut anywhere."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.client.http1.reader import LONGEST_HEAD, Malformed, Reader

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9\-]{0,12}", fullmatch=True).filter(
    lambda name: (
        name.lower() not in {"connection", "content-length", "transfer-encoding", "content-encoding", "trailer"}
    )
)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=20)


@dataclass
class Answer:
    """What a server means, and how it writes it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    framing: str
    chunks: list[int] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: int = 0

    def encoded(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} Some Reason", *(f"{name}:  {value} " for name, value in self.headers)]
        if self.framing == "sized":
            lines.append(f"cOntent-length: {len(self.body)}")
        elif self.framing == "chunked":
            lines.append("Transfer-Encoding: Chunked")
        head = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * self.interim + "\r\n".join(lines) + "\r\n\r\n"
        return head.encode("latin-1") + self._framed()

    def _framed(self) -> bytes:
        if self.framing != "chunked":
            return self.body
        made, at = b"", 0
        for size in self.chunks:
            if piece := self.body[at : at + size]:
                made += b"%X;name=value\r\n%s\r\n" % (len(piece), piece)
            at += size
        if piece := self.body[at:]:
            made += b"%04x\r\n%s\r\n" % (len(piece), piece)
        return made + b"0\r\n" + "".join(f"{n}: {v}\r\n" for n, v in self.trailers).encode("latin-1") + b"\r\n"


HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5)
ANSWERS = st.builds(
    Answer,
    status=st.sampled_from([200, 201, 400, 404, 409, 429, 500, 599]),
    headers=HEADERS,
    body=st.binary(max_size=300),
    framing=st.sampled_from(["sized", "chunked", "closed"]),
    chunks=st.lists(st.integers(1, 80), max_size=5),
    trailers=HEADERS,
    interim=st.integers(0, 2),
)
CUTS = st.lists(st.integers(0, 900), max_size=8)


def fed(reader: Reader, data: bytes, cuts: list[int] | None = None) -> bytes:
    """The body, after the reader had the data in pieces."""
    body, at = b"", 0
    for cut in [*sorted(set(cuts or ())), len(data)]:
        reader.feed(data[at : max(cut, at)])
        at = max(cut, at)
        body += reader.take()
    return body


@given(answer=ANSWERS, cuts=CUTS)
def test_an_answer_is_the_same_however_it_is_cut(answer, cuts):
    reader = Reader("GET")
    body = fed(reader, answer.encoded(), cuts)
    assert reader.status == answer.status
    assert reader.done == (answer.framing != "closed")
    assert reader.reusable == (answer.framing != "closed")
    reader.end()
    assert reader.done
    assert body == answer.body
    for name, _ in answer.headers:
        values = [v for n, v in answer.headers if n.lower() == name.lower()]
        assert reader.headers[name.lower()] == ", ".join(values)


@settings(max_examples=30)
@given(answer=ANSWERS)
def test_an_answer_may_come_byte_by_byte(answer):
    reader = Reader("GET")
    assert fed(reader, answer.encoded(), [*range(len(answer.encoded()))]) == answer.body


@settings(max_examples=50)
@given(answer=ANSWERS.filter(lambda a: a.framing != "closed"), data=st.data())
def test_an_answer_that_breaks_off_is_told_from_a_whole_one(answer, data):
    encoded = answer.encoded()
    reader = Reader("GET")
    reader.feed(encoded[: data.draw(st.integers(0, len(encoded) - 1))])
    if not reader.done:  # trailing bytes after a body of no bytes
        with pytest.raises(Malformed):
            reader.end()


@settings(max_examples=50)
@given(answer=ANSWERS.filter(lambda a: a.framing != "closed"), more=st.binary(min_size=1, max_size=20), cuts=CUTS)
def test_after_more_than_was_asked_for_the_connection_is_not_used_again(answer, more, cuts):
    reader = Reader("GET")
    encoded = answer.encoded() + more
    reader.feed(encoded)
    assert reader.take() == answer.body
    assert reader.done
    assert not reader.reusable


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_bytes_of_any_kind_are_an_answer_or_malformed(pieces):
    for start in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        reader = Reader("GET")
        try:
            for piece in (start, *pieces):
                if not reader.done:
                    reader.feed(piece)
            reader.end()
        except Malformed:
            continue
        assert reader.done


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        ("DELETE", b"HTTP/1.1 204\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_answers_without_a_body(method, head):
    reader = Reader(method)
    assert fed(reader, head, [3, 20]) == b""
    assert reader.done
    assert reader.reusable


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1", True),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close", False),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: X, Close", False),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive", True),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1", False),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive", True),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 1", True),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1", True),
        ("HTTP/1.1 200 \r\nContent-Length: 1", True),
        ("HTTP/1.1 200 OK\r\nX: a\r\n  folded\r\nContent-Length: 1", True),
    ],
)
def test_who_may_use_the_connection_again(head, reusable):
    reader = Reader("GET")
    assert fed(reader, head.encode() + b"\r\n\r\nx") == b"x"
    assert (reader.done, reader.reusable) == (True, reusable)


def test_a_length_beside_chunks_is_not_believed_and_the_connection_not_either():
    reader = Reader("GET")
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert fed(reader, head + b"2\r\nab\r\n0\r\n\r\n") == b"ab"
    assert (reader.done, reader.reusable) == (True, False)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 99 No\r\n\r\n",
        b"HTTP/1.1 2000 No\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nName : value\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: value\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: before any\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"A" * (LONGEST_HEAD + 1),
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * LONGEST_HEAD + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * (LONGEST_HEAD + 1),
    ],
)
def test_what_is_no_answer_is_refused(data):
    with pytest.raises(Malformed):
        Reader("GET").feed(data)


@pytest.mark.parametrize(
    ("name", "pack"), [("gzip", gzip.compress), ("X-GZip", gzip.compress), ("deflate", zlib.compress)]
)
@given(body=st.binary(max_size=300), cuts=CUTS)
def test_an_encoding_that_was_not_asked_for_is_understood(name, pack, body, cuts):
    packed = pack(body)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {name}\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    reader = Reader("GET")
    assert fed(reader, head + packed, cuts) == body
    assert reader.done


def test_an_encoding_that_breaks_off_is_told():
    packed = gzip.compress(b"x" * 100)[:-4]
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
    with pytest.raises(Malformed):
        Reader("GET").feed(head + b"Content-Length: %d\r\n\r\n" % len(packed) + packed)
    reader = Reader("GET")
    reader.feed(head + b"\r\n" + packed)
    with pytest.raises(Malformed):
        reader.end()
