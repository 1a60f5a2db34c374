"""The cluster's own names: what Services and EndpointSlices say, as DNS records.

Source: "Kubernetes DNS-Based Service Discovery", schema version 1.1.0. Where it leaves a choice, CoreDNS' is taken: an
endpoint without a hostname is called by its address with dashes, SRV records have priority 0 and share 100 as weights.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Protocol

from hawser.api.types import Obj
from hawser.node.dns import wire
from hawser.node.dns.wire import Name, Rcode, Record, Type
from hawser.node.network.proxy import BY_SERVICE, service_of

SCHEMA = "1.1.0"
TTL = 30
NEGATIVE_TTL = 5
BY_ADDRESS = "address"
_REVERSE4, _REVERSE6 = (b"in-addr", b"arpa"), (b"ip6", b"arpa")
_ADDRESSES = {Type.A: 4, Type.AAAA: 6}

Objects = list[Obj]


class Source(Protocol):
    """What the zone needs of an informer."""

    @property
    def has_synced(self) -> bool: ...
    def get(self, namespace: str | None, name: str) -> Obj | None: ...
    def list(self, namespace: str | None = None) -> Objects: ...
    def by_index(self, index: str, value: str) -> Objects: ...
    def add_index(self, index: str, function: Callable[[Obj], Iterable[str]]) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the zone says. authority: the SOA of a negative answer. alias: where a CNAME leads out of the zone."""

    rcode: Rcode = Rcode.NOERROR
    answers: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    alias: Name | None = None


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """A ready endpoint's address. ports: number by (name, protocol in lower case)."""

    label: bytes
    address: str
    ports: dict[tuple[str, str], int]


class _Missing(Exception):
    """There is no such name."""


def cluster_addresses(service: Obj) -> list[str]:
    """A Service's cluster addresses; none when it is headless or external. Also an index function."""
    spec = service["spec"]
    first = spec.get("clusterIP")
    if spec.get("type") == "ExternalName" or first in (None, "", "None"):
        return []
    return list(spec.get("clusterIPs") or [first])


def named_addresses(one: Obj) -> list[str]:
    """The addresses of an EndpointSlice's ready endpoints that have a hostname, as an index function."""
    return [
        address
        for endpoint in one.get("endpoints") or ()
        if endpoint.get("hostname") and _ready(endpoint)
        for address in endpoint.get("addresses") or ()
    ]


def _ready(endpoint: Obj) -> bool:
    return (endpoint.get("conditions") or {}).get("ready") is not False


class Zone:
    """The cluster domain, and the reverse names of cluster addresses.

    domain: such as ``cluster.local``. own: the ranges of Services and pods, whose reverse names nobody else knows.
    server: the address of the DNS Service, as the zone's name server.
    """

    def __init__(
        self,
        domain: str,
        services: Source,
        slices: Source,
        own: Iterable[IPv4Network | IPv6Network] = (),
        server: str = "",
    ) -> None:
        self.name = wire.folded(wire.name_of(domain))
        self._services = services
        self._slices = slices
        self._own = tuple(own)
        self._server = server
        services.add_index(BY_ADDRESS, cluster_addresses)
        slices.add_index(BY_ADDRESS, named_addresses)
        slices.add_index(BY_SERVICE, service_of)

    @property
    def ready(self) -> bool:
        """Whether everything is known."""
        return self._services.has_synced and self._slices.has_synced

    def covers(self, name: Name) -> bool:
        """Whether nobody else knows a name. name: in lower case."""
        if name[-len(self.name) :] == self.name:
            return True
        address = reversed_address(name)
        return address is not None and self._is_own(address)

    def _is_own(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address.version == network.version and address in network for network in self._own)

    def lookup(self, name: Name, kind: int) -> Answer | None:
        """The answer to a question of class IN; None when others are to be asked. name: in lower case."""
        size = len(self.name)
        if name[-size:] == self.name:
            zone = self.name
            found: Answer | None = self._forward(name, name[:-size], kind)
        elif name[-2:] in (_REVERSE4, _REVERSE6):
            zone = name[-2:]
            found = self._reverse(name, kind)
        else:
            return None
        if found is None or found.answers or found.alias:
            return found
        return Answer(found.rcode, authority=(wire.soa(zone, 1, NEGATIVE_TTL),))

    def _forward(self, name: Name, relative: Name, kind: int) -> Answer:
        try:
            return self._named(name, relative, kind)
        except (_Missing, UnicodeDecodeError):
            return Answer(Rcode.NXDOMAIN)

    def _named(self, name: Name, relative: Name, kind: int) -> Answer:
        match relative:
            case ():
                return self._apex(kind)
            case (b"dns-version",):
                return Answer(answers=(wire.txt(name, SCHEMA, TTL),) if kind == Type.TXT else ())
            case (b"ns", b"dns"):
                return Answer(answers=_addresses(name, [self._server], kind))
            case (b"svc",) | (b"pod",) | (b"dns",):
                return Answer()
            case (namespace, b"svc" | b"pod"):
                if not self._services.list(namespace.decode("ascii")):
                    raise _Missing
                return Answer()
            case (dashed, _, b"pod"):
                return Answer(answers=_addresses(name, [_undashed(dashed)], kind))
            case (*more, service, namespace, b"svc"):
                found = self._services.get(namespace.decode("ascii"), service.decode("ascii"))
                if found is None:
                    raise _Missing
                return self._service(found, name, tuple(more), kind)
        raise _Missing

    def _apex(self, kind: int) -> Answer:
        if kind == Type.SOA:
            return Answer(answers=(wire.soa(self.name, 1, NEGATIVE_TTL),))
        if kind == Type.NS:
            server = (b"ns", b"dns", *self.name)
            extra = _addresses(server, [self._server], Type.A) + _addresses(server, [self._server], Type.AAAA)
            return Answer(answers=(Record(self.name, Type.NS, TTL, (server,)),), additional=extra)
        return Answer()

    # Services

    def _service(self, service: Obj, name: Name, more: Name, kind: int) -> Answer:
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            return _external(spec, name, more)
        addresses = cluster_addresses(service)
        endpoints = [] if addresses and not more else list(self._endpoints(service))
        match more:
            case ():
                if not addresses and not endpoints:
                    raise _Missing  # as the specification has it of a headless Service
                if kind == Type.SRV:
                    return self._srv(service, name, addresses, endpoints, None)
                listed = addresses or _shuffled({e.address for e in endpoints})
                return Answer(answers=_addresses(name, listed, kind))
            case (port, protocol) if port[:1] == protocol[:1] == b"_":
                wanted = (port[1:].decode("ascii"), protocol[1:].decode("ascii"))
                return self._srv(service, name, addresses, endpoints, wanted, kind)
            case (protocol,) if protocol[:1] == b"_":
                if all(p.get("protocol", "TCP").lower().encode() != protocol[1:] for p in spec.get("ports") or ()):
                    raise _Missing
                return Answer()
            case (hostname,):
                found = {e.address for e in endpoints if e.label == hostname}
                if not found:
                    raise _Missing
                return Answer(answers=_addresses(name, _shuffled(found), kind))
        raise _Missing

    def _srv(
        self,
        service: Obj,
        name: Name,
        addresses: list[str],
        endpoints: list[_Endpoint],
        wanted: tuple[str, str] | None,
        kind: int = Type.SRV,
    ) -> Answer:
        """SRV records of a named port; wanted: its name and protocol, None for every named port."""
        metadata = service["metadata"]
        base = (metadata["name"].encode(), metadata["namespace"].encode(), b"svc", *self.name)
        targets: list[tuple[int, Name, str]] = []
        if addresses:
            for port in service["spec"].get("ports") or ():
                key = (port.get("name") or "", (port.get("protocol") or "TCP").lower())
                if key[0] and wanted in (None, key):
                    targets += [(port["port"], base, address) for address in addresses]
        else:
            for endpoint in endpoints:
                for key, number in endpoint.ports.items():
                    if key[0] and wanted in (None, key):
                        targets.append((number, (endpoint.label, *base), endpoint.address))
        if not targets and wanted is not None:
            raise _Missing
        if kind != Type.SRV:
            return Answer()
        names = {(number, target): None for number, target, _ in targets}
        weight = max(100 // len(names), 1) if names else 1
        extra = {(target, address): None for _, target, address in targets}
        return Answer(
            answers=tuple(wire.srv(name, weight, number, target, TTL) for number, target in names),
            additional=tuple(wire.address(target, address, TTL) for target, address in extra),
        )

    def _endpoints(self, service: Obj) -> Iterator[_Endpoint]:
        metadata = service["metadata"]
        for one in self._slices.by_index(BY_SERVICE, f"{metadata['namespace']}/{metadata['name']}"):
            if one.get("addressType") == "FQDN":
                continue
            ports = {
                ((p.get("name") or ""), (p.get("protocol") or "TCP").lower()): p["port"]
                for p in one.get("ports") or ()
                if p.get("port")
            }
            for endpoint in one.get("endpoints") or ():
                if _ready(endpoint):
                    for address in endpoint.get("addresses") or ():
                        yield _Endpoint(_label(endpoint, address), address, ports)

    # Reverse names

    def _reverse(self, name: Name, kind: int) -> Answer | None:
        address = reversed_address(name)
        if address is None:
            return None
        text = str(address)
        targets = [
            (s["metadata"]["name"].encode(), s["metadata"]["namespace"].encode(), b"svc", *self.name)
            for s in self._services.by_index(BY_ADDRESS, text)
        ]
        if not targets:
            targets = list(dict.fromkeys(self._named_endpoints(text)))
        if not targets:
            return Answer(Rcode.NXDOMAIN) if self._is_own(address) else None
        return Answer(answers=tuple(Record(name, Type.PTR, TTL, (t,)) for t in targets) if kind == Type.PTR else ())

    def _named_endpoints(self, address: str) -> Iterator[Name]:
        for one in self._slices.by_index(BY_ADDRESS, address):
            namespace = one["metadata"]["namespace"].encode()
            for key in service_of(one):
                service = key.partition("/")[2].encode()
                for endpoint in one["endpoints"]:
                    if endpoint.get("hostname") and address in endpoint["addresses"] and _ready(endpoint):
                        yield (endpoint["hostname"].encode(), service, namespace, b"svc", *self.name)


def reversed_address(name: Name) -> IPv4Address | IPv6Address | None:
    """The address whose reverse name this is; None for any other name below arpa."""
    labels = [label.decode("latin-1") for label in reversed(name[:-2])]
    try:
        if name[-2:] == _REVERSE4 and len(labels) == 4:
            return IPv4Address(".".join(labels))
        if name[-2:] == _REVERSE6 and len(labels) == 32 and all(len(label) == 1 for label in labels):
            return IPv6Address(int("".join(labels), 16))
    except ValueError:
        pass
    return None


def _addresses(name: Name, listed: Iterable[str], kind: int) -> tuple[Record, ...]:
    version = _ADDRESSES.get(kind)  # type: ignore[call-overload]
    return tuple(wire.address(name, a, TTL) for a in listed if a and (6 if ":" in a else 4) == version)


def _external(spec: Obj, name: Name, more: Name) -> Answer:
    target = str(spec.get("externalName") or "")
    if more or not target:
        raise _Missing
    try:
        ip_address(target)
    except ValueError:
        alias = wire.name_of(target)
        return Answer(answers=(Record(name, Type.CNAME, TTL, (alias,)),), alias=alias)
    raise _Missing  # An alias cannot lead to an address.


def _undashed(label: bytes) -> str:
    text = label.decode("ascii")
    for separator in (".", ":"):
        try:
            return str(ip_address(text.replace("-", separator)))
        except ValueError:
            continue
    raise _Missing


def _label(endpoint: Obj, address: str) -> bytes:
    hostname = endpoint.get("hostname")
    return (str(hostname) if hostname else address.replace(".", "-").replace(":", "-")).lower().encode()


def _shuffled(addresses: Iterable[str]) -> list[str]:
    """In any order, so that clients that take the first one spread over all."""
    listed = sorted(addresses)
    random.shuffle(listed)
    return listed
