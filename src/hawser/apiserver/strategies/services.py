"""Services: cluster addresses and node ports.

Source: Service documentation, "Choosing your own IP address", "Avoiding collisions" (the lower band of the range is for
static addresses), "type: NodePort".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address

from hawser.api.errors import APIError, Cause, FieldError, internal, invalid
from hawser.api.kinds import SERVICE, Kind
from hawser.api.types import Obj
from hawser.api.warnings import service as warnings
from hawser.apiserver.strategies import families
from hawser.apiserver.strategies.base import Lookup, Strategy
from hawser.apiserver.strategies.pools import Addresses, Network, Pool

_EXTERNAL_NAME = "ExternalName"
_WITH_PORTS = ("NodePort", "LoadBalancer")
_OUTSIDE = "failed to allocate IP {}: the provided network does not match the current range"


class Allocator:
    """The cluster addresses and node ports of one server; rebuilt from the store at start."""

    def __init__(self, networks: Sequence[Network], ports: range) -> None:
        """networks: service addresses, at most one a family, the default family first; ports: node ports."""
        self.networks = tuple(networks)
        self.first_address = str(networks[0][1])
        self.pools = {f"IPv{network.version}": Addresses(network) for network in networks}
        self.ports = Pool(ports.start, ports.stop - 1, min(max(16, len(ports) // 32), 128))

    @property
    def families(self) -> tuple[str, ...]:
        """Those that Services can have, the default one first."""
        return tuple(self.pools)

    def pool(self, address: str) -> Addresses | None:
        """The addresses of an address's family; None for a family that is not served."""
        return self.pools.get("IPv6" if ":" in address else "IPv4")

    def give_back(self, address: str) -> None:
        """The address is free again."""
        if (pool := self.pool(address)) is not None:
            pool.give_back(int(ip_address(address)))

    def adopt(self, services: Iterable[Obj]) -> None:
        """Mark what stored Services use."""
        for service in services:
            for address in _addresses(service):
                if (pool := self.pool(address)) is not None:
                    pool.take(int(ip_address(address)))
            for port in _ports(service):
                self.ports.take(port)


class ServiceStrategy(Strategy):
    """See the module."""

    returns_deleted = True
    create_on_update = True

    def __init__(self, kind: Kind, lookup: Lookup, allocator: Allocator) -> None:
        super().__init__(kind, lookup)
        self._allocator = allocator

    def prepare_create(self, obj: Obj) -> None:
        """No load balancer yet."""
        obj["status"] = {"loadBalancer": {}}

    def prepare_update(self, obj: Obj, old: Obj) -> None:
        """Clients may leave out what was allocated; what the new type has no use for goes, unless it was changed."""
        spec, was = obj["spec"], old["spec"]
        kind = spec.get("type", "ClusterIP")
        if kind != _EXTERNAL_NAME and was.get("type") != _EXTERNAL_NAME:
            _keep_addresses(spec, was)
        if kind == _EXTERNAL_NAME:
            _drop(spec, was, "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
        elif was.get("type") == _EXTERNAL_NAME:
            _drop(spec, was, "externalName")
        if kind in _WITH_PORTS:
            _keep_ports(spec, was)
        elif was.get("type") in _WITH_PORTS:
            _drop_ports(spec, was)
        if kind != "LoadBalancer" and was.get("type") == "LoadBalancer":
            _drop(spec, was, "allocateLoadBalancerNodePorts", "loadBalancerClass")
        if _needs_check(was):
            if not _needs_check(spec):
                _drop(spec, was, "healthCheckNodePort")
            elif not spec.get("healthCheckNodePort") and was.get("healthCheckNodePort"):
                spec["healthCheckNodePort"] = was["healthCheckNodePort"]

    def warnings(self, obj: Obj, old: Obj | None) -> Iterable[str]:
        """What has no effect, and what is written in unusual ways."""
        return warnings.service(obj)

    def reserve(self, obj: Obj, old: Obj | None) -> Callable[[], None] | None:
        """Cluster address and node ports; on update only what is new, and what is no longer needed is freed."""
        taken: list[Callable[[], None]] = []

        def undo() -> None:
            for give_back in taken:
                give_back()

        try:
            families.settle(obj, old, self._allocator.families)
            self._cluster_ips(obj, old, taken)
            self._node_ports(obj, old, taken)
            self._check_port(obj, old, taken)
        except APIError:
            undo()
            raise
        if old is not None:
            for address in _addresses(old) - _addresses(obj):
                self._allocator.give_back(address)
            for port in _ports(old) - _ports(obj):
                self._allocator.ports.give_back(port)
        return undo

    def release(self, obj: Obj) -> None:
        """Free everything a deleted Service had."""
        for address in _addresses(obj):
            self._allocator.give_back(address)
        for port in _ports(obj):
            self._allocator.ports.give_back(port)

    def _cluster_ips(self, obj: Obj, old: Obj | None, taken: list[Callable[[], None]]) -> None:
        spec = obj["spec"]
        if spec.get("type") == _EXTERNAL_NAME:
            return
        wanted: list[str] = list(spec.get("clusterIPs") or [spec.get("clusterIP") or ""])
        if wanted[0] == "None":
            spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
            return
        had = _addresses(old) if old is not None else set()
        wanted += [""] * (len(spec["ipFamilies"]) - len(wanted))
        for i, address in enumerate(wanted):
            wanted[i] = self._take(obj, address, spec["ipFamilies"][i], had, taken)
        spec["clusterIP"], spec["clusterIPs"] = wanted[0], wanted

    def _take(self, obj: Obj, address: str, family: str, had: set[str], taken: list[Callable[[], None]]) -> str:
        """The address, or any of the family when it is empty. Raises APIError."""
        if address in had:
            return address
        pool = self._allocator.pools[family]
        if not address:
            picked = pool.pick()
            if picked is None:
                raise internal("failed to allocate a serviceIP: range is full")
            taken.append(lambda: pool.give_back(picked))
            return str(ip_address(picked))
        number = int(ip_address(address))
        if not pool.holds(number):
            raise _refuse(obj, "spec.clusterIPs", [address], _OUTSIDE.format(address))
        if not pool.take(number):
            detail = f"failed to allocate IP {address}: provided IP is already allocated"
            raise _refuse(obj, "spec.clusterIPs", [address], detail)
        taken.append(lambda: pool.give_back(number))
        return address

    def _node_ports(self, obj: Obj, old: Obj | None, taken: list[Callable[[], None]]) -> None:
        spec = obj["spec"]
        if spec.get("type") not in _WITH_PORTS:
            return
        all_ports = spec["type"] != "LoadBalancer" or spec.get("allocateLoadBalancerNodePorts") is not False
        had = _ports(old) if old is not None else set()
        listed = spec.get("ports") or []
        # In a new Service one number serves the same port of several protocols (DNS on UDP and TCP).
        shared = {} if old is not None else {p["port"]: p["nodePort"] for p in listed if p.get("nodePort")}
        seen: set[int] = set()
        for index, port in enumerate(listed):
            number = port.get("nodePort") or (shared.get(port["port"], 0) if all_ports else 0)
            if not number:
                if not all_ports:
                    continue
                number = self._any_port("nodePort", taken)
            elif number not in had and number not in seen and (problem := self._take_port(number, taken)):
                raise _refuse(obj, f"spec.ports[{index}].nodePort", number, problem)
            seen.add(number)
            port["nodePort"] = number
            if old is None:
                shared[port["port"]] = number

    def _check_port(self, obj: Obj, old: Obj | None, taken: list[Callable[[], None]]) -> None:
        """The port at which load balancers ask for a node's health."""
        spec = obj["spec"]
        if not _needs_check(spec):
            return
        number = spec.get("healthCheckNodePort")
        if not number:
            spec["healthCheckNodePort"] = self._any_port("HealthCheck NodePort 0", taken)
        elif (old is None or number not in _ports(old)) and (problem := self._take_port(number, taken)):
            raise internal(f"failed to allocate requested HealthCheck NodePort {number}: {problem}")

    def _any_port(self, what: str, taken: list[Callable[[], None]]) -> int:
        pool = self._allocator.ports
        number = pool.pick()
        if number is None:
            raise internal(f"failed to allocate a {what}: range is full")
        taken.append(lambda: pool.give_back(number))
        return number

    def _take_port(self, number: int, taken: list[Callable[[], None]]) -> str:
        """Why a port cannot be had, "" when it was taken."""
        pool = self._allocator.ports
        if not pool.holds(number):
            return f"provided port is not in the valid range. The range of valid ports is {pool.first}-{pool.last}"
        if not pool.take(number):
            return "provided port is already allocated"
        taken.append(lambda: pool.give_back(number))
        return ""


def _refuse(obj: Obj, field: str, value: object, detail: str) -> APIError:
    error = FieldError(Cause.INVALID, field, detail, value)
    return invalid("", SERVICE.kind, obj["metadata"].get("name", ""), [error])


def _addresses(service: Obj) -> set[str]:
    listed = service["spec"].get("clusterIPs") or [service["spec"].get("clusterIP")]
    return {address for address in listed if address and address != "None"}


def _ports(service: Obj) -> set[int]:
    """Node ports of every kind."""
    found = {port["nodePort"] for port in service["spec"].get("ports") or [] if port.get("nodePort")}
    check = service["spec"].get("healthCheckNodePort")
    return found | {check} if check else found


def _needs_check(spec: Obj) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _keep_addresses(spec: Obj, was: Obj) -> None:
    """What was allocated and is left out stays, the second address only while there are to be two."""
    if not spec.get("clusterIP") and not spec.get("clusterIPs"):
        for name in ("clusterIP", "clusterIPs"):
            if was.get(name):
                spec[name] = was[name]
    elif not spec.get("clusterIPs") and spec["clusterIP"] == was.get("clusterIP"):
        spec["clusterIPs"] = was.get("clusterIPs") or [spec["clusterIP"]]
    elif not spec.get("clusterIP") and spec.get("clusterIPs"):
        spec["clusterIP"] = spec["clusterIPs"][0]
    for name in ("ipFamilies", "ipFamilyPolicy"):
        if not spec.get(name) and was.get(name):
            spec[name] = was[name]


def _drop(spec: Obj, was: Obj, *names: str) -> None:
    for name in names:
        if spec.get(name) == was.get(name):
            spec.pop(name, None)


def _port_key(port: Obj) -> tuple[object, object]:
    return (port.get("port"), port.get("protocol", "TCP"))


def _keep_ports(spec: Obj, was: Obj) -> None:
    """Ports whose nodePort was left out keep the one they had, unless it is given to another port now."""
    before = {_port_key(port): port.get("nodePort") for port in was.get("ports") or []}
    given = {port["nodePort"] for port in spec.get("ports") or [] if port.get("nodePort")}
    for port in spec.get("ports") or []:
        number = before.get(_port_key(port))
        if not port.get("nodePort") and number and number not in given:
            port["nodePort"] = number


def _drop_ports(spec: Obj, was: Obj) -> None:
    """What only a type with node ports may have goes with the type, unless the client gave it anew."""
    before = {_port_key(port): port.get("nodePort") for port in was.get("ports") or []}
    for port in spec.get("ports") or []:
        if port.get("nodePort") == before.get(_port_key(port)):
            port.pop("nodePort", None)
    if spec.get("externalTrafficPolicy") == was.get("externalTrafficPolicy"):
        spec.pop("externalTrafficPolicy", None)
