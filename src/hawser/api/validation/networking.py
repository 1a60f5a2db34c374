"""Validation of NetworkPolicies, IPAddresses, ServiceCIDRs and Endpoints. Source: API reference of each kind."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

from hawser.api.types import Obj
from hawser.api.validation import rules, values
from hawser.api.validation.rules import Errors, each, forbidden, invalid, label_selector, required, unsupported

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICY_PROTOCOLS = ("TCP", "UDP", "SCTP")
_DIRECTIONS = ("Ingress", "Egress")


def network_policy(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    yield from label_selector(spec.get("podSelector"), "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            at = f"spec.{direction}[{i}]"
            for j, port in enumerate(rule.get("ports") or ()):
                yield from _policy_port(port, f"{at}.ports[{j}]")
            for j, peer in enumerate(rule.get(peers) or ()):
                yield from _peer(peer, f"{at}.{peers}[{j}]")
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        yield invalid("spec.policyTypes", types, "may not specify more than two policyTypes")
        return
    for i, kind in enumerate(types):
        if kind not in _DIRECTIONS:
            yield unsupported(f"spec.policyTypes[{i}]", kind, _DIRECTIONS)


def _policy_port(port: Obj, path: str) -> Errors:
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol is not None and protocol not in _POLICY_PROTOCOLS:
        yield unsupported(f"{path}.protocol", protocol, _POLICY_PROTOCOLS)
    if isinstance(number, str):
        if end is not None:
            yield invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric")
        yield from each(f"{path}.port", number, rules.port_name_errors(number))
    elif number is not None:
        yield from each(f"{path}.port", number, rules.port_number_errors(number))
        if end is not None:
            if end < number:
                yield invalid(f"{path}.endPort", end, "must be greater than or equal to `port`")
            yield from each(f"{path}.endPort", end, rules.port_number_errors(end))
    elif end is not None:
        yield invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified")


def _peer(peer: Obj, path: str) -> Errors:
    named = [name for name in ("podSelector", "namespaceSelector", "ipBlock") if name in peer]
    for name in named[:2]:
        if name != "ipBlock":
            yield from label_selector(peer[name], f"{path}.{name}")
    if "ipBlock" in peer:
        yield from _block(peer["ipBlock"], f"{path}.ipBlock")
    if not named:
        yield required(path, "must specify a peer")
    elif len(named) > 1 and "ipBlock" in peer:
        yield forbidden(path, "may not specify both ipBlock and another peer")


def _block(block: Obj, path: str) -> Errors:
    cidr = block.get("cidr", "")
    if not cidr:
        yield required(f"{path}.cidr")
        return
    if bad := rules.cidr_errors(cidr):
        yield from each(f"{path}.cidr", cidr, bad)
        return
    network = ip_network(cidr, strict=False)
    for i, text in enumerate(block.get("except") or ()):
        at = f"{path}.except[{i}]"
        if bad := rules.cidr_errors(text):
            yield from each(at, text, bad)
            continue
        hole = ip_interface(text)
        if hole.ip not in network or network.prefixlen >= hole.network.prefixlen:
            yield invalid(at, text, "must be a strict subset of `cidr`")


def ip_address(obj: Obj) -> Errors:
    parent = (obj.get("spec") or {}).get("parentRef")
    path = "spec.parentRef"
    if parent is None:
        yield required(path)
        return
    group = parent.get("group", "")
    if group:
        yield from each(f"{path}.group", group, rules.subdomain_errors(group))
    for field in ("resource", "name", "namespace"):
        if text := parent.get(field, ""):
            yield from each(f"{path}.{field}", text, values.path_segment_errors(text))
        elif field != "namespace":
            yield required(f"{path}.{field}")


def ip_address_update(obj: Obj, old: Obj) -> Errors:
    now, was = (o.get("spec") or {} for o in (obj, old))
    yield from values.same("spec.parentRef", now.get("parentRef"), was.get("parentRef"))


def service_cidr(obj: Obj) -> Errors:
    cidrs = (obj.get("spec") or {}).get("cidrs") or []
    path = "spec.cidrs"
    if not cidrs:
        yield required(path, "at least one CIDR required")
        return
    if len(cidrs) > 2:
        yield invalid(path, obj["spec"], "may only hold up to 2 values")
        return
    bad = False
    for i, cidr in enumerate(cidrs):
        messages = values.canonical_cidr_errors(cidr)
        bad = bad or bool(messages)
        yield from each(f"{path}[{i}]", cidr, messages)
    if not bad and len(cidrs) == 2 and len({ip_network(cidr).version for cidr in cidrs}) == 1:
        detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        yield invalid(path, cidrs, detail)


def service_cidr_update(obj: Obj, old: Obj) -> Errors:
    """Only a second family may be added."""
    cidrs, before = ((o.get("spec") or {}).get("cidrs") or [] for o in (obj, old))
    if len(cidrs) != len(before) and (len(before), len(cidrs)) != (1, 2):
        yield invalid("spec.cidrs", cidrs, rules.IMMUTABLE)
        return
    for i, (new, was) in enumerate(zip(cidrs, before, strict=False)):
        if new != was:
            yield invalid(f"spec.cidrs[{i}]", new, rules.IMMUTABLE)
    if len(cidrs) != len(before):
        yield from service_cidr(obj)


def endpoints(obj: Obj) -> Errors:
    for i, subset in enumerate(obj.get("subsets") or ()):
        path = f"subsets[{i}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield required(path, "must specify `addresses` or `notReadyAddresses`")
        for field in ("addresses", "notReadyAddresses"):
            for j, address in enumerate(subset.get(field) or ()):
                yield from _address(address, f"{path}.{field}[{j}]")
        ports = subset.get("ports") or []
        for j, port in enumerate(ports):
            yield from _port(port, len(ports) > 1, f"{path}.ports[{j}]")


def _address(address: Obj, path: str) -> Errors:
    ip = address.get("ip", "")
    bad = rules.ip_errors(ip)
    yield from each(f"{path}.ip", ip, bad)
    if host := address.get("hostname"):
        yield from each(f"{path}.hostname", host, rules.label_errors(host))
    if (node := address.get("nodeName")) is not None:
        yield from each(f"{path}.nodeName", node, rules.subdomain_errors(node))
    if not bad:
        yield from values.not_special_ip(ip, f"{path}.ip")


def _port(port: Obj, named: bool, path: str) -> Errors:
    name, number, protocol = port.get("name", ""), port.get("port", 0), port.get("protocol", "")
    if name:
        yield from each(f"{path}.name", name, rules.label_errors(name))
    elif named:
        yield required(f"{path}.name")
    yield from each(f"{path}.port", number, rules.port_number_errors(number))
    if not protocol:
        yield required(f"{path}.protocol")
    elif protocol not in _PROTOCOLS:
        yield unsupported(f"{path}.protocol", protocol, _PROTOCOLS)
    if (application := port.get("appProtocol")) is not None:
        yield from each(f"{path}.appProtocol", application, rules.qualified_name_errors(application))
