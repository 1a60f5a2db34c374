"""EndpointSlices of Endpoints that somebody writes for a Service without a selector.

Source: Kubernetes documentation, "EndpointSlices" and "Service" (EndpointSlice mirroring); KEP-752.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from hawser.api.kinds import ENDPOINT_SLICE, ENDPOINTS, SERVICE
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.controllers import pods
from hawser.controllers.endpoints import MANAGED_BY, SERVICE_LABEL, TRIGGER_TIME, Plan
from hawser.controllers.endpointslice import write

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
MOST = 1000
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_FAMILIES = ("IPv4", "IPv6")


def mirrored(endpoints: Obj | None, service: Obj | None) -> bool:
    """Whether there should be slices of these Endpoints."""
    if endpoints is None or service is None or pods.is_terminating(endpoints):
        return False
    metadata = endpoints["metadata"]
    if (metadata.get("labels") or {}).get(SKIP) == "true" or _LEADER in (metadata.get("annotations") or {}):
        return False
    return not service["spec"].get("selector")


def plan(endpoints: Obj, slices: Sequence[Obj]) -> tuple[Plan, int]:
    """What to do about the mirror's slices, and how many addresses are too many. A subset and family make a slice."""
    wanted, skipped = _wanted(endpoints)
    create: list[Obj] = []
    update: list[Obj] = []
    left = sorted(slices, key=lambda one: str(one["metadata"]["name"]))
    for made in wanted:
        # The same ports before any other: what watches a slice sees its endpoints come and go.
        same = [one for one in left if one["addressType"] == made["addressType"]]
        old = next((one for one in same if (one.get("ports") or []) == made["ports"]), next(iter(same), None))
        if old is None:
            create.append(made)
            continue
        left.remove(old)
        merged = {**old, "ports": made["ports"], "endpoints": made["endpoints"]}
        merged["metadata"] = {**old["metadata"], "labels": made["metadata"]["labels"]}
        if made["metadata"].get("annotations") or old["metadata"].get("annotations"):
            merged["metadata"]["annotations"] = made["metadata"].get("annotations") or {}
        if merged != {**old, "ports": old.get("ports") or [], "endpoints": old.get("endpoints") or []}:
            update.append(merged)
    return Plan(tuple(create), tuple(update), tuple(left)), skipped


def _wanted(endpoints: Obj) -> tuple[list[Obj], int]:
    found: dict[tuple[str, int], Obj] = {}
    skipped = 0
    ports_seen: list[list[Obj]] = []
    for subset in endpoints.get("subsets") or ():
        ports = [_port(port) for port in subset.get("ports") or ()]
        if ports not in ports_seen:
            ports_seen.append(ports)
        addresses = [(a, True) for a in subset.get("addresses") or ()]
        addresses += [(a, False) for a in subset.get("notReadyAddresses") or ()]
        skipped += max(0, len(addresses) - MOST)
        for address, ready in addresses[:MOST]:
            family = f"IPv{ip_address(address['ip']).version}"
            key = family, ports_seen.index(ports)
            made = found.setdefault(key, _slice(endpoints, family, ports))
            made["endpoints"].append(_endpoint(address, ready))
    return [found[key] for key in sorted(found)], skipped


def _port(port: Obj) -> Obj:
    made = {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP"), "port": port["port"]}
    return {**made, "appProtocol": port["appProtocol"]} if port.get("appProtocol") else made


def _endpoint(address: Obj, ready: bool) -> Obj:
    made: Obj = {"addresses": [str(ip_address(address["ip"]))], "conditions": {"ready": ready}}
    for field in ("hostname", "nodeName", "targetRef"):
        if address.get(field):
            made[field] = address[field]
    return made


def _slice(endpoints: Obj, family: str, ports: list[Obj]) -> Obj:
    metadata = endpoints["metadata"]
    kept = (metadata.get("annotations") or {}).items()
    annotations = {k: v for k, v in kept if k not in (TRIGGER_TIME, _LAST_APPLIED)}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{metadata['name']}-",
            "namespace": metadata["namespace"],
            "labels": {
                **(metadata.get("labels") or {}),
                SERVICE_LABEL: metadata["name"],
                MANAGED_BY: MANAGER,
            },
            **({"annotations": annotations} if annotations else {}),
            "ownerReferences": [pods.owner_reference({"apiVersion": "v1", "kind": "Endpoints", **endpoints})],
        },
        "addressType": family,
        "ports": ports,
        "endpoints": [],
    }


class MirroringController(Controller):
    """See the module."""

    name = "endpointslice-mirroring-controller"
    workers = 2

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._recorder = manager.recorder("endpoint-slice-mirroring-controller")
        self._services = manager.informer(SERVICE)
        self._endpoints = manager.informer(ENDPOINTS)
        self._slices = manager.informer(ENDPOINT_SLICE)
        self._slices.add_index("mirror", _mirror_of)
        self._services.on_change(self.enqueue)
        self._endpoints.on_change(self.enqueue)
        self._slices.on_change(self._enqueue_of_slice)

    def _enqueue_of_slice(self, old: Obj | None, new: Obj | None) -> None:
        for one in (old, new):
            for key in _mirror_of(one) if one is not None else ():
                self.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        endpoints = self._endpoints.get_key(key)
        slices = self._slices.by_index("mirror", key)
        todo = Plan(delete=tuple(slices))
        if endpoints is not None and mirrored(endpoints, self._services.get_key(key)):
            todo, skipped = plan(endpoints, slices)
            if skipped:
                text = (
                    f"A max of {MOST} addresses can be mirrored to EndpointSlices per Endpoints subset. "
                    f"{skipped} addresses were skipped"
                )
                self._recorder.event(endpoints, "Warning", "TooManyAddressesToMirror", text)
        await write(self._client, self._slices.observe, todo, f"Endpoints {key}")
        return None


def _mirror_of(one: Obj) -> list[str]:
    labels = one["metadata"].get("labels") or {}
    if labels.get(MANAGED_BY) != MANAGER or SERVICE_LABEL not in labels:
        return []
    return [f"{one['metadata']['namespace']}/{labels[SERVICE_LABEL]}"]
