"""The bytes of requests."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.client.http1.requests import Requests


def lines(request: bytes) -> list[str]:
    return request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")


@pytest.mark.parametrize(
    ("server", "host", "port", "secure", "shown", "target"),
    [
        ("https://10.0.0.1:6443", "10.0.0.1", 6443, True, "10.0.0.1:6443", "/api"),
        ("https://api.example", "api.example", 443, True, "api.example", "/api"),
        ("https://api.example:443/k8s/clusters/c-1", "api.example", 443, True, "api.example", "/k8s/clusters/c-1/api"),
        ("http://localhost", "localhost", 80, False, "localhost", "/api"),
        ("https://[fd00::1]:6443/", "fd00::1", 6443, True, "[fd00::1]:6443", "/api"),
        ("https://bücher.example", "xn--bcher-kva.example", 443, True, "xn--bcher-kva.example", "/api"),
    ],
)
def test_servers_and_what_is_sent_to_them(server, host, port, secure, shown, target):
    requests = Requests(server, "tester")
    assert (requests.host, requests.port, requests.secure) == (host, port, secure)
    first, *others = lines(requests.encode("GET", "/api", accept="application/json", token="secret"))
    assert first == f"GET {target} HTTP/1.1"
    assert f"Host: {shown}" in others
    assert "User-Agent: tester" in others
    assert "Accept: application/json" in others
    assert "Authorization: Bearer secret" in others


@pytest.mark.parametrize("server", ["", "127.0.0.1:6443", "ftp://host", "https://", "https://host:port"])
def test_what_is_no_server_is_refused(server):
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        Requests(server, "tester")


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("GET", None, None),
        ("HEAD", None, None),
        ("DELETE", None, "0"),
        ("POST", None, "0"),
        ("PUT", b"", "0"),
        ("GET", b"abc", "3"),
        ("PATCH", "ä".encode(), "2"),
    ],
)
def test_a_body_is_announced(method, body, length):
    request = Requests("http://h", "t").encode(method, "/", body, content_type="text/plain" if body else "")
    found = [line.partition(": ")[2] for line in lines(request) if line.startswith("Content-Length")]
    assert found == ([] if length is None else [length])
    assert request.endswith(b"\r\n\r\n" + (body or b""))


@given(st.text(min_size=1, max_size=20), st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3))
def test_whatever_a_path_and_its_parameters_hold_it_stays_one_line_and_one_target(name, params):
    name = name.replace("%", "").replace("?", "").encode("utf-8", "ignore").decode()
    params = {k.encode("utf-8", "ignore").decode(): v.encode("utf-8", "ignore").decode() for k, v in params.items()}
    first, *others = lines(Requests("http://h", "t").encode("GET", f"/api/{name}?a=b", params=params))
    method, target, version = first.split(" ")
    assert (method, version, len(others)) == ("GET", "HTTP/1.1", 3)
    assert target.isascii()
    assert target.isprintable()
    path, _, query = target.partition("?")
    assert unquote(path) == f"/api/{name}"
    assert dict(parse_qsl(query, keep_blank_values=True)) == {"a": "b", **params}


@pytest.mark.parametrize("token", ["a\r\nX: y", "a\nb", "a\0", "a\r", "\N{SNOWMAN}"])
def test_a_header_is_one_line(token):
    with pytest.raises(ValueError, match="header"):
        Requests("http://h", "t").encode("GET", "/", token=token)


def test_tokens_that_are_rotated_are_not_remembered_for_ever():
    requests = Requests("http://h", "t")
    for number in range(500):
        assert f"Authorization: Bearer {number}" in lines(requests.encode("GET", "/", token=str(number)))
    assert len(requests._lines) < 100
