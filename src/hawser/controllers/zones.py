"""How fast nodes that fail are given up: zone by zone, slower where many fail, not at all when none is left.

Source: Kubernetes documentation, "Nodes" (rate limits on eviction).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from hawser.api.status import condition
from hawser.api.types import Obj
from hawser.exposition import gauge

_REGIONS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
_ZONES = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
_EXCLUDED = "node.kubernetes.io/exclude-disruption"
_SOME = 2
"""So many failed nodes are no disruption of their zone."""


class State(StrEnum):
    """How a zone is."""

    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


@dataclass(frozen=True, slots=True)
class Rates:
    """kube-controller-manager's settings: nodes a second; the size of a large zone; the share that is unhealthy."""

    usual: float = 0.1
    secondary: float = 0.01
    large: int = 50
    unhealthy: float = 0.55


@dataclass(slots=True)
class _Zone:
    rate: float
    state: State = State.NORMAL
    next: float = -math.inf


def zone_of(node: Obj) -> tuple[str, str]:
    """Region and zone of a node; empty without labels."""
    labels = node["metadata"].get("labels") or {}
    region, zone = (next((str(labels[k]) for k in keys if labels.get(k)), "") for keys in (_REGIONS, _ZONES))
    return region, zone


def zone_label(node: Obj) -> str:
    """The zone of a node as labels of metrics have it."""
    region, zone = zone_of(node)
    return f"{region}:\x00:{zone}" if region or zone else ""


def exposed(nodes: Iterable[Obj]) -> Iterator[str]:
    """How many nodes there are by zone, and how well they are, in Prometheus' text format."""
    sizes: Counter[tuple[str, ...]] = Counter()
    unready: Counter[tuple[str, ...]] = Counter()
    for node in nodes:
        key = (zone_label(node),)
        sizes[key] += 1
        unready[key] += ready_status(node) != "True"
    health = {key: 100 * (size - unready[key]) / size for key, size in sizes.items()}
    prefix, names = "node_collector_", ("zone",)
    yield from gauge(f"{prefix}zone_size", "Gauge measuring number of registered Nodes per zones.", sizes, names)
    text = "Gauge measuring percentage of healthy nodes per zone."
    yield from gauge(f"{prefix}zone_health", text, health, names)
    text = "Gauge measuring number of not Ready Nodes per zones."
    yield from gauge(f"{prefix}unhealthy_nodes_in_zone", text, unready, names)


def ready_status(node: Obj) -> str:
    """The status of a node's Ready condition; "" when it never had one."""
    ready = condition(node, "Ready")
    return "" if ready is None else str(ready["status"])


def state_of(ready: int, failed: int, unhealthy: float) -> State:
    """A zone's state by how many of its nodes are Ready and how many are not."""
    if failed and not ready:
        return State.FULL
    if failed > _SOME and failed / (ready + failed) >= unhealthy:
        return State.PARTIAL
    return State.NORMAL


@dataclass(slots=True)
class Zones:
    """The zones of a cluster. down: no zone has a Ready node, so what fails is rather the way to them."""

    rates: Rates = Rates()
    down: bool = False
    _known: dict[tuple[str, str], _Zone] = field(default_factory=dict)

    def look(self, nodes: Iterable[Obj]) -> bool:
        """Takes the nodes as they are; whether zones are in another state than before."""
        counts: dict[tuple[str, str], list[int]] = {}
        for node in nodes:
            status = ready_status(node)
            if status and _EXCLUDED not in (node["metadata"].get("labels") or {}):
                counts.setdefault(zone_of(node), [0, 0])[status != "True"] += 1
        unhealthy = self.rates.unhealthy
        states = {zone: state_of(ready, failed, unhealthy) for zone, (ready, failed) in counts.items()}
        before = self.down, {zone: known.state for zone, known in self._known.items()}
        self.down = bool(states) and all(state is State.FULL for state in states.values())
        for zone in self._known.keys() - states.keys():
            del self._known[zone]
        for zone, state in states.items():
            known = self._known.setdefault(zone, _Zone(self.rates.usual))
            known.state, known.rate = state, self._rate(state, sum(counts[zone]))
        return before != (self.down, states)

    def _rate(self, state: State, size: int) -> float:
        if state is not State.PARTIAL:
            return self.rates.usual
        return self.rates.secondary if size > self.rates.large else 0.0

    def turn(self, zone: tuple[str, str], now: float) -> float:
        """Seconds until another node of a zone may be given up; 0: now, and the turn is taken. now: monotonic seconds.

        Infinite while the zone's state forbids it.
        """
        known = self._known.get(zone)
        if known is None:
            return 0.0
        if self.down or known.rate <= 0:
            return math.inf
        if now < known.next:
            return known.next - now
        known.next = now + 1 / known.rate
        return 0.0

    def give_back(self, zone: tuple[str, str]) -> None:
        """A turn that came to nothing."""
        if (known := self._known.get(zone)) is not None:
            known.next = -math.inf
