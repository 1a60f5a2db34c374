"""IP addresses and networks. Source: Kubernetes documentation, "Kubernetes IP address library" and "CIDR library"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from hawser.api.cel.declarations import Overload, function, method
from hawser.api.cel.values import EvalError, Opaque


@dataclass(frozen=True, slots=True)
class IP(Opaque):
    """An address. text: its canonical form."""

    address: IPv4Address | IPv6Address

    type_name = "net.IP"

    @property
    def text(self) -> str:
        return str(self.address)

    @property
    def family(self) -> int:
        return self.address.version


@dataclass(frozen=True, slots=True)
class CIDR(Opaque):
    """A network; its address may have bits of a host."""

    address: IPv4Address | IPv6Address
    length: int

    type_name = "net.CIDR"

    @property
    def text(self) -> str:
        return f"{self.address}/{self.length}"

    def masked(self) -> CIDR:
        width = self.address.max_prefixlen
        kept = int(self.address) >> (width - self.length) << (width - self.length)
        return CIDR(type(self.address)(kept), self.length)

    def holds(self, address: IPv4Address | IPv6Address) -> bool:
        if address.version != self.address.version:
            return False
        shift = self.address.max_prefixlen - self.length
        return int(address) >> shift == int(self.address) >> shift


def _read(text: str) -> IPv4Address | IPv6Address:
    """Raises ValueError: not an address, with a zone, or IPv4 in the form of IPv6 (``::ffff:1.2.3.4``)."""
    if "%" in text:
        raise ValueError(f'IP Address "{text}" with zone value is not allowed')
    try:
        found = ip_address(text)
    except ValueError:
        raise ValueError(f'IP Address "{text}" parse error during conversion from string') from None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        raise ValueError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return found


def _ip(text: str) -> IP:
    try:
        return IP(_read(text))
    except ValueError as error:
        raise EvalError(str(error)) from None


def _network(text: str) -> CIDR:
    address, slash, length = text.partition("/")
    try:
        found = _read(address)
        if not slash or not length.isdigit() or (len(length) > 1 and length[0] == "0"):
            raise ValueError
        if int(length) > found.max_prefixlen:
            raise ValueError
        return CIDR(found, int(length))
    except ValueError:
        raise EvalError(
            f'network address parse error during conversion from string: netip.ParsePrefix("{text}")'
        ) from None


def _is(read: Any) -> Any:
    def call(text: str) -> bool:
        try:
            read(text)
        except EvalError:
            return False
        return True

    return call


def _canonical(text: str) -> bool:
    return _ip(text).text == text


def _contains_network(holder: CIDR, other: CIDR | str) -> bool:
    inner = _network(other) if isinstance(other, str) else other
    return inner.length >= holder.length and holder.holds(inner.address)


def _contains_ip(holder: CIDR, other: IP | str) -> bool:
    return holder.holds((_ip(other) if isinstance(other, str) else other).address)


def _is_global(ip: IP) -> bool:
    """A global unicast address as Go has it: private ones are."""
    a = ip.address
    broadcast = isinstance(a, IPv4Address) and int(a) == 2**32 - 1
    return not (a.is_unspecified or a.is_loopback or a.is_multicast or a.is_link_local or broadcast)


def overloads() -> Iterator[Overload]:
    """The declarations."""
    yield function("ip(string) -> net.IP", _ip)
    yield function("isIP(string) -> bool", _is(_ip))
    yield function("ip.isCanonical(string) -> bool", _canonical)
    yield function("string(net.IP) -> string", lambda ip: ip.text)
    yield method("net.IP", "family() -> int", lambda ip: ip.family)
    yield method("net.IP", "isUnspecified() -> bool", lambda ip: ip.address.is_unspecified)
    yield method("net.IP", "isLoopback() -> bool", lambda ip: ip.address.is_loopback)
    yield method("net.IP", "isLinkLocalMulticast() -> bool", _is_link_local_multicast)
    yield method("net.IP", "isLinkLocalUnicast() -> bool", lambda ip: ip.address.is_link_local)
    yield method("net.IP", "isGlobalUnicast() -> bool", _is_global)
    yield function("cidr(string) -> net.CIDR", _network)
    yield function("isCIDR(string) -> bool", _is(_network))
    yield function("string(net.CIDR) -> string", lambda cidr: cidr.text)
    yield method("net.CIDR", "containsIP(string) -> bool", _contains_ip)
    yield method("net.CIDR", "containsIP(net.IP) -> bool", _contains_ip)
    yield method("net.CIDR", "containsCIDR(string) -> bool", _contains_network)
    yield method("net.CIDR", "containsCIDR(net.CIDR) -> bool", _contains_network)
    yield method("net.CIDR", "ip() -> net.IP", lambda cidr: IP(cidr.address), "cidr_ip")
    yield method("net.CIDR", "masked() -> net.CIDR", CIDR.masked)
    yield method("net.CIDR", "prefixLength() -> int", lambda cidr: cidr.length)


def _is_link_local_multicast(ip: IP) -> bool:
    a = ip.address
    if isinstance(a, IPv4Address):
        return int(a) >> 8 == 0xE00000
    return int(a) >> 112 & 0xFF0F == 0xFF02 and a.is_multicast
