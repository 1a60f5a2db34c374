"""What a forwarder does with messages of other servers: check, read, shorten, and hand on to another asker."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hawser.node.dns import wire
from hawser.node.dns.wire import FormatError, Name, Query, Rcode, Record, Type

_TC, _RD, _CD = 0x0200, 0x0100, 0x0010
_MX = 15
_WITH_NAMES = (Type.CNAME, Type.NS, Type.PTR)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of another server to a question of ours. ttls: where it has TTLs, and how long each is, seconds."""

    data: bytes
    rcode: int
    truncated: bool
    ttls: tuple[tuple[int, int], ...]
    lifetime: int | None
    """How long it may be kept, seconds; None: not at all."""
    answers: int

    @property
    def denial(self) -> bool:
        """Whether it says that there is nothing."""
        return self.rcode == Rcode.NXDOMAIN or not self.answers


def ask(query: Query, number: int) -> bytes:
    """The question as we ask it. number: the message's id."""
    flags = _RD | (_CD if query.checking_disabled else 0)
    head = struct.pack("!HHHHHH", number, flags, 1, 0, 0, 1 if query.edns else 0)
    return head + query.question + (wire.option_record(query.edns.do) if query.edns else b"")


def read(data: bytes, query: Query, number: int) -> Reply:
    """A server's answer. Raises FormatError when it is none to this question."""
    try:
        got, flags, questions, *counts = struct.unpack_from("!HHHHHH", data)
        if got != number or not flags & 0x8000 or questions != 1:
            raise FormatError("an answer to something else")
        name, end = wire.read_name(data, 12)
        kind, dns_class = struct.unpack_from("!HH", data, end)
    except struct.error as error:
        raise FormatError("an answer is cut short") from error
    same = wire.folded(name) == wire.folded(query.name) and end + 4 - 12 == len(query.question)
    if not same or (kind, dns_class) != (query.type, query.dns_class):
        raise FormatError("an answer to something else")
    truncated = bool(flags & _TC)
    records = [] if truncated else wire.placed_records(data, end + 4, counts)
    rcode = flags & 0xF
    ttls = tuple((r.ttl_offset, r.ttl) for r in records if r.type != Type.OPT)
    return Reply(data, rcode, truncated, ttls, _lifetime(data, rcode, records), counts[0])


def _lifetime(data: bytes, rcode: int, records: list[wire.Placed]) -> int | None:
    answers = [r.ttl for r in records if r.section == 0]
    if rcode == Rcode.NOERROR and answers:
        return min(answers)
    if rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return None
    for record in records:
        if record.section == 1 and record.type == Type.SOA and record.length >= 20:
            (minimum,) = struct.unpack_from("!I", data, record.data + record.length - 4)
            return min(record.ttl, int(minimum), *answers)
    return None


def hand_on(reply: Reply, query: Query, age: int, limit: int) -> bytes:
    """The answer for another asker of the same question. age: how long it was kept, seconds; limit: bytes."""
    (flags,) = struct.unpack_from("!H", reply.data, 2)
    # What was kept is not the authority's own word; who asked for recursion is told so.
    flags = flags & ~0x0400 & ~_RD | 0x0080 | (_RD if query.recursion else 0)
    if len(reply.data) > limit:
        head = struct.pack("!HHHHHH", query.id, flags | _TC, 1, 0, 0, 1 if query.edns else 0)
        return head + query.question + (wire.option_record(query.edns.do) if query.edns else b"")
    out = bytearray(reply.data)
    struct.pack_into("!HH", out, 0, query.id, flags)
    out[12 : 12 + len(query.question)] = query.question
    if age:
        for offset, ttl in reply.ttls:
            struct.pack_into("!I", out, offset, max(ttl - age, 0))
    return bytes(out)


def answers(reply: Reply) -> list[Record]:
    """The records of the answer section that follow an alias: addresses, and further aliases. Raises FormatError."""
    data = reply.data
    _, end = wire.read_name(data, 12)
    counts = struct.unpack_from("!HHH", data, 6)
    found = []
    for record in wire.placed_records(data, end + 4, counts[:1]):
        parts: tuple[bytes | Name, ...] = (data[record.data : record.data + record.length],)
        if record.type in _WITH_NAMES:
            parts = (wire.read_name(data, record.data)[0],)
        elif record.type == _MX:
            parts = (data[record.data : record.data + 2], wire.read_name(data, record.data + 2)[0])
        found.append(Record(record.name, record.type, record.ttl, parts))
    return found
