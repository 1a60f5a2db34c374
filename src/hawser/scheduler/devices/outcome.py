"""What is written of an allocation: status.allocation of a claim. Pure. Source: API reference, AllocationResult."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hawser.api.quantity import Quantity
from hawser.api.types import Obj
from hawser.scheduler.devices.asks import Ask
from hawser.scheduler.devices.inventory import Device


@dataclass(frozen=True, slots=True)
class Pick:
    """A device for a request. consumed: what it takes of a shared device; counts: whether it takes of counters."""

    ask: Ask
    device: Device
    consumed: Mapping[str, Quantity] | None
    counts: bool


def outcome(claim: Obj, picks: Sequence[Pick], node: str, share_id: Callable[[], str]) -> Obj:
    """A claim's status.allocation for its devices on a node."""
    devices: Obj = {"results": [_result(pick, share_id) for pick in picks]}
    if config := _config(claim, picks):
        devices["config"] = config
    selector = _selector(picks, node)
    return {"devices": devices, **({"nodeSelector": selector} if selector else {})}


def _result(pick: Pick, share_id: Callable[[], str]) -> Obj:
    driver, pool, name = pick.device.id
    result: Obj = {"request": pick.ask.name, "driver": driver, "pool": pool, "device": name}
    if pick.ask.admin:
        result["adminAccess"] = True
    if pick.ask.spec.get("tolerations"):
        result["tolerations"] = pick.ask.spec["tolerations"]
    for field in ("bindingConditions", "bindingFailureConditions"):
        if pick.device.spec.get(field):
            result[field] = pick.device.spec[field]
    if pick.consumed is not None:
        result["shareID"] = share_id()
        if pick.consumed:
            result["consumedCapacity"] = {capacity: str(amount) for capacity, amount in pick.consumed.items()}
    return result


def _config(claim: Obj, picks: Sequence[Pick]) -> list[Obj]:
    """The classes' configuration, each class once with all its requests, and the claim's own as far as it is used."""
    found: list[Obj] = []
    of_class: dict[str, list[Obj]] = {}
    names = list(dict.fromkeys(pick.ask.name for pick in picks))
    asks = {pick.ask.name: pick.ask for pick in picks}
    for name in names:
        device_class = asks[name].device_class
        known = of_class.get(device_class["metadata"]["name"])
        if known is not None:
            for entry in known:
                entry["requests"].append(name)
            continue
        made = [
            {"source": "FromClass", "requests": [name], **entry} for entry in device_class["spec"].get("config") or ()
        ]
        of_class[device_class["metadata"]["name"]] = made
        found += made
    known_names = {*names, *(ask.parent for ask in asks.values())}
    for entry in claim["spec"]["devices"].get("config") or ():
        if not entry.get("requests") or known_names & set(entry["requests"]):
            found.append({"source": "FromClaim", **entry})
    return found


def _selector(picks: Sequence[Pick], node: str) -> Obj | None:
    """Which nodes the devices can be used on: one, those that all selectors agree on, or all (None)."""
    term: dict[str, list[Obj]] = {"matchFields": [], "matchExpressions": []}
    for pick in picks:
        near = pick.device.near
        if near.get("nodeName") or pick.device.spec.get("bindsToNode"):
            only = {"key": "metadata.name", "operator": "In", "values": [node]}
            return {"nodeSelectorTerms": [{"matchFields": [only]}]}
        for one in (near.get("nodeSelector") or {}).get("nodeSelectorTerms") or ():
            for kind, requirements in term.items():
                requirements += (each for each in one.get(kind) or () if not _listed(each, requirements))
    term = {kind: requirements for kind, requirements in term.items() if requirements}
    return {"nodeSelectorTerms": [term]} if term else None


def _listed(requirement: Obj, known: Sequence[Obj]) -> bool:
    def same(other: Obj) -> bool:
        fields = ("key", "operator")
        values = [set(one.get("values") or ()) for one in (requirement, other)]
        return all(requirement[f] == other[f] for f in fields) and values[0] == values[1]

    return any(map(same, known))
