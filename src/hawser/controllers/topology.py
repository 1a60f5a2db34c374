"""Hints of Services with topology-aware routing: endpoints are dealt out to zones by their processors. Pure.

Source: Kubernetes documentation, "Topology Aware Routing" (safeguards, constraints); KEP-2433. Messages are
kube-controller-manager's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from hawser.api.quantity import milli
from hawser.api.status import condition, is_ready
from hawser.api.types import Obj

ZONE = "topology.kubernetes.io/zone"
_MODE = ("service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints")
_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
_OVERLOAD = 0.2
ENABLED = "Topology Aware Hints has been enabled"
DISABLED = "Topology Aware Hints has been disabled"
_INSUFFICIENT = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"


class Unsuited(Exception):
    """There are to be no hints; the message says why."""


def wanted(service: Obj) -> bool:
    """Whether a Service asks for it; traffic distribution goes before."""
    annotations = service["metadata"].get("annotations") or {}
    mode = next((annotations[name] for name in _MODE if name in annotations), "")
    return mode in ("Auto", "auto") and not service["spec"].get("trafficDistribution")


def ratios(nodes: Iterable[Obj]) -> dict[str, float]:
    """Each zone's part of the processors of ready nodes. Raises Unsuited."""
    by_zone: Counter[str] = Counter()
    for node in nodes:
        labels = node["metadata"].get("labels") or {}
        ready = is_ready(node)
        if not ready or any(name in labels for name in _CONTROL_PLANE):
            continue
        amount = milli(str(((node.get("status") or {}).get("allocatable") or {}).get("cpu") or "0"))
        if not labels.get(ZONE) or not amount:
            raise Unsuited(_INSUFFICIENT)
        by_zone[labels[ZONE]] += amount
    if len(by_zone) < 2:
        raise Unsuited(_INSUFFICIENT)
    total = by_zone.total()
    return {zone: amount / total for zone, amount in sorted(by_zone.items())}


def deal(endpoints: Iterable[Obj], parts: Mapping[str, float]) -> dict[str, str]:
    """The zone that each ready endpoint is for, by its address. parts: of ``ratios``. Raises Unsuited."""
    ready = [endpoint for endpoint in endpoints if endpoint["conditions"]["ready"]]
    desired = _desired(len(ready), parts)
    if any(not endpoint.get("zone") for endpoint in ready):
        raise Unsuited("One or more endpoints do not have a zone specified")
    dealt = {endpoint["addresses"][0]: str(endpoint["zone"]) for endpoint in ready}
    have = Counter(dealt.values())
    giving = {zone: have[zone] - amount for zone, amount in desired.items() if have[zone] > amount}
    receiving = {zone: amount - have[zone] for zone, amount in desired.items() if have[zone] < amount}
    while giving and receiving:
        giver, taker = max(giving, key=giving.__getitem__), max(receiving, key=receiving.__getitem__)
        most, least = max(giving[giver], receiving[taker]), min(giving[giver], receiving[taker])
        if most < 1.0 or least < 0.5:
            break
        address = next(a for a, zone in sorted(dealt.items()) if zone == giver)
        dealt[address] = taker
        giving[giver] -= 1
        receiving[taker] -= 1
    return dealt


def _desired(count: int, parts: Mapping[str, float]) -> dict[str, float]:
    told = f"({count} endpoints, {len(parts)} zones)"
    if len(parts) > count:
        raise Unsuited(f"Insufficient number of endpoints {told}")
    least = {zone: math.ceil(part * count / (1 + _OVERLOAD)) for zone, part in parts.items()}
    if sum(least.values()) > count:
        text = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
        raise Unsuited(f"{text} {told}")
    return {zone: max(part * count, float(least[zone])) for zone, part in parts.items()}


def relevant(node: Obj) -> tuple[object, ...]:
    """What of a node hints depend on, its zone first."""
    amount = ((node.get("status") or {}).get("allocatable") or {}).get("cpu")
    ready = (condition(node, "Ready") or {}).get("status")
    return (node["metadata"].get("labels") or {}).get(ZONE), amount, ready
