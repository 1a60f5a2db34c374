"""Validation of EndpointSlices. Source: API reference, EndpointSlice."""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.api.validation import rules, values
from hawser.api.validation.rules import (
    Errors,
    duplicate,
    each,
    immutable,
    invalid,
    one_of,
    parse_ip,
    required,
    too_many,
    unsupported,
)

_TYPES = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_MAX_ENDPOINTS = 1000
_MAX_ADDRESSES = 100
_MAX_PORTS = 20000
_MAX_TOPOLOGY = 16
_MAX_HINTS = 8


def endpoint_slice(obj: Obj) -> Errors:
    kind = obj.get("addressType", "")
    yield from one_of("addressType", kind, _TYPES)
    endpoints = obj.get("endpoints") or []
    if len(endpoints) > _MAX_ENDPOINTS:
        yield too_many("endpoints", len(endpoints), _MAX_ENDPOINTS)
        endpoints = []
    for i, endpoint in enumerate(endpoints):
        yield from _endpoint(endpoint, kind, f"endpoints[{i}]")
    yield from _ports(obj.get("ports") or [])


def _endpoint(endpoint: Obj, kind: str, path: str) -> Errors:
    addresses = endpoint.get("addresses") or []
    if not addresses:
        yield required(f"{path}.addresses", "must contain at least 1 address")
    elif len(addresses) > _MAX_ADDRESSES:
        yield too_many(f"{path}.addresses", len(addresses), _MAX_ADDRESSES)
    for i, address in enumerate(addresses):
        at = f"{path}.addresses[{i}]"
        if kind == "FQDN":
            yield from values.qualified_domain(address.removesuffix("."), at, 2)
        elif kind in _TYPES:
            yield from _address(address, kind, at)
    if endpoint.get("hostname"):
        yield from each(f"{path}.hostname", endpoint["hostname"], rules.label_errors(endpoint["hostname"]))
    if endpoint.get("nodeName"):
        yield from each(f"{path}.nodeName", endpoint["nodeName"], rules.subdomain_errors(endpoint["nodeName"]))
    topology = endpoint.get("deprecatedTopology") or {}
    if len(topology) > _MAX_TOPOLOGY:
        yield too_many(f"{path}.deprecatedTopology", len(topology), _MAX_TOPOLOGY)
    yield from rules.labels(topology, f"{path}.deprecatedTopology")
    hints = endpoint.get("hints") or {}
    for field, check in (("forZones", rules.label_value_errors), ("forNodes", rules.subdomain_errors)):
        yield from _hints(hints.get(field) or [], f"{path}.hints.{field}", check)


def _hints(hints: list[Obj], path: str, check: rules.NameRule) -> Errors:
    """The zones or nodes that should use an endpoint."""
    if len(hints) > _MAX_HINTS:
        yield too_many(path, len(hints), _MAX_HINTS)
        return
    seen = set()
    for i, hint in enumerate(hints):
        name = hint.get("name", "")
        if name in seen:
            yield duplicate(f"{path}[{i}].name", name)
        seen.add(name)
        yield from each(f"{path}[{i}].name", name, check(name))


def _address(address: str, kind: str, path: str) -> Errors:
    ip = parse_ip(address)
    if ip is None:
        yield invalid(path, address, rules.IP_RULE)
        return
    if f"IPv{ip.version}" != kind:
        yield invalid(path, address, f"must be an {kind} address")
    yield from values.not_special_ip(address, path)


def _ports(ports: list[Obj]) -> Errors:
    if len(ports) > _MAX_PORTS:
        yield too_many("ports", len(ports), _MAX_PORTS)
        return
    names = set()
    for i, port in enumerate(ports):
        path = f"ports[{i}]"
        name = port.get("name") or ""
        if name:
            yield from each(f"{path}.name", name, rules.label_errors(name))
        if name in names:
            yield duplicate(f"{path}.name", name)
        names.add(name)
        protocol = port.get("protocol") or ""
        if not protocol:
            yield required(f"{path}.protocol")
        elif protocol not in _PROTOCOLS:
            yield unsupported(f"{path}.protocol", protocol, _PROTOCOLS)
        if port.get("port") is not None:
            yield from each(f"{path}.port", port["port"], rules.port_number_errors(port["port"]))
        if port.get("appProtocol"):
            yield from each(
                f"{path}.appProtocol", port["appProtocol"], rules.qualified_name_errors(port["appProtocol"])
            )


def endpoint_slice_update(obj: Obj, old: Obj) -> Errors:
    yield from immutable("addressType", obj.get("addressType"), old.get("addressType"))
