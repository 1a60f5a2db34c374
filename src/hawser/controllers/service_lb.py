"""Addresses of Services of type LoadBalancer, out of a range that every node of the engine serves by itself.

It stands in for a cloud provider's service controller: a Service with a loadBalancerClass is somebody else's, and a
finalizer keeps the Service until its address is free again. Without a range nothing is done.
Source: Kubernetes documentation, "Service" (type LoadBalancer); cloud-provider's service controller.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from hawser.api.errors import ignoring
from hawser.api.kinds import SERVICE
from hawser.api.types import Obj
from hawser.client.client import MERGE
from hawser.client.controller import Controller, Manager
from hawser.client.informer import key_of

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
Network = IPv4Network | IPv6Network
_RETRY_SECONDS = 30.0


class NoAddress(Exception):
    """A Service cannot have an address; the message says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a Service should have. addresses: of its status; held: whether the finalizer holds it."""

    addresses: tuple[str, ...] = ()
    held: bool = False


def wants(service: Obj) -> bool:
    """Whether the Service is to have an address from here."""
    spec = service["spec"]
    return spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass")


def has_finalizer(service: Obj) -> bool:
    return FINALIZER in (service["metadata"].get("finalizers") or ())


def addresses_of(service: Obj) -> tuple[str, ...]:
    """The addresses in a Service's status."""
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return tuple(entry["ip"] for entry in ingress if entry.get("ip"))


def plan(service: Obj, ranges: Sequence[Network], taken: Collection[str]) -> Wanted | None:
    """What the Service should have; None when it is nobody's business here. taken: addresses of other Services.

    Raises NoAddress.
    """
    ending = service["metadata"].get("deletionTimestamp") is not None
    if not wants(service) or ending:
        # A Service of another class never had the finalizer from here.
        return Wanted() if has_finalizer(service) and (ending or not _other_class(service)) else None
    has = [a for a in addresses_of(service) if _range_of(a, ranges) is not None and a not in taken]
    asked = service["spec"].get("loadBalancerIP") or ""
    if asked and not _is_address(asked):
        raise NoAddress(f"spec.loadBalancerIP {asked} is no address")
    found = []
    for family in service["spec"].get("ipFamilies") or ["IPv4"]:
        mine = [network for network in ranges if f"IPv{network.version}" == family]
        if mine:
            kept = next((a for a in has if f"IPv{ip_address(a).version}" == family), "")
            named = asked if asked and f"IPv{ip_address(asked).version}" == family else ""
            found.append(_address(mine, kept, named, taken))
    if not found:
        raise NoAddress("there is no range of addresses of the Service's family")
    return Wanted(tuple(found), held=True)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _other_class(service: Obj) -> bool:
    return service["spec"].get("type") == "LoadBalancer" and bool(service["spec"].get("loadBalancerClass"))


def _range_of(address: str, ranges: Iterable[Network]) -> Network | None:
    ip = ip_address(address)
    return next((network for network in ranges if ip.version == network.version and ip in network), None)


def _address(ranges: Sequence[Network], kept: str, asked: str, taken: Collection[str]) -> str:
    if asked:
        if _range_of(asked, ranges) is None:
            raise NoAddress(f"spec.loadBalancerIP {asked} is not in the range {', '.join(map(str, ranges))}")
        if asked in taken:
            raise NoAddress(f"spec.loadBalancerIP {asked} is in use")
        return asked
    if kept:
        return kept
    for network in ranges:
        for ip in network.hosts():
            if str(ip) not in taken:
                return str(ip)
    raise NoAddress(f"no free address in the range {', '.join(map(str, ranges))}")


class ServiceLBController(Controller):
    """See the module."""

    name = "service-lb-controller"

    def configure(self, options: Mapping[str, Any]) -> None:
        self._ranges: list[Network] = [ip_network(text) for text in options.get("load_balancer_range") or ()]

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._recorder = manager.recorder("service-controller")
        # Of one worker: who looks for a free address must know what was given out just before.
        self._services = manager.informer(SERVICE)
        self._waiting: set[str] = set()
        if self._ranges:
            self._services.on_change(self._changed)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        if obj is not None and (wants(obj) or has_finalizer(obj)):
            self.enqueue(old, new)

    async def reconcile(self, key: str) -> float | None:
        service = self._services.get_key(key)
        if service is None:
            return None
        try:
            wanted = plan(service, self._ranges, self._taken(key))
        except NoAddress as problem:
            text = f"Error syncing load balancer: failed to ensure load balancer: {problem}"
            self._recorder.event(service, "Warning", "SyncLoadBalancerFailed", text)
            self._waiting.add(key)
            return _RETRY_SECONDS
        self._waiting.discard(key)
        if wanted is None or (wanted.addresses == addresses_of(service) and wanted.held == has_finalizer(service)):
            return None
        begun, done, verb = (
            ("EnsuringLoadBalancer", "EnsuredLoadBalancer", ("Ensuring", "Ensured"))
            if wanted.held
            else ("DeletingLoadBalancer", "DeletedLoadBalancer", ("Deleting", "Deleted"))
        )
        self._recorder.event(service, "Normal", begun, f"{verb[0]} load balancer")
        await self._write(service, wanted)
        self._free_again(wanted.held)
        self._recorder.event(service, "Normal", done, f"{verb[1]} load balancer")
        return None

    def _free_again(self, held: bool) -> None:
        """After an address was given back, those without one are looked at again."""
        for key in () if held else self._waiting:
            self.queue.add(key)

    def _taken(self, key: str) -> set[str]:
        others = (service for service in self._services.list() if key_of(service) != key)
        return {address for service in others for address in addresses_of(service)}

    async def _write(self, service: Obj, wanted: Wanted) -> None:
        metadata = service["metadata"]
        finalizers = [name for name in metadata.get("finalizers") or () if name != FINALIZER]
        ingress = [{"ip": address, "ipMode": "VIP"} for address in wanted.addresses]
        body = {
            "metadata": {
                "resourceVersion": metadata["resourceVersion"],
                "finalizers": [*finalizers, FINALIZER] if wanted.held else finalizers,
            },
            "status": {"loadBalancer": {"ingress": ingress or None}},
        }
        with ignoring(404):
            written = await self._client.patch(SERVICE, metadata["name"], metadata["namespace"], body, MERGE, "status")
            self._services.observe(written)
