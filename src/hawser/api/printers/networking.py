"""The columns of networking: ingresses, policies, endpoints, addresses."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hawser.api.errors import APIError
from hawser.api.printers.base import AGE, NAME, NONE, Column, Printer, age, name, part
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj

_LIMIT = 3


def _cut(items: list[str]) -> str:
    """The first items and how many more there are; empty without any."""
    text = ",".join(items[:_LIMIT])
    return f"{text} + {len(items) - _LIMIT} more..." if len(items) > _LIMIT else text


def _ingress(ingress: Obj, now: datetime) -> list[Any]:
    spec = part(ingress, "spec")
    hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
    points = part(part(ingress, "status"), "loadBalancer").get("ingress") or []
    addresses = sorted({point.get("ip") or point.get("hostname") or "" for point in points} - {""})
    return [
        name(ingress),
        spec.get("ingressClassName", NONE),
        _cut(hosts) or "*",
        ",".join(addresses),
        "80, 443" if spec.get("tls") else "80",
        age(ingress, now),
    ]


def _ingress_class(obj: Obj, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    parameters = NONE
    if found := part(spec, "parameters"):
        kind = found.get("kind", "") + (f".{found['apiGroup']}" if "apiGroup" in found else "")
        parameters = f"{kind}/{found.get('name', '')}"
    return [name(obj), spec.get("controller", ""), parameters, age(obj, now)]


def _policy(policy: Obj, now: datetime) -> list[Any]:
    try:
        selector = str(LabelSelector.from_object(part(policy, "spec").get("podSelector") or {})) or NONE
    except APIError:
        selector = "<error>"
    return [name(policy), selector, age(policy, now)]


def _endpoints(endpoints: Obj, now: datetime) -> list[Any]:
    listed = []
    for subset in endpoints.get("subsets") or ():
        addresses = [address.get("ip", "") for address in subset.get("addresses") or ()]
        ports = subset.get("ports")
        if not ports:
            listed += addresses
        for port in ports or ():
            listed += [f"[{ip}]:{port['port']}" if ":" in ip else f"{ip}:{port['port']}" for ip in addresses]
    return [name(endpoints), _cut(listed) if endpoints.get("subsets") else NONE, age(endpoints, now)]


def _address(address: Obj, _now: datetime) -> list[Any]:
    parent = part(part(address, "spec"), "parentRef")
    words = NONE
    if parent:
        resource = f"{parent.get('resource', '')}.{parent['group']}" if parent.get("group") else parent.get("resource")
        words = "/".join(
            [str(resource).lower(), *filter(None, [parent.get("namespace")]), str(parent.get("name") or "")]
        )
    return [name(address), words]


def _cidr(cidr: Obj, now: datetime) -> list[Any]:
    return [name(cidr), ",".join(part(cidr, "spec").get("cidrs") or ()), age(cidr, now)]


INGRESS = Printer(
    (
        NAME,
        Column("Class", description="The name of the IngressClass resource that should be used."),
        Column("Hosts", description="Hosts that incoming requests are matched against before the ingress rule"),
        Column("Address", description="Address is a list containing ingress points for the load-balancer"),
        Column("Ports", description="Ports of TLS configurations that open"),
        AGE,
    ),
    _ingress,
)
INGRESS_CLASS = Printer(
    (
        NAME,
        Column("Controller", description="Controller that is responsible for handling this class"),
        Column("Parameters", description="A reference to a resource with additional parameters"),
        AGE,
    ),
    _ingress_class,
)
NETWORK_POLICY = Printer(
    (NAME, Column("Pod-Selector", description="The pods that the policy is for."), AGE),
    _policy,
)
ENDPOINTS = Printer((NAME, Column("Endpoints", description="The addresses of the endpoints."), AGE), _endpoints)
IP_ADDRESS = Printer((NAME, Column("ParentRef", description="What has the address.")), _address)
SERVICE_CIDR = Printer((NAME, Column("CIDRs", description="The ranges of addresses."), AGE), _cidr)
