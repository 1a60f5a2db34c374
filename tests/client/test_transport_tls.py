"""TLS: whom the client trusts, who it says it is, and sockets that nobody forgets, on both event loops."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from hawser.api.errors import APIError
from hawser.client.client import Client

from ..node.server.certificates import Certificates
from .servers import answer_all, on_both_loops, serving


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("pki"))


def server_side(certificates: Certificates, *, asks: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca) if asks else None)
    context.load_cert_chain(*certificates.pair("server"))
    context.verify_mode = ssl.CERT_REQUIRED if asks else ssl.CERT_NONE
    return context


@on_both_loops
async def test_the_certificate_is_checked_for_the_name_that_was_asked_or_the_one_that_was_given(certificates):
    async with serving(answer_all, server_side(certificates)) as server:
        trust = certificates.client(None)
        async with Client(server.url.replace("127.0.0.1", "localhost"), trust) as client:
            assert await client.raw("POST", "/") == b"{}"
            assert await client.raw("POST", "/") == b"{}"
            assert len(server.peers) == 1
        async with Client(server.url, trust, tls_server_name="localhost") as client:
            assert await client.raw("GET", "/") == b"{}"
        async with Client(server.url, trust) as client:
            with pytest.raises(APIError, match=r"does not answer: .*certificate") as caught:
                await client.raw("GET", "/")
            assert caught.value.code == 503


@on_both_loops
async def test_an_authority_that_is_not_trusted_is_refused(certificates, tmp_path):
    async with serving(answer_all, server_side(certificates)) as server:
        async with Client(server.url, Certificates(tmp_path).client(None), tls_server_name="localhost") as client:
            with pytest.raises(APIError, match="certificate verify failed"):
                await client.raw("GET", "/")
        assert server.requests == []


@on_both_loops
async def test_the_client_shows_its_certificate(certificates):
    async with serving(answer_all, server_side(certificates, asks=True)) as server:
        async with Client(server.url, certificates.client("me"), tls_server_name="localhost") as client:
            assert await client.raw("GET", "/") == b"{}"
            certificate = server.peers[0].writer.get_extra_info("peercert")
            assert (("commonName", "me"),) in certificate["subject"]
        async with Client(server.url, certificates.client(None), tls_server_name="localhost") as client:
            with pytest.raises(APIError, match="does not answer"):
                await client.raw("GET", "/")


@on_both_loops
@pytest.mark.parametrize("name", [".leading", "a" * 300, "\0"])
async def test_a_name_that_no_certificate_can_have_is_service_unavailable(certificates, name):
    async with serving(answer_all, server_side(certificates)) as server:
        async with Client(server.url, certificates.client(None), tls_server_name=name) as client:
            with pytest.raises(APIError, match="does not answer"):
                await client.raw("GET", "/")
        assert server.peers == []


@on_both_loops
async def test_a_server_without_tls_is_service_unavailable(certificates):
    async def handle(server, peer):
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nHTTPS, please")

    async with (
        serving(handle) as server,
        Client(server.url.replace("http:", "https:"), certificates.client(None)) as client,
    ):
        with pytest.raises(APIError, match="does not answer"):
            await client.raw("GET", "/")


@on_both_loops
async def test_idle_connections_are_closed_with_the_client(certificates):
    async with serving(answer_all, server_side(certificates)) as server:
        async with Client(server.url, certificates.client(None), tls_server_name="localhost") as client:
            await asyncio.gather(*(client.raw("GET", "/") for _ in range(5)))
            assert len(client._pool._idle) == len(server.peers) > 1
        assert {made.fileno() for made in client._sockets} <= {-1}


@on_both_loops
async def test_requests_that_are_given_up_at_any_moment_leave_no_socket_open_and_no_turn_taken(certificates):
    async with serving(answer_all, server_side(certificates)) as server:
        for turns in range(25):
            async with Client(server.url, certificates.client(None), tls_server_name="localhost") as client:
                task = asyncio.create_task(client.raw("GET", "/"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert client._pool is None or client._pool._turns == 0
            assert {made.fileno() for made in client._sockets} <= {-1}, turns
