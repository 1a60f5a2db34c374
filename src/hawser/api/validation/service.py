"""Validation of Services. Source: API reference, ServiceSpec; "Service"."""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.rules import (
    Errors,
    duplicate,
    each,
    forbidden,
    immutable,
    invalid,
    one_of,
    parse_ip,
    required,
    unsupported,
)

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("Cluster", "Local")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_KUBELET_PORT = 10250
_MAX_AFFINITY_SECONDS = 86400


def service(obj: Obj) -> Errors:
    spec = obj.get("spec") or {}
    get = spec.get
    kind = get("type")
    headless = get("clusterIP") == "None" or (get("clusterIPs") or [""])[0] == "None"
    ports = get("ports") or []
    if not ports and not headless and kind != "ExternalName":
        yield required("spec.ports")
    yield from _type(spec, kind, headless)
    yield from _ports(ports, kind)
    yield from rules.labels(get("selector"), "spec.selector")
    yield from _affinity(spec)
    if kind != "ExternalName":
        yield from _cluster_ips(spec)
    for i, address in enumerate(get("externalIPs") or ()):
        yield from external_ip(address, f"spec.externalIPs[{i}]")
    yield from one_of("spec.type", kind, _TYPES)
    yield from _traffic(spec, kind)


def _type(spec: Obj, kind: str | None, headless: bool) -> Errors:
    match kind:
        case "LoadBalancer" | "NodePort":
            if headless:
                yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
            for i, port in enumerate(spec.get("ports") or ()):
                if kind == "LoadBalancer" and port.get("port") == _KUBELET_PORT:
                    detail = f"may not expose port {_KUBELET_PORT} externally since it is used by kubelet"
                    yield invalid(f"spec.ports[{i}]", _KUBELET_PORT, detail)
        case "ExternalName":
            for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if spec.get(field):
                    yield forbidden(f"spec.{field}", "may not be set for ExternalName services")
            name = (spec.get("externalName") or "").removesuffix(".")
            if not name:
                yield required("spec.externalName")
            else:
                yield from each("spec.externalName", name, rules.subdomain_errors(name))
    if kind != "LoadBalancer":
        if spec.get("allocateLoadBalancerNodePorts") is not None:
            yield forbidden("spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'")
        if spec.get("loadBalancerSourceRanges"):
            yield forbidden("spec.LoadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'")
        if spec.get("loadBalancerClass") is not None:
            yield forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'")
    elif spec.get("loadBalancerClass") is not None:
        name = spec["loadBalancerClass"]
        yield from each("spec.loadBalancerClass", name, rules.qualified_name_errors(name))
    for i, cidr in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        yield from each(f"spec.LoadBalancerSourceRanges[{i}]", cidr, rules.cidr_errors(cidr.strip()))


def _ports(ports: list[Obj], kind: str | None) -> Errors:
    names, node_ports, numbers = set(), set(), set()
    for i, port in enumerate(ports):
        at = f"spec.ports[{i}]"
        name, number, protocol = port.get("name", ""), port.get("port", 0), port.get("protocol", "")
        if name:
            yield from each(f"{at}.name", name, rules.label_errors(name))
            if name in names:
                yield duplicate(f"{at}.name", name)
            names.add(name)
        elif len(ports) > 1:
            yield required(f"{at}.name")
        yield from each(f"{at}.port", number, rules.port_number_errors(number))
        yield from one_of(f"{at}.protocol", protocol, _PROTOCOLS)
        target = port.get("targetPort", 0)
        yield from each(f"{at}.targetPort", target, rules.port_errors(target))
        if port.get("appProtocol") is not None:
            yield from each(f"{at}.appProtocol", port["appProtocol"], rules.qualified_name_errors(port["appProtocol"]))
        if (protocol, number) in numbers:
            yield duplicate(at, {"protocol": protocol, "port": number})
        numbers.add((protocol, number))
        if node_port := port.get("nodePort"):
            if kind == "ClusterIP":
                yield forbidden(f"{at}.nodePort", "may not be used when `type` is 'ClusterIP'")
            if (protocol, node_port) in node_ports:
                yield duplicate(f"{at}.nodePort", node_port)
            node_ports.add((protocol, node_port))


def _affinity(spec: Obj) -> Errors:
    affinity = spec.get("sessionAffinity")
    yield from one_of("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    path = "spec.sessionAffinityConfig"
    config = spec.get("sessionAffinityConfig")
    if affinity == "ClientIP":
        seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is None:
            yield required(f"{path}.clientIP.timeoutSeconds", "when session affinity type is ClientIP")
        elif not 0 < seconds <= _MAX_AFFINITY_SECONDS:
            detail = f"must be greater than 0 and less than {_MAX_AFFINITY_SECONDS}"
            yield invalid(f"{path}.clientIP.timeoutSeconds", seconds, detail)
    elif affinity == "None" and config is not None:
        yield forbidden(path, "must not be set when session affinity is None")


def _cluster_ips(spec: Obj) -> Errors:
    """clusterIP, clusterIPs and families agree with each other."""
    policy, families = spec.get("ipFamilyPolicy"), spec.get("ipFamilies") or []
    if policy is not None:
        yield from one_of("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES)
    for i, family in enumerate(families):
        if family not in _FAMILIES:
            yield unsupported(f"spec.ipFamilies[{i}]", family, _FAMILIES)
        elif family in families[:i]:
            yield duplicate(f"spec.ipFamilies[{i}]", family)
    first, addresses = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if addresses:
        if first != addresses[0]:
            yield invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`")
        if len(addresses) > 2:
            yield invalid("spec.clusterIPs", addresses, "may only hold up to 2 values")
    for i, address in enumerate(addresses or [a for a in (first,) if a]):
        at = f"spec.clusterIPs[{i}]"
        if address == "None":
            if len(addresses) > 1:
                yield invalid(at, address, "'None' must be the first and only value")
            continue
        ip = parse_ip(address)
        if ip is None:
            yield invalid(at, address, rules.IP_RULE)
        elif i < len(families) and f"IPv{ip.version}" != families[i]:
            yield invalid(at, address, f"expected an {families[i]} value as indicated by `ipFamilies[{i}]`")


def external_ip(address: str, path: str) -> Errors:
    """An address that packets from outside can have."""
    ip = parse_ip(address)
    if ip is None:
        yield invalid(path, address, rules.IP_RULE)
    elif ip.is_unspecified:
        yield invalid(path, address, f"may not be unspecified ({ip})")
    elif ip.is_loopback:
        yield invalid(
            path, address, f"may not be in the loopback range ({'127.0.0.0/8' if ip.version == 4 else '::1/128'})"
        )
    elif ip.is_link_local:
        where = "169.254.0.0/16" if ip.version == 4 else "fe80::/10"
        yield invalid(path, address, f"may not be in the link-local range ({where})")


def _traffic(spec: Obj, kind: str | None) -> Errors:
    external, internal = spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy")
    reachable = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs"))
    if not reachable:
        if external:
            detail = "may only be set for externally-accessible services"
            yield invalid("spec.externalTrafficPolicy", external, detail)
    else:
        yield from one_of("spec.externalTrafficPolicy", external, _POLICIES)
    check = spec.get("healthCheckNodePort")
    if check:
        if kind != "LoadBalancer" or external != "Local":
            detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            yield invalid("spec.healthCheckNodePort", check, detail)
        else:
            yield from each("spec.healthCheckNodePort", check, rules.port_number_errors(check))
    if kind in ("ClusterIP", "NodePort", "LoadBalancer"):
        yield from one_of("spec.internalTrafficPolicy", internal, _POLICIES)
    if (distribution := spec.get("trafficDistribution")) is not None and distribution not in _DISTRIBUTIONS:
        yield unsupported("spec.trafficDistribution", distribution, _DISTRIBUTIONS)


def service_update(obj: Obj, old: Obj) -> Errors:
    """A cluster IP stays while the Service has one; to lose it, the Service becomes an ExternalName."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if "ExternalName" in (spec.get("type"), before.get("type")):
        return
    now = spec.get("clusterIPs") or [a for a in (spec.get("clusterIP"),) if a]
    was = before.get("clusterIPs") or [a for a in (before.get("clusterIP"),) if a]
    if was and not now:
        yield invalid("spec.clusterIPs[0]", now, "primary clusterIP can not be unset")
    elif was and now[0] != was[0]:
        yield invalid("spec.clusterIPs[0]", now, "may not change once set")
    elif len(now) > 1 and len(was) > 1 and now[1] != was[1]:
        yield invalid("spec.clusterIPs[1]", now, "may not change once set")
    if (spec.get("ipFamilies") or [""])[0] != (before.get("ipFamilies") or [""])[0] and before.get("ipFamilies"):
        yield invalid("spec.ipFamilies[0]", spec.get("ipFamilies") or [], "may not change once set")
    if spec.get("type") == before.get("type") == "LoadBalancer":
        name, name_before = spec.get("loadBalancerClass"), before.get("loadBalancerClass")
        if name != name_before:
            yield invalid("spec.loadBalancerClass", name, "may not change once set")
    old_check = before.get("healthCheckNodePort")
    if old_check and spec.get("healthCheckNodePort") and spec.get("externalTrafficPolicy") == "Local":
        yield from immutable("spec.healthCheckNodePort", spec["healthCheckNodePort"], old_check)


def service_status_update(obj: Obj, old: Obj) -> Errors:
    ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    if ingress and (obj.get("spec") or {}).get("type") != "LoadBalancer":
        yield forbidden("status.loadBalancer.ingress", "may only be used when `spec.type` is 'LoadBalancer'")
        return
    for i, entry in enumerate(ingress):
        at = f"status.loadBalancer.ingress[{i}]"
        if entry.get("ip"):
            yield from each(f"{at}.ip", entry["ip"], rules.ip_errors(entry["ip"]))
        if name := entry.get("hostname"):
            yield from each(f"{at}.hostname", name, rules.subdomain_errors(name))
            if parse_ip(name):
                yield invalid(f"{at}.hostname", name, "must be a DNS name, not an IP address")
