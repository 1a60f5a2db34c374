"""The machine's log files by the kubelet API."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from hawser.node.cri.client import Runtime
from hawser.node.server.access import Access
from hawser.node.server.server import KubeletServer, tls_context

from .certificates import Certificates
from .test_server import Client, OnePod, _review


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    certificates = Certificates(tmp_path)
    root = tmp_path / "log"
    (root / "sub").mkdir(parents=True)
    (root / "page").mkdir()
    (root / "page/index.html").write_text("<b>hello</b>")
    (root / "syslog").write_text("one\ntwo\n")
    (root / "syslog.gz").write_bytes(b"\x1f\x8b\x08rest")
    (root / "binary").write_bytes(b"\0\1")
    (root / "a <b>: c?#").write_text("")
    (root / "long").write_bytes(b"x" * 3_000_000)
    os.mkfifo(root / "sub/fifo")
    (tmp_path / "secret").write_text("not a log")
    os.utime(root / "syslog", (0, 0))
    tls = tls_context(*certificates.pair("server"), certificates.ca)
    pod = OnePod("", "", Path())
    runtime = Runtime(f"unix://{tmp_path}/none")
    server = KubeletServer(pod, runtime, tls, Access(_review, "node-1"), logs_folder=root)
    port = await server.start("127.0.0.1", 0)
    mine = certificates.client("kube-apiserver-kubelet-client")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=mine)) as session:
        yield Client(session, port, mine)
    await server.stop()


async def test_a_folder_is_listed_as_go_lists_it(client: Client) -> None:
    async with client.session.get(client.url("/logs/")) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert await answer.text() == (
            '<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n'
            '<a href="./a%20%3Cb%3E:%20c%3F%23">a &lt;b&gt;: c?#</a>\n'
            '<a href="binary">binary</a>\n<a href="long">long</a>\n<a href="page/">page/</a>\n<a href="sub/">sub/</a>\n'
            '<a href="syslog">syslog</a>\n<a href="syslog.gz">syslog.gz</a>\n</pre>\n'
        )


@pytest.mark.parametrize(
    ("path", "status", "kind", "body"),
    [
        ("/logs/syslog", 200, "text/plain; charset=utf-8", b"one\ntwo\n"),
        ("/logs/syslog?query=kubelet", 200, "text/plain; charset=utf-8", b"one\ntwo\n"),
        ("/logs/syslog.gz", 200, "application/x-gzip", b"\x1f\x8b\x08rest"),
        ("/logs/binary", 200, "application/octet-stream", b"\0\1"),
        ("/logs/page/", 200, "text/html; charset=utf-8", b"<b>hello</b>"),
        ("/logs/none", 404, "text/plain; charset=utf-8", b"404 page not found\n"),
        ("/logs/syslog/deeper", 404, "text/plain; charset=utf-8", b"404 page not found\n"),
        ("/logs/../secret", 404, "text/plain; charset=utf-8", b"404 page not found\n"),
        ("/logs/sub/%2e%2e/%2e%2e/secret", 404, "text/plain; charset=utf-8", b"404 page not found\n"),
        ("/logs/sub/fifo", 403, "text/plain; charset=utf-8", b"403 Forbidden\n"),
        ("/logs/sub%00", 500, "text/plain; charset=utf-8", b"500 Internal Server Error\n"),
        ("/logs", 404, "text/plain; charset=utf-8", b"404 page not found\n"),
    ],
)
async def test_files_are_served(client: Client, path: str, status: int, kind: str, body: bytes) -> None:
    url = URL(client.url(path), encoded=True)
    async with client.session.get(url) as answer:
        assert (answer.status, answer.headers["Content-Type"], await answer.read()) == (status, kind, body)


async def test_long_files_come_whole_and_in_parts(client: Client) -> None:
    async with client.session.get(client.url("/logs/long")) as answer:
        assert await answer.read() == b"x" * 3_000_000
    for wanted, status, body, shown in (
        ("bytes=4-", 206, b"two\n", "bytes 4-7/8"),
        ("bytes=0-2", 206, b"one", "bytes 0-2/8"),
        ("bytes=-2", 206, b"o\n", "bytes 6-7/8"),
        ("bytes=99-", 416, b"", "bytes */8"),
    ):
        async with client.session.get(client.url("/logs/syslog"), headers={"Range": wanted}) as answer:
            assert (answer.status, await answer.read(), answer.headers["Content-Range"]) == (status, body, shown)
            if status == 206:
                assert answer.headers["Last-Modified"] == "Thu, 01 Jan 1970 00:00:00 GMT"


@pytest.mark.parametrize(
    ("path", "where"), [("/logs/sub", "sub/"), ("/logs/syslog/", "../syslog"), ("/logs/page/index.html", "./")]
)
async def test_other_forms_of_a_path_lead_to_the_right_one(client: Client, path: str, where: str) -> None:
    async with client.session.get(client.url(path), allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, where)


async def test_who_may_not_read_logs_and_what_does_not_read_is_refused(client: Client) -> None:
    async with client.session.post(client.url("/logs/syslog")) as answer:
        assert answer.status == 405
    headers = {"Authorization": "Bearer scraper's"}
    # Without a certificate it is the token's owner who asks.
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as other,
        other.get(client.url("/logs/syslog"), headers=headers) as answer,
    ):
        assert answer.status == 403
        assert "subresource(s)=[log]" in await answer.text()
