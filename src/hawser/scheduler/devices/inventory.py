"""The devices that drivers publish: ResourceSlices, put together to pools. Pure.

Source: API reference, ResourceSliceSpec and ResourcePool: only slices of a pool's highest generation count, and the
pool is whole when there are as many of them as they say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import orjson

from hawser.api.node_affinity import term_matches
from hawser.api.quantity import Quantity
from hawser.api.types import Obj

DeviceID = tuple[str, str, str]
"""Driver, pool and name."""
PoolID = tuple[str, str]
Counters = dict[tuple[str, str], Decimal]
"""Amounts by counter set and counter."""


@dataclass(slots=True, eq=False)
class Device:
    """One device. near: what says which nodes reach it: the slice's spec, or its own where the slice leaves it to it.

    matched: what selectors said of it, by expression. value: what it is to expressions, made when one asks.
    """

    id: DeviceID
    spec: Obj
    near: Obj
    consumes: Counters
    matched: dict[str, bool] = field(default_factory=dict)
    value: Obj | None = None
    _likeness: object = field(default=None, init=False)

    @property
    def likeness(self) -> object:
        """Devices of equal likeness differ in nothing but their name."""
        if self._likeness is None:
            rest = {name: value for name, value in self.spec.items() if name != "name"}
            where = None if self.near is self.spec else id(self.near)
            self._likeness = (self.id[:2], where, orjson.dumps(rest, option=orjson.OPT_SORT_KEYS))
        return self._likeness

    @property
    def shareable(self) -> bool:
        """Whether it may be allocated more than once."""
        return bool(self.spec.get("allowMultipleAllocations"))


@dataclass(slots=True, eq=False)
class Slice:
    """One ResourceSlice."""

    name: str
    spec: Obj
    devices: tuple[Device, ...]

    @property
    def by_device(self) -> bool:
        """Whether every device says itself which nodes reach it."""
        return bool(self.spec.get("perDeviceNodeSelection"))

    def reaches(self, node: str, labels: Mapping[str, str]) -> bool:
        """Whether some of it is there for the node."""
        if self.by_device:
            return any(reaches(device.near, node, labels) for device in self.devices)
        return reaches(self.spec, node, labels)


@dataclass(slots=True, eq=False)
class Pool:
    """The slices of a pool's newest generation, by name. trouble: why nothing of it can be used; counters: in all.

    rank: its place in the order in which pools are tried: those whose devices take time to bind come last.
    """

    id: PoolID
    slices: tuple[Slice, ...]
    complete: bool
    trouble: str
    counters: Counters
    rank: tuple[bool, PoolID] = field(init=False)

    def __post_init__(self) -> None:
        self.rank = (any(device.spec.get("bindingConditions") for device in self.devices), self.id)

    @property
    def devices(self) -> Iterator[Device]:
        """All of them, wherever they are."""
        return (device for one in self.slices for device in one.devices)

    def nodes(self) -> set[str] | None:
        """The only nodes that it may concern; None if that is not known by name."""
        found: set[str] = set()
        for one in self.slices:
            holders = [device.near for device in one.devices] if one.by_device else [one.spec]
            names = [holder.get("nodeName") for holder in holders]
            if one.spec.get("sharedCounters") or not all(names):
                return None
            found.update(str(name) for name in names)
        return found


@dataclass(frozen=True, slots=True)
class Reach:
    """What a node has of a pool."""

    pool: Pool
    devices: tuple[Device, ...]


def reaches(holder: Obj, node: str, labels: Mapping[str, str]) -> bool:
    """Whether nodeName, allNodes or nodeSelector of a slice or device say that the node reaches it."""
    if holder.get("nodeName"):
        return bool(holder["nodeName"] == node)
    if holder.get("allNodes"):
        return True
    return selector_matches(holder.get("nodeSelector"), node, labels)


def selector_matches(selector: Obj | None, node: str, labels: Mapping[str, str]) -> bool:
    """Whether a NodeSelector selects the node; nothing selects none."""
    terms = (selector or {}).get("nodeSelectorTerms") or ()
    return any(term_matches(term, node, labels) for term in terms)


class Inventory:
    """All pools, kept up to date slice by slice."""

    def __init__(self, slices: Iterable[Obj] = ()) -> None:
        self._slices: dict[str, Slice] = {}
        self._members: dict[PoolID, dict[str, Slice]] = {}
        self._pools: dict[PoolID, Pool] = {}
        self._local: dict[str, dict[PoolID, None]] = {}
        self._wide: dict[PoolID, None] = {}
        for obj in slices:
            self.put(obj)

    def put(self, obj: Obj) -> None:
        """A slice came or changed."""
        made = _slice(obj)
        known, pool = self._drop(made.name), _pool_id(made.spec)
        self._slices[made.name] = made
        self._members.setdefault(pool, {})[made.name] = made
        self._rebuild(pool)
        if known is not None and _pool_id(known.spec) != pool:
            # Deleted, and made again while nobody looked.
            self._rebuild(_pool_id(known.spec))

    def remove(self, name: str) -> None:
        """A slice is gone."""
        known = self._drop(name)
        if known is not None:
            self._rebuild(_pool_id(known.spec))

    def at(self, node: str, labels: Mapping[str, str]) -> list[Reach]:
        """What the node reaches, in the order in which it is to be tried."""
        found = []
        for pool_id in (*self._local.get(node, ()), *self._wide):
            pool = self._pools[pool_id]
            near = [one for one in pool.slices if one.reaches(node, labels)]
            if near or any(one.spec.get("sharedCounters") for one in pool.slices):
                found.append(Reach(pool, tuple(_near(near, node, labels))))
        found.sort(key=lambda reach: reach.pool.rank)
        return found

    def pool(self, pool_id: PoolID) -> Pool | None:
        """A pool by driver and name."""
        return self._pools.get(pool_id)

    def _drop(self, name: str) -> Slice | None:
        known = self._slices.pop(name, None)
        if known is not None:
            del self._members[_pool_id(known.spec)][name]
        return known

    def _rebuild(self, pool_id: PoolID) -> None:
        before = self._pools.pop(pool_id, None)
        if before is not None:
            self._wide.pop(pool_id, None)
            for node in before.nodes() or ():
                del self._local[node][pool_id]
                if not self._local[node]:
                    del self._local[node]
        members = self._members[pool_id]
        if not members:
            del self._members[pool_id]
            return
        pool = self._pools[pool_id] = _pool(pool_id, [members[name] for name in sorted(members)])
        nodes = pool.nodes()
        if nodes is None:
            self._wide[pool_id] = None
        for node in nodes or ():
            self._local.setdefault(node, {})[pool_id] = None


def _near(slices: Sequence[Slice], node: str, labels: Mapping[str, str]) -> Iterator[Device]:
    for one in slices:
        for device in one.devices:
            if not one.by_device or reaches(device.near, node, labels):
                yield device


def _pool_id(spec: Obj) -> PoolID:
    return spec["driver"], spec["pool"]["name"]


def _slice(obj: Obj) -> Slice:
    spec = obj["spec"]
    per_device = spec.get("perDeviceNodeSelection")
    driver, pool = _pool_id(spec)
    devices = tuple(
        Device((driver, pool, device["name"]), device, device if per_device else spec, _counters(device, "counterSet"))
        for device in spec.get("devices") or ()
    )
    return Slice(obj["metadata"]["name"], spec, devices)


def _counters(holder: Obj, named: str) -> Counters:
    """consumesCounters of a device, sharedCounters of a slice. named: the field with the counter set's name."""
    sets = holder.get("consumesCounters" if named == "counterSet" else "sharedCounters") or ()
    return {
        (one[named], name): Quantity.parse(counter["value"]).amount
        for one in sets
        for name, counter in (one.get("counters") or {}).items()
    }


def _pool(pool_id: PoolID, slices: Sequence[Slice]) -> Pool:
    newest = max(one.spec["pool"]["generation"] for one in slices)
    current = tuple(one for one in slices if one.spec["pool"]["generation"] == newest)
    complete = len(current) == current[0].spec["pool"]["resourceSliceCount"]
    counters: Counters = {}
    for one in current:
        counters |= _counters(one.spec, "name")
    return Pool(pool_id, current, complete, _trouble(current, counters) if complete else "", counters)


def _trouble(slices: Sequence[Slice], counters: Counters) -> str:
    """Why the pool is invalid; empty when it is not."""
    sets = [one["name"] for each in slices for one in each.spec.get("sharedCounters") or ()]
    names = [device.id[2] for one in slices for device in one.devices]
    for kind, listed in (("device name", names), ("counter set name", sets)):
        if len(set(listed)) < len(listed):
            twice = next(name for number, name in enumerate(listed) if name in listed[:number])
            return f"duplicate {kind} {twice}"
    for one in slices:
        for device in one.devices:
            for counter_set, name in device.consumes:
                if counter_set not in sets:
                    return f"counter set {counter_set} not found"
                if (counter_set, name) not in counters:
                    return f"counter {name} not found in counter set {counter_set}"
    return ""
