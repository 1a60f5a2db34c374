"""Which endpoints the connections to a Service's port go to from one node. Pure.

Sources: Kubernetes documentation, "Virtual IPs and Service Proxies" (traffic policies, traffic to terminating
endpoints), "Service" (traffic distribution), "Topology Aware Routing" (safeguards); KEP-1669, KEP-2433, KEP-4444.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hawser.api.types import Obj

SERVICE_NAME = "kubernetes.io/service-name"
ZONE = "topology.kubernetes.io/zone"
_OTHER_PROXY = "service.kubernetes.io/service-proxy-name"
_HEADLESS = "service.kubernetes.io/headless"
_REACHABLE = ("NodePort", "LoadBalancer")


@dataclass(frozen=True, slots=True)
class Place:
    """Where connections are looked at. node: its name; zone: its zone, "" without one."""

    node: str = ""
    zone: str = ""


NOWHERE = Place()


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """Where a connection may go."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """The endpoints of one Service port, sorted.

    cluster: for policy Cluster; local: for policy Local; exist: whether there are any on some node; serving: addresses
    of all that serve, wherever they are, which connections that exist already may go on with.
    """

    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    exist: bool = False
    serving: frozenset[str] = frozenset()


def proxied(service: Obj) -> bool:
    """Whether a Service has addresses that lead somewhere, and nobody else sees to it."""
    spec, labels = service["spec"], service["metadata"].get("labels") or {}
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") in (None, "", "None"):
        return False
    return _OTHER_PROXY not in labels and _HEADLESS not in labels


def is_external(service: Obj) -> bool:
    """Whether a Service can be reached by more than its cluster address."""
    return service["spec"].get("type") in _REACHABLE or bool(service["spec"].get("externalIPs"))


def choose(service: Obj, port: Obj, slices: Iterable[Obj], place: Place, family: str = "IPv4") -> Chosen:
    """The endpoints of one port of a Service.

    All ready ones, near ones first where every one of them has a hint; when there are none, those that are terminating
    but still serve. The same again among those of the node, for policies that are Local.
    """
    every = list(_of_port(port, slices, family))
    ready = [e for e in every if _ready(e[1])]
    leaving = [e for e in every if not _ready(e[1]) and _leaving(e[1])]
    local_ready = [e for e in ready if e[1].get("nodeName") == place.node]
    local_leaving = [e for e in leaving if e[1].get("nodeName") == place.node]
    return Chosen(
        cluster=_targets(_near(ready, place) or leaving),
        local=_targets(local_ready or local_leaving),
        exist=bool(ready or leaving),
        serving=frozenset(e.address for e, endpoint in every if _serving(endpoint)),
    )


def local_ready(service: Obj, slices: Iterable[Obj], node: str) -> int:
    """How many ready endpoints of a Service are on the node: what a load balancer's health check is told."""
    family = next(iter(service["spec"].get("ipFamilies") or ()), "IPv4")
    found = {
        address
        for one in slices
        if one.get("addressType") == family
        for endpoint in one.get("endpoints") or ()
        if endpoint.get("nodeName") == node and _ready(endpoint)
        for address in endpoint.get("addresses") or ()
    }
    return len(found)


_Found = tuple[Endpoint, Obj]


def _of_port(port: Obj, slices: Iterable[Obj], family: str) -> Iterator[_Found]:
    for one in slices:
        if one.get("addressType") != family:
            continue
        number = _target_port(port, one)
        if number is None:
            continue
        for endpoint in one.get("endpoints") or ():
            # All addresses of an endpoint are the same; only the first one counts (API reference, Endpoint).
            for address in (endpoint.get("addresses") or ())[:1]:
                yield Endpoint(address, number), endpoint


def _target_port(port: Obj, one: Obj) -> int | None:
    for candidate in one.get("ports") or ():
        same_name = (candidate.get("name") or "") == (port.get("name") or "")
        if same_name and (candidate.get("protocol") or "TCP") == (port.get("protocol") or "TCP"):
            number: int | None = candidate.get("port")
            return number
    return None


def _ready(endpoint: Obj) -> bool:
    return (endpoint.get("conditions") or {}).get("ready") is not False


def _serving(endpoint: Obj) -> bool:
    return (endpoint.get("conditions") or {}).get("serving") is not False


def _leaving(endpoint: Obj) -> bool:
    return bool((endpoint.get("conditions") or {}).get("terminating")) and _serving(endpoint)


def _near(ready: list[_Found], place: Place) -> list[_Found]:
    """Those that are hinted for the node, or for its zone; all when one has no hint or none is for here."""
    for hint, here in (("forNodes", place.node), ("forZones", place.zone)):
        hints = [_hints(endpoint, hint) for _, endpoint in ready]
        if all(hints) and any(here in names for names in hints):
            return [found for found, names in zip(ready, hints, strict=True) if here in names]
    return ready


def _hints(endpoint: Obj, kind: str) -> set[str]:
    return {hint["name"] for hint in (endpoint.get("hints") or {}).get(kind) or ()}


def _targets(found: Iterable[_Found]) -> tuple[Endpoint, ...]:
    return tuple(sorted({endpoint for endpoint, _ in found}))
