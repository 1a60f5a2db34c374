"""DNS messages: reading queries, writing answers, and what a forwarder must know of others' answers.

Source: RFC 1035 (messages), RFC 2181, RFC 2782 (SRV), RFC 3596 (AAAA), RFC 6891 (EDNS).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

Name = tuple[bytes, ...]
"""Labels, without the root's empty one; as they came. Compare them with ``folded``."""

IN = 1
UDP_SIZE = 1232
"""What we take and send over UDP, bytes: not fragmented on any usual path (DNS Flag Day 2020)."""
PLAIN_UDP_SIZE = 512
_DO = 0x8000
_QR, _AA, _TC, _RD, _RA, _AD, _CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
_POINTER = 0xC0
_LONGEST_NAME = 255


class Type(IntEnum):
    """Record types that mean something here."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    TXT = 16
    AAAA = 28
    SRV = 33
    OPT = 41
    IXFR = 251
    AXFR = 252


class Rcode(IntEnum):
    """Response codes."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class FormatError(Exception):
    """Bytes that are no message that can be answered otherwise than with FORMERR, or not at all."""


def name_of(text: str) -> Name:
    """A name from its usual text, with or without the last dot."""
    return tuple(label.encode("latin-1", "replace") for label in text.split(".") if label)


def text_of(name: Name) -> str:
    """A name's usual text, without the last dot."""
    return ".".join(label.decode("latin-1") for label in name)


def folded(name: Name) -> Name:
    """The name in lower case (ASCII letters only, RFC 4343)."""
    return tuple(label.lower() for label in name)


@dataclass(frozen=True, slots=True)
class Edns:
    """What a client says in its OPT record. size: bytes that it takes over UDP; do: wants DNSSEC records."""

    size: int
    version: int = 0
    do: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A question. question: its bytes in the message, so that an answer repeats every letter as it was asked."""

    id: int
    opcode: int
    recursion: bool
    checking_disabled: bool
    name: Name
    type: int
    dns_class: int
    question: bytes
    edns: Edns | None = None

    def limit(self, udp: bool) -> int:
        """The size of an answer that the asker takes, bytes."""
        if not udp:
            return 65535
        return max(PLAIN_UDP_SIZE, min(self.edns.size, UDP_SIZE)) if self.edns else PLAIN_UDP_SIZE


@dataclass(frozen=True, slots=True)
class Record:
    """A resource record of class IN. data: parts of its RDATA, in which names stand as such."""

    name: Name
    type: int
    ttl: int
    data: tuple[bytes | Name, ...]


def address(name: Name, value: str, ttl: int) -> Record:
    """An A or AAAA record."""
    if ":" in value:
        return Record(name, Type.AAAA, ttl, (IPv6Address(value).packed,))
    return Record(name, Type.A, ttl, (IPv4Address(value).packed,))


def srv(name: Name, weight: int, port: int, target: Name, ttl: int) -> Record:
    """An SRV record of priority 0."""
    return Record(name, Type.SRV, ttl, (struct.pack("!HHH", 0, weight, port), target))


def txt(name: Name, text: str, ttl: int) -> Record:
    """A TXT record with one string."""
    return Record(name, Type.TXT, ttl, (bytes([len(text)]) + text.encode(),))


def soa(zone: Name, serial: int, ttl: int) -> Record:
    """The SOA of a zone that is served here; ttl is also how long a negative answer may be kept (RFC 2308)."""
    numbers = struct.pack("!IIIII", serial, 7200, 1800, 86400, ttl)
    return Record(zone, Type.SOA, ttl, ((b"ns", b"dns", *zone), (b"hostmaster", *zone), numbers))


def read_name(data: bytes, offset: int) -> tuple[Name, int]:
    """The name at an offset, and the offset behind it. Raises FormatError."""
    labels: list[bytes] = []
    end, length = 0, 0
    try:
        while size := data[offset]:
            if size & _POINTER == _POINTER:
                target = (size & 0x3F) << 8 | data[offset + 1]
                end = end or offset + 2
                # Pointers lead backwards only, so that they cannot go in circles.
                if target >= offset:
                    raise FormatError("a name points forwards")
                offset = target
                continue
            label = data[offset + 1 : offset + 1 + size]
            length += size + 1
            if size > 63 or len(label) != size or length >= _LONGEST_NAME:
                raise FormatError("a name is too long")
            labels.append(label)
            offset += size + 1
    except IndexError as error:
        raise FormatError("a name is cut short") from error
    return tuple(labels), end or offset + 1


@dataclass(frozen=True, slots=True)
class Placed:
    """A record in a message: where its TTL and its RDATA are. section: 0 answer, 1 authority, 2 additional."""

    section: int
    name: Name
    type: int
    dns_class: int
    ttl: int
    ttl_offset: int
    data: int
    length: int


def placed_records(data: bytes, offset: int, counts: Sequence[int]) -> list[Placed]:
    """The records from an offset on. counts: of each section. Raises FormatError."""
    found: list[Placed] = []
    try:
        for section, count in enumerate(counts):
            for _ in range(count):
                name, offset = read_name(data, offset)
                kind, dns_class, ttl, length = struct.unpack_from("!HHIH", data, offset)
                if offset + 10 + length > len(data):
                    raise FormatError("a record is cut short")
                found.append(Placed(section, name, kind, dns_class, ttl, offset + 4, offset + 10, length))
                offset += 10 + length
    except struct.error as error:
        raise FormatError("a record is cut short") from error
    return found


def read_query(data: bytes) -> Query:
    """A query from a client. Raises FormatError; ``refused_format`` makes the answer to that."""
    try:
        number, flags, questions, *counts = struct.unpack_from("!HHHHHH", data)
        if flags & _QR or questions != 1:
            raise FormatError("not a query with one question")
        name, end = read_name(data, 12)
        kind, dns_class = struct.unpack_from("!HH", data, end)
    except struct.error as error:
        raise FormatError("a message is cut short") from error
    options = [r for r in placed_records(data, end + 4, counts) if r.type == Type.OPT]
    if len(options) > 1 or any(option.name for option in options):
        raise FormatError("more than one OPT record, or one with a name")
    edns = None
    if options:
        option = options[0]
        edns = Edns(option.dns_class, option.ttl >> 16 & 0xFF, bool(option.ttl & _DO))
    return Query(
        number,
        flags >> 11 & 0xF,
        bool(flags & _RD),
        bool(flags & _CD),
        name,
        kind,
        dns_class,
        data[12 : end + 4],
        edns,
    )


def refused_format(data: bytes) -> bytes | None:
    """FORMERR for what ``read_query`` could not read; None for what must not be answered at all (no query)."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    number, flags = struct.unpack_from("!HH", data)
    return struct.pack("!HHHHHH", number, _QR | flags & (0x7800 | _RD) | Rcode.FORMERR, 0, 0, 0, 0)


def respond(
    query: Query,
    rcode: int,
    answers: Iterable[Record] = (),
    authority: Iterable[Record] = (),
    additional: Iterable[Record] = (),
    *,
    authoritative: bool = False,
    limit: int = 65535,
) -> bytes:
    """An answer of at most ``limit`` bytes: without what is only helpful if that is too much, else truncated."""
    sections = [list(answers), list(authority), list(additional)]
    flags = _QR | query.opcode << 11 | _RA | (_AA if authoritative else 0) | (_RD if query.recursion else 0)
    flags |= (_CD if query.checking_disabled else 0) | rcode & 0xF
    message = _message(query, flags, sections, rcode)
    if len(message) > limit and sections[2]:
        sections[2] = []
        message = _message(query, flags, sections, rcode)
    while len(message) > limit and any(sections):
        flags |= _TC
        # Halved until it fits: what is left is a hint only, a truncated answer is asked for again over TCP.
        sections = [sections[0][: len(sections[0]) // 2], [], []]
        message = _message(query, flags, sections, rcode)
    return message


def _message(query: Query, flags: int, sections: list[list[Record]], rcode: int) -> bytes:
    extra = 1 if query.edns else 0
    counts = (len(sections[0]), len(sections[1]), len(sections[2]) + extra)
    out = bytearray(struct.pack("!HHHHHH", query.id, flags, 1, *counts))
    known: dict[Name, int] = {}
    _remember(known, query.name, 12)
    out += query.question
    for record in (*sections[0], *sections[1], *sections[2]):
        _write(out, record, known)
    if query.edns:
        out += option_record(query.edns.do, rcode)
    return bytes(out)


def option_record(do: bool, rcode: int = 0) -> bytes:
    """Our OPT record."""
    return struct.pack("!BHHIH", 0, Type.OPT, UDP_SIZE, (rcode >> 4) << 24 | (_DO if do else 0), 0)


def question(name: Name, kind: int) -> bytes:
    """The bytes of a question of class IN."""
    return _name_bytes(name) + struct.pack("!HH", kind, IN)


def _remember(known: dict[Name, int], name: Name, offset: int) -> None:
    lower = folded(name)
    for index, label in enumerate(name):
        if offset > 0x3FFF:
            return
        known.setdefault(lower[index:], offset)
        offset += len(label) + 1


def _name_bytes(name: Name) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in name) + b"\0"


def _write_name(out: bytearray, name: Name, known: dict[Name, int]) -> None:
    lower = folded(name)
    for index in range(len(name)):
        at = known.get(lower[index:])
        if at is not None:
            _remember(known, name, len(out))
            out += _name_bytes(name[:index])[:-1] + struct.pack("!H", _POINTER << 8 | at)
            return
    _remember(known, name, len(out))
    out += _name_bytes(name)


def _write(out: bytearray, record: Record, known: dict[Name, int]) -> None:
    _write_name(out, record.name, known)
    out += struct.pack("!HHIH", record.type, IN, record.ttl, 0)
    start = len(out)
    for part in record.data:
        if isinstance(part, bytes):
            out += part
        elif record.type == Type.SRV:
            out += _name_bytes(part)  # not compressed (RFC 2782)
        else:
            _write_name(out, part, known)
    struct.pack_into("!H", out, start - 2, len(out) - start)
