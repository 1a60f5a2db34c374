"""The few rtnetlink requests a pod's network needs, encoded with struct and sent in batches.

A pod start makes nine requests. pyroute2 (0.9.7) needs 0.6-1.5 ms and an event-loop turn for each, and 245 ms to
import; a batch of ready bytes is one system call per network namespace. Sources: rtnetlink(7), netlink(7), the
kernel's uapi headers (linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h, veth.h, ip.h).
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_EXCL, _CREATE, _REPLACE = 0x200, 0x400, 0x100
_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _NEWROUTE, _DELROUTE, _NEWNEIGH = 20, 24, 25, 28
_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 1, 3, 4, 18, 26, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_INET_CONF, _ROUTE_LOCALNET = 1, 26
_INET6_ADDR_GEN_MODE, _GEN_NONE = 8, 1
_IFA_ADDRESS, _IFA_LOCAL, _NO_DAD = 1, 2, 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_TABLE_MAIN, _PROTO_STATIC, _UNICAST = 254, 4, 1
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_NDA_DST, _NDA_LLADDR, _NUD_PERMANENT = 1, 2, 0x80
_SIOCGIFMTU, _SIOCGIFINDEX = 0x8921, 0x8933
_NEWQDISC, _TCA_KIND, _TCA_OPTIONS, _ROOT, _FIRST_HANDLE = 36, 1, 2, 0xFFFFFFFF, 0x10000
_TBF_PARMS, _TBF_RATE64, _TBF_BURST, _ETHERNET, _LARGEST_PACKET = 1, 4, 6, 1, 1 << 17


def attr(kind: int, payload: bytes) -> bytes:
    """A netlink attribute, padded."""
    size = 4 + len(payload)
    return struct.pack("=HH", size, kind) + payload + b"\0" * (-size % 4)


def _u32(kind: int, value: int) -> bytes:
    return struct.pack("=HHI", 8, kind, value)


def _name(name: str) -> bytes:
    return attr(_IFLA_IFNAME, name.encode() + b"\0")


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST | _ACK, 0, 0) + body


def _link_header(index: int = 0, up: bool = False) -> bytes:
    flag = _IFF_UP if up else 0
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flag, flag)


def _family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def new_veth(name: str, mac: bytes, peer: str, peer_mac: bytes, netns: int, mtu: int) -> bytes:
    """A veth pair whose peer is born inside the network namespace open at descriptor netns; both ends are down."""
    peer_body = (
        _link_header()
        + _name(peer)
        + attr(_IFLA_ADDRESS, peer_mac)
        + _u32(_IFLA_MTU, mtu)
        + _u32(_IFLA_NET_NS_FD, netns)
    )
    info = attr(_INFO_KIND, b"veth\0") + attr(_INFO_DATA, attr(_VETH_PEER, peer_body))
    body = _link_header() + _name(name) + attr(_IFLA_ADDRESS, mac) + _u32(_IFLA_MTU, mtu) + attr(_IFLA_LINKINFO, info)
    return _message(_NEWLINK, _CREATE | _EXCL, body)


def new_bridge(name: str) -> bytes:
    """A bridge without ports, set up: a place for addresses of the host that swallows what is sent to it.

    A dummy link would say the same, but not every kernel has that module.
    """
    body = _link_header(up=True) + _name(name) + attr(_IFLA_LINKINFO, attr(_INFO_KIND, b"bridge\0"))
    return _message(_NEWLINK, _CREATE | _EXCL, body)


def set_up(index: int) -> bytes:
    """Bring a link up."""
    return _message(_SETLINK, 0, _link_header(index, up=True))


def set_up_pod_side(index: int, ipv6: bool) -> bytes:
    """Bring the host end of a pod's pair up, with route_localnet and without a link-local IPv6 address."""
    spec = attr(socket.AF_INET, attr(_INET_CONF, _u32(_ROUTE_LOCALNET, 1)))
    if ipv6:
        spec += attr(socket.AF_INET6, attr(_INET6_ADDR_GEN_MODE, bytes([_GEN_NONE])))
    return _message(_SETLINK, 0, _link_header(index, up=True) + attr(_IFLA_AF_SPEC, spec))


def delete_link(index: int) -> bytes:
    """Delete a link (of a veth pair, both ends)."""
    return _message(_DELLINK, 0, _link_header(index))


def new_address(index: int, address: Address, prefix: int) -> bytes:
    """Give a link an address; one that it has already is no error."""
    packed = address.packed
    # Nobody else can have it: an IPv6 address that is first looked for on the link cannot be used for a second.
    flags = _NO_DAD if address.version == 6 else 0
    body = struct.pack("=BBBBi", _family(address), prefix, flags, _SCOPE_UNIVERSE, index)
    body += attr(_IFA_LOCAL, packed) + attr(_IFA_ADDRESS, packed)
    return _message(_NEWADDR, _CREATE | _REPLACE, body)


def _route(kind: int, flags: int, destination: Address, prefix: int, scope: int, attributes: bytes) -> bytes:
    family = _family(destination)
    body = struct.pack("=BBBBBBBBI", family, prefix, 0, 0, _TABLE_MAIN, _PROTO_STATIC, scope, _UNICAST, 0)
    body += attr(_RTA_DST, destination.packed)
    return _message(kind, flags, body + attributes)


def new_route(destination: Address, prefix: int, index: int, source: Address | None = None) -> bytes:
    """A route to destination/prefix directly over a link; source is the address that the host sends from."""
    attributes = _u32(_RTA_OIF, index)
    if source is not None:
        attributes += attr(_RTA_PREFSRC, source.packed)
    return _route(_NEWROUTE, _CREATE | _REPLACE, destination, prefix, _SCOPE_LINK, attributes)


def new_route_via(destination: Address, prefix: int, gateway: Address, index: int) -> bytes:
    """A route to destination/prefix through gateway, which a link leads to."""
    attributes = attr(_RTA_GATEWAY, gateway.packed) + _u32(_RTA_OIF, index)
    return _route(_NEWROUTE, _CREATE | _REPLACE, destination, prefix, _SCOPE_UNIVERSE, attributes)


def new_default_route(gateway: Address, index: int) -> bytes:
    """The default route of the gateway's family through gateway."""
    return new_route_via(type(gateway)(0), 0, gateway, index)


def delete_route(destination: Address, prefix: int, index: int) -> bytes:
    """Remove a route made by new_route."""
    return _route(_DELROUTE, 0, destination, prefix, _SCOPE_LINK, _u32(_RTA_OIF, index))


def delete_route_via(destination: Address, prefix: int, index: int) -> bytes:
    """Remove a route made by new_route_via."""
    return _route(_DELROUTE, 0, destination, prefix, _SCOPE_UNIVERSE, _u32(_RTA_OIF, index))


def new_neighbour(index: int, address: Address, mac: bytes) -> bytes:
    """A permanent neighbour entry, so that the first packet need not wait for ARP."""
    body = struct.pack("=BxxxiHBB", _family(address), index, _NUD_PERMANENT, 0, 0)
    return _message(_NEWNEIGH, _CREATE | _REPLACE, body + attr(_NDA_DST, address.packed) + attr(_NDA_LLADDR, mac))


def new_rate_limit(index: int, rate: int) -> bytes:
    """A token bucket on what a link sends; rate: bits a second. Source: tc-tbf(8), linux/pkt_sched.h."""
    amount = max(1, rate // 8)
    # A tenth of a second at once, and never less than the largest packet that a link is handed.
    burst = max(_LARGEST_PACKET, amount // 10)
    limit = min(burst + max(amount // 40, _LARGEST_PACKET), 0xFFFFFFFF)
    spec = struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, min(amount, 0xFFFFFFFF))
    options = attr(_TBF_PARMS, spec + bytes(12) + struct.pack("=III", limit, 0, 0))
    options += attr(_TBF_RATE64, struct.pack("=Q", amount)) + _u32(_TBF_BURST, min(burst, 0xFFFFFFFF))
    body = struct.pack("=BxxxiIII", socket.AF_UNSPEC, index, _FIRST_HANDLE, _ROOT, 0)
    return _message(_NEWQDISC, _CREATE | _REPLACE, body + attr(_TCA_KIND, b"tbf\0") + attr(_TCA_OPTIONS, options))


class Socket:
    """An rtnetlink socket; it stays in the network namespace of the thread that opened it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.settimeout(10)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def index(self, name: str) -> int:
        """The interface index of a link; 0 when there is none of that name."""
        request = struct.pack("16si20x", name.encode(), 0)
        try:
            answer = fcntl.ioctl(self._socket, _SIOCGIFINDEX, request)
        except OSError:
            return 0
        return int(struct.unpack_from("i", answer, 16)[0])

    def mtu(self, name: str) -> int:
        """The MTU of a link in bytes. Raises OSError when there is none of that name."""
        answer = fcntl.ioctl(self._socket, _SIOCGIFMTU, struct.pack("16si20x", name.encode(), 0))
        return int(struct.unpack_from("i", answer, 16)[0])

    def send(self, requests: Sequence[bytes]) -> None:
        """Send requests in one system call; the kernel does them in order, each whether or not others fail.

        Raises the OSError of the first one that failed.
        """
        self._socket.send(b"".join(requests))
        failure = 0
        for _ in requests:
            failure = failure or self._acknowledgement()
        if failure:
            raise OSError(failure, os.strerror(failure))

    def _acknowledgement(self) -> int:
        while True:
            # One datagram holds one acknowledgement: the kernel answers each request of a batch by itself.
            data = self._socket.recv(65536)
            kind = struct.unpack_from("=H", data, 4)[0]
            if kind == _NLMSG_ERROR:
                return -int(struct.unpack_from("=i", data, 16)[0])

    def links(self) -> dict[str, int]:
        """All links: index by name."""
        body = _link_header()
        self._socket.send(struct.pack("=IHHII", 16 + len(body), _GETLINK, _REQUEST | _DUMP, 0, 0) + body)
        found: dict[str, int] = {}
        while True:
            data = self._socket.recv(1 << 18)
            for kind, payload in messages(data):
                if kind == _NLMSG_DONE:
                    return found
                if kind == _NLMSG_ERROR:
                    number = -int(struct.unpack_from("=i", payload)[0])
                    raise OSError(number, os.strerror(number))
                if kind == _NEWLINK:
                    index = struct.unpack_from("=i", payload, 4)[0]
                    for attribute, value in attributes(payload[16:]):
                        if attribute == _IFLA_IFNAME:
                            found[value.rstrip(b"\0").decode()] = index


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and payload of each message in a datagram."""
    at = 0
    while at + 16 <= len(data):
        size, kind = struct.unpack_from("=IH", data, at)
        yield kind, data[at + 16 : at + size]
        at += (size + 3) & ~3


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and payload of each attribute."""
    at = 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + size]
        at += (size + 3) & ~3
