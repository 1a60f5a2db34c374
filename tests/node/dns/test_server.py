"""The DNS server over real sockets, with dnspython as its client and as the servers it asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from hawser.node.dns.cluster import NodeServers
from hawser.node.dns.metrics import Metrics
from hawser.node.dns.resolver import Resolver
from hawser.node.dns.server import Server
from hawser.node.dns.upstream import Upstream

from .support import Known, zone

Message = dns.message.Message
Answer = Callable[[Message], Message | None]
SVC = "ns.svc.cluster.local"


@dataclass
class Elsewhere(asyncio.DatagramProtocol):
    """A name server elsewhere. answer: what it says, None for nothing."""

    answer: Answer
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        made = self._made(data, "udp")
        if made is not None:
            wire = made.to_wire()
            if len(wire) > 1232:
                made.flags |= dns.flags.TC
                made.answer = []
                wire = made.to_wire()
            self.transport.sendto(wire, addr)  # type: ignore[attr-defined]

    def _made(self, data: bytes, protocol: str) -> Message | None:
        query = dns.message.from_wire(data)
        self.asked.append(f"{protocol} {query.question[0].name}")
        return self.answer(query)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        made = self._made(await reader.readexactly(size), "tcp")
        if made is not None:
            wire = made.to_wire()
            writer.write(len(wire).to_bytes(2, "big") + wire)
        writer.close()


@asynccontextmanager
async def elsewhere(answer: Answer) -> AsyncIterator[Elsewhere]:
    protocol = Elsewhere(answer)
    server = await asyncio.start_server(protocol.serve, "127.0.0.1", 0)
    protocol.port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: protocol, local_addr=("127.0.0.1", protocol.port))
    yield protocol
    transport.close()
    server.close()
    await server.wait_closed()


@dataclass
class Here:
    """The server under test. now: its clock."""

    server: Server
    resolver: Resolver
    servers: list[tuple[str, int]]
    now: float = 0.0

    async def ask(self, name: str, kind: str = "A", *, tcp: bool = False, **options: object) -> Message:
        query = dns.message.make_query(name, kind, **options)  # type: ignore[arg-type]
        call = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        return await call(query, "127.0.0.1", port=self.server.port, timeout=8)


@pytest.fixture
async def here() -> AsyncIterator[Here]:
    metrics, servers = Metrics(), []
    made: list[Here] = []
    resolver = Resolver(zone(), Upstream(lambda: servers), metrics, clock=lambda: made[0].now)
    server = Server(resolver, metrics, "cluster.local")
    made.append(Here(server, resolver, servers))
    task = asyncio.create_task(server.run("127.0.0.1", 0, 0))
    while not server.metrics_port:  # noqa: ASYNC110 - one step of the loop each
        await asyncio.sleep(0)
    yield made[0]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def addresses(message: Message) -> list[str]:
    return [str(item) for rrset in message.answer for item in rrset if rrset.rdtype in (1, 28)]


def one_address(address: str, ttl: int = 300) -> Answer:
    def answer(query: Message) -> Message:
        made = dns.message.make_response(query)
        made.answer = [dns.rrset.from_text(query.question[0].name, ttl, "IN", "A", address)]
        return made

    return answer


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_cluster_names_are_answered_as_they_were_asked(here: Here, tcp: bool) -> None:
    name = "wEb.Ns.SVC.cluster.LOCAL."
    answer = await here.ask(name, tcp=tcp)
    assert addresses(answer) == ["10.2.0.20"]
    assert str(answer.question[0].name) == str(answer.answer[0].name) == name
    assert answer.flags & dns.flags.AA and answer.flags & dns.flags.RA
    assert answer.answer[0].ttl == 30
    missing = await here.ask(f"nothing.{SVC}", tcp=tcp)
    assert missing.rcode() == dns.rcode.NXDOMAIN
    assert str(missing.authority[0][0]).split()[:2] == ["ns.dns.cluster.local.", "hostmaster.cluster.local."]
    assert missing.authority[0].ttl == 5
    nodata = await here.ask(f"web.{SVC}", "AAAA", tcp=tcp)
    assert (nodata.rcode(), nodata.answer, len(nodata.authority)) == (dns.rcode.NOERROR, [], 1)


async def test_what_cannot_be_answered_says_why(here: Here) -> None:
    assert (await here.ask("cluster.local", "AXFR", tcp=False)).rcode() == dns.rcode.REFUSED
    assert (await here.ask("version.bind", "TXT", rdclass="CH")).rcode() == dns.rcode.REFUSED
    assert (await here.ask("web.ns.svc.cluster.local", use_edns=1)).rcode() == dns.rcode.BADVERS
    update = dns.message.make_query("cluster.local", "SOA")
    update.set_opcode(dns.opcode.NOTIFY)
    answer = await dns.asyncquery.udp(update, "127.0.0.1", port=here.server.port, timeout=8)
    assert answer.rcode() == dns.rcode.NOTIMP


async def test_without_servers_to_ask_it_fails_at_once_and_cluster_names_go_on(here: Here) -> None:
    assert (await here.ask("example.org")).rcode() == dns.rcode.SERVFAIL
    assert addresses(await here.ask(f"web.{SVC}")) == ["10.2.0.20"]


async def test_other_names_are_asked_elsewhere_and_kept_for_their_time(here: Here) -> None:
    async with elsewhere(one_address("192.0.2.1", ttl=20)) as other:
        here.servers.append(("127.0.0.1", other.port))
        assert addresses(await here.ask("example.org")) == ["192.0.2.1"]
        here.now = 12.5
        kept = await here.ask("EXAMPLE.org")
        assert (addresses(kept), kept.answer[0].ttl) == (["192.0.2.1"], 8)
        assert len(other.asked) == 1
        here.now = 20.5
        await here.ask("example.org")
        assert len(other.asked) == 2


async def test_many_who_ask_the_same_at_a_time_cost_one_question(here: Here) -> None:
    async with elsewhere(one_address("192.0.2.1", ttl=0)) as other:
        here.servers.append(("127.0.0.1", other.port))
        answers = await asyncio.gather(*(here.ask("example.org") for _ in range(20)))
        assert {tuple(addresses(a)) for a in answers} == {("192.0.2.1",)}
        assert len(other.asked) < 20


async def test_a_server_that_is_gone_or_fails_is_followed_by_the_next(here: Here) -> None:
    def fails(query: Message) -> Message:
        made = dns.message.make_response(query)
        made.set_rcode(dns.rcode.SERVFAIL)
        return made

    async with elsewhere(fails) as bad, elsewhere(one_address("192.0.2.2")) as good:
        # Nobody listens at port 1: the kernel says so at once.
        here.servers += [("127.0.0.1", 1), ("127.0.0.1", bad.port), ("127.0.0.1", good.port)]
        assert addresses(await here.ask("example.org")) == ["192.0.2.2"]
        assert len(bad.asked) == 1
        del here.servers[2]
        assert (await here.ask("example.com")).rcode() == dns.rcode.SERVFAIL


async def test_long_answers_are_fetched_over_tcp_and_cut_for_udp(here: Here) -> None:
    def many(query: Message) -> Message:
        made = dns.message.make_response(query)
        listed = [f"192.0.2.{i}" for i in range(200)]
        made.answer = [dns.rrset.from_text(query.question[0].name, 60, "IN", "A", *listed)]
        return made

    async with elsewhere(many) as other:
        here.servers.append(("127.0.0.1", other.port))
        short = await here.ask("example.org")
        assert short.flags & dns.flags.TC
        assert len(addresses(await here.ask("example.org", tcp=True))) == 200
        assert [line.split()[0] for line in other.asked] == ["udp", "tcp"]


async def test_a_forged_answer_is_not_listened_to(here: Here) -> None:
    def forged(query: Message) -> Message:
        made = one_address("6.6.6.6")(query)
        made.id = query.id ^ 1
        asyncio.get_running_loop().call_soon(true_one, one_address("192.0.2.1")(query))
        assert made is not None
        return made

    async with elsewhere(forged) as other:
        peer: list[tuple[str | object, int]] = []
        received = other.datagram_received

        def remembering(data: bytes, addr: tuple[str | object, int]) -> None:
            peer.append(addr)
            received(data, addr)

        other.datagram_received = remembering  # type: ignore[method-assign]

        def true_one(message: Message) -> None:
            other.transport.sendto(message.to_wire(), peer[0])  # type: ignore[attr-defined]

        here.servers.append(("127.0.0.1", other.port))
        assert addresses(await here.ask("example.org")) == ["192.0.2.1"]


async def test_external_names_are_followed_wherever_they_lead(here: Here) -> None:
    async with elsewhere(one_address("192.0.2.7")) as other:
        here.servers.append(("127.0.0.1", other.port))
        answer = await here.ask(f"outside.{SVC}")
        assert addresses(answer) == ["192.0.2.7"]
        assert [str(rrset.name) for rrset in answer.answer] == [f"outside.{SVC}.", "www.example.org."]
        assert other.asked == ["udp www.example.org."]
        assert addresses(await here.ask(f"inside.{SVC}")) == ["10.2.0.20"]
        only = await here.ask(f"outside.{SVC}", "CNAME")
        assert [str(item) for item in only.answer[0]] == ["www.example.org."]
        assert (await here.ask(f"round.{SVC}")).rcode() == dns.rcode.SERVFAIL


async def test_a_question_that_comes_back_does_not_go_round_for_ever(here: Here) -> None:
    here.servers.append(("127.0.0.1", here.server.port))
    assert (await here.ask("example.org")).rcode() == dns.rcode.SERVFAIL
    assert (await here.ask("example.org")).rcode() == dns.rcode.SERVFAIL, "kept: at once"


async def test_cluster_names_fail_for_the_time_being_until_everything_is_known(here: Here) -> None:
    services = here.resolver._zone._services
    assert isinstance(services, Known)
    services.has_synced = False
    for name in (f"web.{SVC}", "20.0.2.10.in-addr.arpa"):
        assert (await here.ask(name)).rcode() == dns.rcode.SERVFAIL
    services.has_synced = True
    assert addresses(await here.ask(f"web.{SVC}")) == ["10.2.0.20"]


async def test_metrics_have_the_names_of_corednss_and_add_up(here: Here) -> None:
    async with elsewhere(one_address("192.0.2.1")) as other:
        here.servers.append(("127.0.0.1", other.port))
        for name in (f"web.{SVC}", f"nothing.{SVC}", "example.org", "example.org"):
            await here.ask(name)
        await here.ask(f"web.{SVC}", "SRV", tcp=True)
        for kind in ("TYPE4711", "TYPE4712"):
            await here.ask(f"web.{SVC}", kind)
    reader, writer = await asyncio.open_connection("127.0.0.1", here.server.metrics_port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    assert head.startswith("HTTP/1.1 200 OK") and "version=0.0.4" in head
    found = dict(line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#"))
    own, server = 'view="",zone="cluster.local."', 'server="dns://:53"'
    assert found[f'coredns_dns_requests_total{{family="1",proto="udp",{server},type="A",{own}}}'] == "2"
    assert found[f'coredns_dns_requests_total{{family="1",proto="tcp",{server},type="SRV",{own}}}'] == "1"
    assert found[f'coredns_dns_requests_total{{family="1",proto="udp",{server},type="other",{own}}}'] == "2"
    assert found[f'coredns_dns_responses_total{{plugin="",rcode="NXDOMAIN",{server},{own}}}'] == "1"
    assert found[f'coredns_cache_hits_total{{{server},type="success",view="",zones="."}}'] == "1"
    assert found[f'coredns_cache_misses_total{{{server},view="",zones="."}}'] == "1"
    assert found[f'coredns_cache_entries{{{server},view="",zones="."}}'] == "1"
    seconds = "coredns_dns_request_duration_seconds"
    assert found[f'{seconds}_bucket{{{server},view="",zone=".",le="+Inf"}}'] == "7"
    assert found[f'{seconds}_count{{{server},view="",zone="."}}'] == "7"


def test_the_nodes_servers_are_read_again_when_they_change_but_never_the_own_address(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    servers = NodeServers(path, ["10.96.0.10"])
    assert servers() == []
    path.write_text("nameserver 10.96.0.10\nnameserver 192.0.2.53\n")
    assert servers() == [("192.0.2.53", 53)]
    fresh = tmp_path / "fresh"
    fresh.write_text("nameserver 192.0.2.54\n")
    fresh.replace(path)
    assert servers() == [("192.0.2.54", 53)]
    path.unlink()
    assert servers() == []
