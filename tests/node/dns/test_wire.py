"""Messages as dnspython reads and writes them, and bytes of any kind."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.node.dns import replies, wire
from hawser.node.dns.wire import FormatError, Name, Record, Type

labels = st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=5).map(tuple)
addresses = st.ip_addresses().map(str)
ttls = st.integers(0, 2**31 - 1)
records = st.one_of(
    st.builds(wire.address, labels, addresses, ttls),
    st.builds(wire.srv, labels, st.integers(0, 65535), st.integers(0, 65535), labels, ttls),
    st.builds(lambda n, t, ttl: Record(n, Type.PTR, ttl, (t,)), labels, labels, ttls),
    st.builds(wire.soa, labels, st.integers(0, 2**32 - 1), ttls),
)


def asked(name: Name, kind: str = "A", **options: object) -> wire.Query:
    made = dns.message.make_query(dns.name.Name((*name, b"")), kind, **options)  # type: ignore[arg-type]
    return wire.read_query(made.to_wire())


@given(labels, st.sampled_from(["A", "SRV", "PTR", "AAAA"]), st.sampled_from([None, 0]), st.booleans())
def test_queries_are_read_as_others_write_them(name: Name, kind: str, edns: int | None, do: bool) -> None:
    options = {} if edns is None else {"use_edns": 0, "want_dnssec": do, "payload": 1400}
    query = asked(name, kind, **options)
    assert (query.name, query.type) == (name, dns.rdatatype.from_text(kind))
    assert (query.edns is None) == (edns is None)
    if query.edns:
        assert (query.edns.do, query.limit(udp=True), query.limit(udp=False)) == (do, 1232, 65535)


@given(labels, st.lists(records, max_size=8), st.lists(records, max_size=3), st.booleans())
def test_answers_are_read_by_others_as_they_were_meant(
    name: Name, answers: list[Record], more: list[Record], edns: bool
) -> None:
    query = asked(name, use_edns=0 if edns else None)
    message = dns.message.from_wire(wire.respond(query, 0, answers, (), more), one_rr_per_rrset=True)
    assert message.question[0].name.labels[:-1] == name
    assert message.edns == (0 if edns else -1)
    for given_records, section in ((answers, message.answer), (more, message.additional)):
        # A name may point to the same one in other letters: case is kept for the question only.
        wanted = [(wire.folded(g.name), g.type) for g in given_records]
        assert [(wire.folded(r.name.labels[:-1]), r.rdtype) for r in section] == wanted
    for given_record, got in zip(answers, message.answer, strict=True):
        plain = b"".join(p if isinstance(p, bytes) else dns.name.Name((*p, b"")).to_wire() for p in given_record.data)
        assert got[0].to_wire().lower() == plain.lower()


@given(labels, st.lists(records, min_size=1, max_size=60), st.sampled_from([512, 1232, 65535]))
def test_what_is_too_long_is_cut_and_says_so(name: Name, answers: list[Record], limit: int) -> None:
    query = asked(name)
    whole = wire.respond(query, 0, answers)
    short = wire.respond(query, 0, answers, (), answers, limit=limit)
    assert len(short) <= limit
    assert bool(dns.message.from_wire(short, ignore_trailing=False).flags & dns.flags.TC) == (len(whole) > limit)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_query_or_refused(data: bytes) -> None:
    try:
        wire.read_query(data)
    except FormatError:
        answer = wire.refused_format(data)
        if answer is not None:
            assert dns.message.from_wire(answer, question_only=True).rcode() == dns.rcode.FORMERR


@given(st.binary(max_size=60))
def test_names_that_go_in_circles_end(tail: bytes) -> None:
    data = b"\0" * 12 + b"\x01a\xc0\x0c" + tail
    with pytest.raises(FormatError):
        wire.read_name(data, 12 + 2)


@given(labels, st.lists(records, max_size=6), st.integers(0, 100), st.sampled_from([512, 1232]))
def test_a_kept_answer_is_handed_on_older_and_under_the_askers_number(
    name: Name, answers: list[Record], age: int, limit: int
) -> None:
    first, second = asked(name), asked(tuple(label.swapcase() for label in name))
    reply = replies.read(wire.respond(first, 0, answers), first, first.id)
    handed = dns.message.from_wire(replies.hand_on(reply, second, age, limit), one_rr_per_rrset=True)
    assert handed.id == second.id
    assert handed.question[0].name.labels[:-1] == second.name
    if not handed.flags & dns.flags.TC:
        assert [r.ttl for r in handed.answer] == [max(g.ttl - age, 0) for g in answers]
