"""The specification "Kubernetes DNS-Based Service Discovery", record by record."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from hawser.node.dns import wire
from hawser.node.dns.wire import Rcode, Record, Type

from .support import zone

SVC = "ns.svc.cluster.local"
NX, NONE = "NXDOMAIN", "NODATA"


def shown(record: Record) -> str:
    data = record.data[0]
    match record.type:
        case Type.A | Type.AAAA:
            assert isinstance(data, bytes)
            return str(ip_address(data))
        case Type.TXT:
            assert isinstance(data, bytes)
            return data[1:].decode()
        case Type.SRV:
            assert isinstance(data, bytes) and isinstance(record.data[1], tuple)
            priority, weight, port = struct.unpack("!HHH", data)
            return f"{priority} {weight} {port} {wire.text_of(record.data[1])}"
    assert isinstance(data, tuple)
    return wire.text_of(data)


def ask(name: str, kind: Type) -> list[str] | str | None:
    answer = zone().lookup(wire.name_of(name), kind)
    if answer is None:
        return None
    if answer.answers:
        return sorted(shown(record) for record in answer.answers)
    (soa,) = answer.authority
    assert (soa.type, soa.ttl) == (Type.SOA, 5)
    return NX if answer.rcode == Rcode.NXDOMAIN else NONE


CASES: list[tuple[str, Type, list[str] | str | None]] = [
    # 2.2 schema version, and the zone itself
    ("dns-version.cluster.local", Type.TXT, ["1.1.0"]),
    ("dns-version.cluster.local", Type.A, NONE),
    ("cluster.local", Type.NS, ["ns.dns.cluster.local"]),
    ("cluster.local", Type.SOA, ["ns.dns.cluster.local"]),
    ("ns.dns.cluster.local", Type.A, ["10.2.0.10"]),
    ("cluster.local", Type.A, NONE),
    ("svc.cluster.local", Type.A, NONE),
    ("ns.svc.cluster.local", Type.A, NONE),
    ("other.svc.cluster.local", Type.A, NX),
    ("cluster.local.ns.svc.cluster.local", Type.A, NX),
    # 2.3 Services with a cluster address
    (f"web.{SVC}", Type.A, ["10.2.0.20"]),
    (f"web.{SVC}", Type.AAAA, NONE),
    (f"web.{SVC}", Type.TXT, NONE),
    (f"both.{SVC}", Type.AAAA, ["fd00::21"]),
    (f"nothing.{SVC}", Type.A, NX),
    (f"_http._tcp.web.{SVC}", Type.SRV, [f"0 100 80 web.{SVC}"]),
    (f"_dns._udp.web.{SVC}", Type.SRV, [f"0 100 53 web.{SVC}"]),
    (f"_http._tcp.web.{SVC}", Type.A, NONE),
    (f"_http._udp.web.{SVC}", Type.SRV, NX),
    (f"_._tcp.web.{SVC}", Type.SRV, NX),
    (f"_tcp.web.{SVC}", Type.SRV, NONE),
    (f"_sctp.web.{SVC}", Type.SRV, NX),
    ("20.0.2.10.in-addr.arpa", Type.PTR, [f"web.{SVC}"]),
    ("20.0.2.10.in-addr.arpa", Type.A, NONE),
    (".".join(reversed(ip_address("fd00::21").exploded.replace(":", ""))) + ".ip6.arpa", Type.PTR, [f"both.{SVC}"]),
    # 2.4 headless Services
    (f"pods.{SVC}", Type.A, ["10.1.0.5", "10.1.0.6", "10.1.0.7"]),
    (f"pods.{SVC}", Type.AAAA, NONE),
    (f"six.{SVC}", Type.AAAA, ["fd01::5"]),
    (f"empty.{SVC}", Type.A, NX),
    (f"web-0.pods.{SVC}", Type.A, ["10.1.0.5"]),
    (f"10-1-0-7.pods.{SVC}", Type.A, ["10.1.0.7"]),
    (f"fd01--5.six.{SVC}", Type.AAAA, ["fd01::5"]),
    (f"web-3.pods.{SVC}", Type.A, NX),
    (
        f"_http._tcp.pods.{SVC}",
        Type.SRV,
        [f"0 33 8080 10-1-0-7.pods.{SVC}", f"0 33 8080 web-0.pods.{SVC}", f"0 33 8080 web-1.pods.{SVC}"],
    ),
    ("5.0.1.10.in-addr.arpa", Type.PTR, [f"web-0.web.{SVC}", f"web-0.pods.{SVC}"]),
    ("7.0.1.10.in-addr.arpa", Type.PTR, NX),
    # 2.5 external names
    (f"outside.{SVC}", Type.A, ["www.example.org"]),
    (f"outside.{SVC}", Type.CNAME, ["www.example.org"]),
    (f"literal.{SVC}", Type.A, NX),
    (f"x.outside.{SVC}", Type.A, NX),
    # 2.6 pods by address
    ("10-1-0-7.ns.pod.cluster.local", Type.A, ["10.1.0.7"]),
    ("10-1-0-7.ns.pod.cluster.local", Type.AAAA, NONE),
    ("fd01--5.ns.pod.cluster.local", Type.AAAA, ["fd01::5"]),
    ("300-1-0-7.ns.pod.cluster.local", Type.A, NX),
    ("web.ns.pod.cluster.local", Type.A, NX),
    # what others know
    ("example.org", Type.A, None),
    ("web.ns.svc", Type.A, None),
    ("5.5.5.5.in-addr.arpa", Type.PTR, None),
    ("local", Type.A, None),
]


@pytest.mark.parametrize(("name", "kind", "answer"), CASES, ids=[f"{k.name} {n}" for n, k, _ in CASES])
def test_names_have_the_specifications_records(name: str, kind: Type, answer: list[str] | str | None) -> None:
    found = ask(name, kind)
    assert found == (sorted(answer) if isinstance(answer, list) else answer)


def test_srv_records_come_with_the_addresses_they_lead_to() -> None:
    answer = zone().lookup(wire.name_of(f"_http._tcp.pods.{SVC}"), Type.SRV)
    assert answer is not None
    assert {(wire.text_of(r.name), shown(r)) for r in answer.additional} == {
        (f"web-0.pods.{SVC}", "10.1.0.5"),
        (f"web-1.pods.{SVC}", "10.1.0.6"),
        (f"10-1-0-7.pods.{SVC}", "10.1.0.7"),
    }


def test_a_domain_may_have_any_number_of_labels() -> None:
    assert zone("k8s").lookup(wire.name_of("web.ns.svc.k8s"), Type.A) is not None
    assert zone("a.b.c.d").lookup(wire.name_of("web.ns.svc.a.b.c.d"), Type.A) is not None
