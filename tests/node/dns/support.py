"""What the DNS server's tests share: Services and EndpointSlices, known without an API server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hawser.node.dns.zone import Zone

Obj = dict[str, Any]
Objs = list[Obj]


class Known:
    """An informer's reading side."""

    def __init__(self, *objects: Obj) -> None:
        self.objects = {(o["metadata"]["namespace"], o["metadata"]["name"]): o for o in objects}
        self.has_synced = True
        self._indexes: dict[str, Callable[[Obj], Iterable[str]]] = {}

    def get(self, namespace: str | None, name: str) -> Obj | None:
        return self.objects.get((namespace or "", name))

    def list(self, namespace: str | None = None) -> Objs:
        return [o for (where, _), o in self.objects.items() if namespace in (None, where)]

    def by_index(self, index: str, value: str) -> Objs:
        return [o for o in self.objects.values() if value in self._indexes[index](o)]

    def add_index(self, index: str, function: Callable[[Obj], Iterable[str]]) -> None:
        self._indexes[index] = function


def service(name: str, *ports: Obj, ip: str | None = None, namespace: str = "ns", **spec: Any) -> Obj:
    if ip:
        spec = {"clusterIP": ip.partition(",")[0], "clusterIPs": ip.split(","), **spec}
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"ports": list(ports), **spec}}


def port(number: int, name: str = "", protocol: str = "TCP") -> Obj:
    return {"port": number, "name": name, "protocol": protocol}


def endpoint(address: str, hostname: str = "", ready: bool | None = True) -> Obj:
    conditions = {} if ready is None else {"ready": ready}
    return {"addresses": [address], "conditions": conditions, **({"hostname": hostname} if hostname else {})}


def slice_of(owner: str, endpoints: Objs, *ports: Obj, family: str = "IPv4", name: str = "") -> Obj:
    metadata = {"namespace": "ns", "name": name or owner, "labels": {"kubernetes.io/service-name": owner}}
    return {"metadata": metadata, "addressType": family, "endpoints": endpoints, "ports": list(ports)}


HTTP, DNS = port(80, "http"), port(53, "dns", "UDP")
PODS = [
    endpoint("10.1.0.5", "web-0"),
    endpoint("10.1.0.6", "web-1", ready=None),
    endpoint("10.1.0.7"),
    endpoint("10.1.0.8", "web-3", ready=False),
]


def zone(domain: str = "cluster.local") -> Zone:
    from ipaddress import ip_network

    services = Known(
        service("web", HTTP, DNS, port(9), ip="10.2.0.20"),
        service("both", HTTP, ip="10.2.0.21,fd00::21"),
        service("pods", HTTP, port(90), clusterIP="None"),
        service("empty", HTTP, clusterIP="None"),
        service("six", HTTP, clusterIP="None"),
        service("outside", type="ExternalName", externalName="www.example.org"),
        service("inside", type="ExternalName", externalName="web.ns.svc.cluster.local"),
        service("round", type="ExternalName", externalName="round.ns.svc.cluster.local"),
        service("literal", type="ExternalName", externalName="1.2.3.4"),
    )
    slices = Known(
        slice_of("web", [endpoint("10.1.0.5", "web-0")], port(8080, "http"), port(5353, "dns", "UDP")),
        slice_of("pods", PODS, port(8080, "http"), port(90)),
        slice_of("six", [endpoint("fd01::5")], port(8080, "http"), family="IPv6"),
        slice_of("empty", [endpoint("10.1.0.9", ready=False)], port(8080, "http")),
    )
    own = (ip_network("10.1.0.0/24"), ip_network("10.2.0.0/24"))
    return Zone(domain, services, slices, own, "10.2.0.10")
