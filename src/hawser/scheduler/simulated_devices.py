"""Devices in a simulation: claims that controllers would make, and what comes of decisions. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from uuid import UUID

from hawser.api.types import Obj
from hawser.client.informer import key_of
from hawser.scheduler.cache import Cache
from hawser.scheduler.devices.claims import owner_of
from hawser.scheduler.devices.inventory import Inventory
from hawser.scheduler.devices.plan import Devices, Reservation, Stock


def devices_of(kinds: Mapping[str, dict[str, Obj]], pods: Iterable[Obj], cache: Cache) -> Devices:
    """Decides on the devices of a dump. kinds: its objects by kind and key; pods: those that are to be placed."""
    claims = dict(kinds.get("ResourceClaim", {}))
    known: dict[str, Obj] = {}
    for pod in pods:
        known[key_of(pod)] = _provided(pod, claims, kinds.get("ResourceClaimTemplate", {}))
    inventory = Inventory(kinds.get("ResourceSlice", {}).values())
    numbers = itertools.count(1)
    stock = Stock(claims, kinds.get("DeviceClass", {}), inventory)
    devices = Devices(stock, cache, known.get, lambda: datetime.now(UTC), lambda: str(UUID(int=next(numbers))))
    for claim in claims.values():
        claim["metadata"].setdefault("uid", key_of(claim))
        devices.changed(None, claim)
    return devices


def _provided(pod: Obj, claims: dict[str, Obj], templates: Mapping[str, Obj]) -> Obj:
    """The pod with the claims that would be made for it; they are added to those that there are."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    statuses = list(status.get("resourceClaimStatuses") or ())
    told = {one["name"] for one in statuses}
    for entry in pod["spec"].get("resourceClaims") or ():
        template = templates.get(f"{metadata['namespace']}/{entry.get('resourceClaimTemplateName')}")
        if template is None or entry["name"] in told:
            continue
        name = f"{metadata['name']}-{entry['name']}"
        made = {"name": name, "namespace": metadata["namespace"], "ownerReferences": [owner_of(pod)]}
        claims[f"{metadata['namespace']}/{name}"] = {"metadata": made, "spec": template["spec"]["spec"]}
        statuses.append({"name": entry["name"], "resourceClaimName": name})
    return {**pod, "status": {**status, "resourceClaimStatuses": statuses}}


def record(devices: Devices, reservation: Reservation) -> None:
    """What was decided counts as written."""
    claims = devices.stock.claims
    assert isinstance(claims, dict)
    metadata = reservation.pod["metadata"]
    consumer = {"resource": "pods", "name": metadata["name"], "uid": metadata["uid"]}
    for claim in reservation.claims:
        key, status = key_of(claim), claim.get("status") or {}
        allocation = reservation.allocations.get(key) or status.get("allocation")
        reserved = [*(status.get("reservedFor") or ()), consumer]
        claims[key] = {**claim, "status": {**status, "allocation": allocation, "reservedFor": reserved}}
        devices.settle(claims[key])
