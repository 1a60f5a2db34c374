"""Links of proxied pages, as Kubernetes' proxy transport rewrites them."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.apiserver.weblinks import Body, Links, body

PREFIX = "/api/v1/namespaces/proxy-1/pods/https:web:443/proxy"
LINKS = Links(PREFIX, "10.0.0.7:8080", "localhost:8001")


@pytest.mark.parametrize(
    ("link", "seen"),
    [
        ("/", f"{PREFIX}/"),
        ("/a/b?c=d#e", f"{PREFIX}/a/b?c=d#e"),
        ("/a//b/../c/", f"{PREFIX}/a/c/"),
        ("http://10.0.0.7:8080/a", f"{PREFIX}/a"),
        ("//localhost:8001/a", f"{PREFIX}/a"),
        (f"{PREFIX}/a", f"{PREFIX}/a"),
        ("a/b", "a/b"),
        ("../b", "../b"),
        ("", ""),
        ("#top", "#top"),
        ("http://example.com/a", "http://example.com/a"),
        ("http://10.0.0.7/a", "http://10.0.0.7/a"),
        ("mailto:you@example.com", "mailto:you@example.com"),
        ("http://[broken/a", "http://[broken/a"),
    ],
)
def test_absolute_paths_of_the_server_lie_below_the_proxy(link: str, seen: str) -> None:
    assert LINKS.url(link) == seen


def whole(changing: Body | None, *pieces: bytes) -> bytes:
    assert changing is not None
    return b"".join([changing.feed(piece) for piece in pieces] + [changing.end()])


def page(*pieces: bytes) -> bytes:
    return whole(body(LINKS, {"Content-Type": "text/html; charset=utf-8"}), *pieces)


@pytest.mark.parametrize(
    ("html", "seen"),
    [
        ('<a href="/x">test</a>', f'<a href="{PREFIX}/x">test</a>'),
        ("<IMG SRC=/x.png Alt='a \"b\"'>", f'<img src="{PREFIX}/x.png" alt="a &quot;b&quot;">'),
        ("<script src='/x.js' async></script>", f'<script src="{PREFIX}/x.js" async></script>'),
        ('<a href="/x?a=1&amp;b=2">', f'<a href="{PREFIX}/x?a=1&amp;b=2">'),
        ('<img src="/x" title="&euro;"/>', f'<img src="{PREFIX}/x" title="&#8364;"/>'),
        ('<form action="/go" method=post>', f'<form action="{PREFIX}/go" method="post">'),
        ('<a  href="x" >', '<a  href="x" >'),
        ('<p title="/x">', '<p title="/x">'),
        ('<!-- <a href="/x"> --><!DOCTYPE html>', '<!-- <a href="/x"> --><!DOCTYPE html>'),
        ("<script>'<a href=\"/x\">'</script>", "<script>'<a href=\"/x\">'</script>"),
        ("a < b &amp; c &unknown; € <", "a < b &amp; c &unknown; € <"),
        ('<a href="/x', '<a href="/x'),
    ],
)
def test_links_in_html_are_changed_and_nothing_else(html: str, seen: str) -> None:
    assert page(html.encode()).decode() == seen


@given(
    st.lists(
        st.sampled_from(
            [
                '<a href="/x">',
                "</a>",
                "<",
                ">",
                "<!--",
                "-->",
                "<script>",
                "</script>",
                "&amp;",
                "&",
                "é",
                '"',
                " text ",
            ]
        ),
        max_size=12,
    ).map("".join),
    st.data(),
)
def test_it_does_not_matter_in_which_pieces_a_page_comes(html: str, data: st.DataObject) -> None:
    raw = html.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=4)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert page(*pieces) == page(raw)


@given(st.binary(max_size=60))
def test_what_has_no_links_stays_as_it_is(raw: bytes) -> None:
    assert page(raw) == raw


@pytest.mark.parametrize("strange", [b"<![nonsense", b"<!--" + b"-" * 100_000, b"<![if x]>"])
def test_what_cannot_be_read_is_passed_on(strange: bytes) -> None:
    before, after = b'<a href="/x">', b"</p> and the rest"
    assert page(before + strange, after) == f'<a href="{PREFIX}/x">'.encode() + strange + after


def test_compressed_pages_stay_compressed() -> None:
    html, seen = b'<a href="/x">', f'<a href="{PREFIX}/x">'.encode()
    headers = {"Content-Type": "text/html"}
    assert gzip.decompress(whole(body(LINKS, {**headers, "Content-Encoding": "gzip"}), gzip.compress(html))) == seen
    packed = zlib.compress(html)
    assert (
        zlib.decompress(whole(body(LINKS, {**headers, "Content-Encoding": "deflate"}), packed[:5], packed[5:])) == seen
    )


@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Type": "text/plain"}, {"Content-Type": "text/html", "Content-Encoding": "br"}],
)
def test_what_is_no_page_is_passed_on(headers: dict[str, str]) -> None:
    assert body(LINKS, headers) is None
