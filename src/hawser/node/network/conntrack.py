"""Flows of datagrams that the kernel still translates to where they must not go any more.

A TCP connection ends with its endpoint. UDP has no end: as long as a client goes on sending from the same port, the
kernel goes on translating as it did with the first datagram, to an endpoint that is gone or, when there was none, to
nowhere. What is forgotten here is decided anew with the next datagram.

Spoken by hand over netlink: it is one dump and one kind of deletion. Sources: linux/netfilter/nfnetlink.h and
nfnetlink_conntrack.h; kube-proxy reconciles the same entries after a change.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from errno import ENOENT
from ipaddress import ip_address

from hawser.node.network.netlink import attr, attributes, messages

Flow = tuple[str, int]
"""Where the datagrams of a flow were first sent: address ("" for any) and port."""

_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_NESTED = 0x8000
_ORIG, _REPLY, _ID, _FILTER = 1, 2, 12, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_SOURCE, _DESTINATION = (1, 3), (2, 4)
_PROTO_NUM, _DESTINATION_PORT = 1, 3
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS, _BY_PROTOCOL = 1, 2, 1 << 3
_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A flow that the kernel knows. original, identity: its own words, to name it by."""

    destination: str
    port: int
    answers_from: str
    original: bytes
    identity: bytes


def stale(entry: Entry, flows: Mapping[Flow, frozenset[str]]) -> bool:
    """Whether an entry is of one of the flows, but not answered by one of the addresses that it may go to."""
    for flow in ((entry.destination, entry.port), ("", entry.port)):
        allowed = flows.get(flow)
        if allowed is not None:
            return entry.answers_from not in allowed
    return False


def forget_stale(version: int, flows: Mapping[Flow, frozenset[str]]) -> int:
    """Forget what is stale among the UDP flows of an IP version; how many there were. Raises OSError."""
    return _forget(version, lambda entry: stale(entry, flows))


def _forget(version: int, unwanted: Callable[[Entry], bool]) -> int:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER) as link:
        link.bind((0, 0))
        link.settimeout(_SECONDS)
        gone = [entry for entry in _datagram_flows(link, family) if unwanted(entry)]
        for entry in gone:
            body = attr(_ORIG | _NESTED, entry.original) + attr(_ID, entry.identity)
            link.send(_message(_DELETE, _ACK, family, body))
            _acknowledged(link)
    return len(gone)


def _message(kind: int, flags: int, family: int, body: bytes) -> bytes:
    return struct.pack("=IHHIIBBH", 20 + len(body), kind, flags | _REQUEST, 0, 0, family, 0, 0) + body


def _datagram_flows(link: socket.socket, family: int) -> Iterator[Entry]:
    # Kernels before 5.8 do not filter: what is not UDP is left out here again.
    protocol = attr(_TUPLE_PROTO | _NESTED, attr(_PROTO_NUM, bytes([socket.IPPROTO_UDP])))
    flags = attr(_FILTER_ORIG_FLAGS, struct.pack("=I", _BY_PROTOCOL)) + attr(_FILTER_REPLY_FLAGS, bytes(4))
    link.send(_message(_GET, _DUMP, family, attr(_ORIG | _NESTED, protocol) + attr(_FILTER | _NESTED, flags)))
    while True:
        for kind, payload in messages(link.recv(1 << 18)):
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise _failure(payload)
            entry = _entry(payload[4:])
            if entry is not None:
                yield entry


def _entry(data: bytes) -> Entry | None:
    found = dict(attributes(data))
    original, reply = _tuple(found.get(_ORIG, b"")), _tuple(found.get(_REPLY, b""))
    if original[2] != socket.IPPROTO_UDP:
        return None
    return Entry(original[1], original[3], reply[0], found[_ORIG], found.get(_ID, b""))


def _tuple(data: bytes) -> tuple[str, str, int, int]:
    """Source, destination, protocol and destination port."""
    source = destination = ""
    protocol = port = 0
    for kind, value in attributes(data):
        if kind == _TUPLE_IP:
            for which, packed in attributes(value):
                if which in _SOURCE:
                    source = str(ip_address(packed))
                elif which in _DESTINATION:
                    destination = str(ip_address(packed))
        elif kind == _TUPLE_PROTO:
            for which, packed in attributes(value):
                if which == _PROTO_NUM:
                    protocol = packed[0]
                elif which == _DESTINATION_PORT:
                    (port,) = struct.unpack("!H", packed)
    return source, destination, protocol, port


def _acknowledged(link: socket.socket) -> None:
    for kind, payload in messages(link.recv(65536)):
        if kind == _ERROR and (failure := _failure(payload)).errno not in (0, ENOENT):
            raise failure


def _failure(payload: bytes) -> OSError:
    number = -int(struct.unpack_from("=i", payload)[0])
    return OSError(number, f"conntrack: error {number}")
