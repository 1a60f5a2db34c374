"""Services: cluster addresses and node ports.

Source: Service documentation, "Choosing your own IP address", "Avoiding collisions" (the lower band of the range is for
static addresses), "type: NodePort".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address

from hawser.api.errors import APIError, Cause, FieldError, internal, invalid
from hawser.api.kinds import SERVICE, Kind
from hawser.api.types import Obj
from hawser.apiserver.strategies.base import Lookup, Strategy
from hawser.apiserver.strategies.pools import Addresses, Network, Pool

_EXTERNAL_NAME = "ExternalName"
_WITH_PORTS = ("NodePort", "LoadBalancer")
_OUTSIDE = "failed to allocate IP {}: the provided network does not match the current range"


class Allocator:
    """The cluster addresses and node ports of one server; rebuilt from the store at start."""

    def __init__(self, network: Network, ports: range) -> None:
        """network: service addresses; ports: node ports."""
        self.network = network
        self.first_address = str(ip_address(int(network.network_address) + 1))
        self.addresses = Addresses(network)
        self.ports = Pool(ports.start, ports.stop - 1, min(max(16, len(ports) // 32), 128))

    def adopt(self, services: Iterable[Obj]) -> None:
        """Mark what stored Services use."""
        for service in services:
            for number in _addresses(service):
                self.addresses.take(number)
            for port in _ports(service):
                self.ports.take(port)


class ServiceStrategy(Strategy):
    """See the module."""

    returns_deleted = True
    create_on_update = True

    def __init__(self, kind: Kind, lookup: Lookup, allocator: Allocator) -> None:
        super().__init__(kind, lookup)
        self._allocator = allocator

    def prepare_update(self, obj: Obj, old: Obj) -> None:
        """Clients may leave out what was allocated."""
        spec, was = obj["spec"], old["spec"]
        kind = spec.get("type", "ClusterIP")
        if kind != _EXTERNAL_NAME and was.get("type") != _EXTERNAL_NAME:
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if not spec.get(name) and was.get(name):
                    spec[name] = was[name]
        if kind == _EXTERNAL_NAME:
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if spec.get(name) == was.get(name):
                    spec.pop(name, None)
        if kind in _WITH_PORTS:
            _keep_ports(spec, was)
        elif was.get("type") in _WITH_PORTS:
            _drop_ports(spec, was)
        if kind != "LoadBalancer" and was.get("type") == "LoadBalancer":
            for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"):
                if spec.get(name) == was.get(name):
                    spec.pop(name, None)

    def reserve(self, obj: Obj, old: Obj | None) -> Callable[[], None] | None:
        """Cluster address and node ports; on update only what is new, and what is no longer needed is freed."""
        taken: list[Callable[[], None]] = []

        def undo() -> None:
            for give_back in taken:
                give_back()

        try:
            self._address(obj, old, taken)
            self._node_ports(obj, old, taken)
        except APIError:
            undo()
            raise
        if old is not None:
            for number in _addresses(old) - _addresses(obj):
                self._allocator.addresses.give_back(number)
            for port in _ports(old) - _ports(obj):
                self._allocator.ports.give_back(port)
        return undo

    def release(self, obj: Obj) -> None:
        """Free everything a deleted Service had."""
        for number in _addresses(obj):
            self._allocator.addresses.give_back(number)
        for port in _ports(obj):
            self._allocator.ports.give_back(port)

    def _address(self, obj: Obj, old: Obj | None, taken: list[Callable[[], None]]) -> None:
        spec = obj["spec"]
        if spec.get("type") == _EXTERNAL_NAME:
            return
        wanted = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
        spec.setdefault("ipFamilies", [f"IPv{self._allocator.network.version}"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if wanted == "None":
            spec["clusterIP"], spec["clusterIPs"] = wanted, [wanted]
            return
        pool = self._allocator.addresses
        had = _addresses(old) if old is not None else set()
        if not wanted:
            number = pool.pick()
            if number is None:
                raise internal("failed to allocate a serviceIP: range is full")
            taken.append(lambda: pool.give_back(number))
            wanted = str(ip_address(number))
        else:
            asked = int(ip_address(wanted))
            if asked not in had:
                if not pool.holds(asked):
                    raise _refuse(obj, "spec.clusterIPs", [wanted], _OUTSIDE.format(wanted))
                if not pool.take(asked):
                    detail = f"failed to allocate IP {wanted}: provided IP is already allocated"
                    raise _refuse(obj, "spec.clusterIPs", [wanted], detail)
                taken.append(lambda: pool.give_back(asked))
        spec["clusterIP"], spec["clusterIPs"] = wanted, [wanted]

    def _node_ports(self, obj: Obj, old: Obj | None, taken: list[Callable[[], None]]) -> None:
        spec = obj["spec"]
        if spec.get("type") not in _WITH_PORTS:
            return
        if spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
            return
        pool = self._allocator.ports
        had = _ports(old) if old is not None else set()
        shared: dict[tuple[int, str], int] = {}
        for index, port in enumerate(spec.get("ports") or []):
            number = port.get("nodePort") or shared.get((port["port"], "")) or 0
            field = f"spec.ports[{index}].nodePort"
            if not number:
                picked = pool.pick()
                if picked is None:
                    raise internal("failed to allocate a nodePort: range is full")
                number = picked
                taken.append(lambda number=number: pool.give_back(number))  # type: ignore[misc]
            elif number not in had and number not in shared.values():
                if not pool.holds(number):
                    raise _refuse(
                        obj,
                        field,
                        number,
                        "provided port is not in the valid range. The range of valid ports is "
                        f"{pool.first}-{pool.last}",
                    )
                if not pool.take(number):
                    raise _refuse(obj, field, number, "provided port is already allocated")
                taken.append(lambda number=number: pool.give_back(number))  # type: ignore[misc]
            port["nodePort"] = number
            # One number serves the same port of several protocols (DNS on UDP and TCP).
            shared[(port["port"], "")] = number


def _refuse(obj: Obj, field: str, value: object, detail: str) -> APIError:
    error = FieldError(Cause.INVALID, field, detail, value)
    return invalid("", SERVICE.kind, obj["metadata"].get("name", ""), [error])


def _addresses(service: Obj) -> set[int]:
    listed = service["spec"].get("clusterIPs") or [service["spec"].get("clusterIP")]
    return {int(ip_address(address)) for address in listed if address and address != "None"}


def _ports(service: Obj) -> set[int]:
    return {port["nodePort"] for port in service["spec"].get("ports") or [] if port.get("nodePort")}


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
