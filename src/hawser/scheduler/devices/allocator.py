"""The search for devices: every request of every claim gets its own, or there is none for any. Pure.

Devices are tried in their pools' order and the first solution is taken. Those of one request are chosen in that order
too, so that no set of devices is tried twice. Source: KEP-4381 (structured parameters), KEP-4816 (prioritized list),
KEP-4815 (partitionable devices), KEP-5055 (device taints), KEP-5075 (consumable capacity).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from hawser.api.quantity import Quantity
from hawser.api.taints import NO_EXECUTE, NO_SCHEDULE, untolerated
from hawser.api.types import Obj
from hawser.client.informer import key_of
from hawser.scheduler.devices.asks import MOST_RESULTS, AllocationError, Ask, NodeError, Order, check_pools, order
from hawser.scheduler.devices.capacity import Amounts, consumed
from hawser.scheduler.devices.constraints import Constraint
from hawser.scheduler.devices.inventory import Counters, Device, DeviceID, Inventory, PoolID, Reach
from hawser.scheduler.devices.ledger import Ledger
from hawser.scheduler.devices.outcome import Pick, outcome

MOST_TRIES = 50_000
TIMED_OUT = "timed out trying to allocate devices"


class _TooManyError(Exception):
    """Whatever is chosen from here on, a claim would have more devices than its status can hold."""


def allocate(
    claims: Sequence[Obj],
    classes: Mapping[str, Obj],
    inventory: Inventory,
    ledger: Ledger,
    node: str,
    labels: Mapping[str, str],
    share_id: Callable[[], str],
    budget: Budget | None = None,
) -> list[Obj] | None:
    """A status.allocation for each claim, or None if the node's devices do not do.

    share_id: makes a UUID for every share of a device. budget: of this and other searches. Raises AllocationError,
    NodeError.
    """
    near = inventory.at(node, labels)
    search = _Search([order(claim, classes, near) for claim in claims], ledger, near, budget or Budget())
    if not search.run():
        check_pools(near)
        return None
    return [outcome(each.claim, picks, node, share_id) for each, picks in zip(search.orders, search.picks, strict=True)]


@dataclass(slots=True)
class Budget:
    """How often devices may still be tried."""

    left: int = MOST_TRIES

    def spend(self) -> None:
        """One more try. Raises NodeError when there were too many."""
        self.left -= 1
        if self.left < 0:
            raise NodeError(TIMED_OUT)


@dataclass(slots=True)
class _Search:
    """One search. picks: by claim. mine: devices that are picked, with the claims that have them, by number."""

    orders: Sequence[Order]
    ledger: Ledger
    near: Sequence[Reach]
    budget: Budget
    picks: list[list[Pick]] = field(default_factory=list)
    mine: dict[DeviceID, list[int]] = field(default_factory=dict)
    shared: dict[DeviceID, list[dict[str, Quantity]]] = field(default_factory=dict)
    counted: Counters = field(default_factory=dict)
    left: dict[PoolID, Counters] = field(default_factory=dict)
    constraints: list[list[Constraint]] = field(default_factory=list)

    def run(self) -> bool:
        """Whether there is a solution; it is in ``picks`` then."""
        self.picks = [[] for _ in self.orders]
        self.constraints = [each.constraints() for each in self.orders]
        try:
            return self._hopeful() and self._claim(0)
        except _TooManyError:
            return False

    def _hopeful(self) -> bool:
        """Whether each request by itself could be satisfied: mostly, when there is no solution, one cannot."""
        return all(any(self._enough(ask) for ask in choices) for each in self.orders for choices in each.asks)

    def _enough(self, ask: Ask) -> bool:
        if ask.everything:
            return bool(ask.devices)
        found = 0
        for device in ask.devices:
            if ask.admin or device.id not in self.ledger:
                found += ask.count if device.shareable else 1
            if found >= ask.count:
                return True
        return False

    def _claim(self, number: int) -> bool:
        if number == len(self.orders):
            return True
        return self._request(number, 0)

    def _request(self, number: int, place: int) -> bool:
        """Allocates a claim's requests from one on, and the claims that follow."""
        asks = self.orders[number].asks
        if place == len(asks):
            try:
                return self._claim(number + 1)
            except _TooManyError:
                # Other devices for the claims before may leave this one another choice.
                return False
        too_many = True
        for ask in asks[place]:
            try:
                if self._device(number, place, ask, 0, 0):
                    return True
                too_many = False
            except _TooManyError:
                continue
        if too_many:
            raise _TooManyError
        return False

    def _device(self, number: int, place: int, ask: Ask, have: int, start: int) -> bool:
        """Picks what is missing of an ask, and goes on. have: how many it has; start: where to look for the next."""
        if ask.everything and not ask.devices:
            return False
        if have >= ask.count:
            return self._request(number, place + 1)
        if len(self.picks[number]) + ask.count - have > MOST_RESULTS:
            raise _TooManyError
        failed: set[object] = set()
        for at in range(start, start + 1 if ask.everything else len(ask.devices)):
            device = ask.devices[at]
            alone = not ask.admin and not device.shareable
            if (alone and failed and device.likeness in failed) or not self._pick(number, ask, device):
                continue
            done = False
            try:
                done = self._device(number, place, ask, have + 1, at + (ask.everything or not device.shareable))
            finally:
                if not done:
                    self._put_back(number)
            if done:
                return True
            if alone:
                # What is not possible with it is not with one that is like it.
                failed.add(device.likeness)
        return False

    # One device

    def _pick(self, number: int, ask: Ask, device: Device) -> bool:
        """Takes a device for a claim if it can be had."""
        self.budget.spend()
        if not self._free(number, ask, device) or _kept_off(device, ask):
            return False
        amounts: dict[str, Quantity] | None = None
        if device.shareable:
            amounts = consumed(device.spec, ask.capacity, self._taken(device.id))
            if amounts is None:
                return False
        counts = bool(device.consumes) and not (device.shareable and self._in_use(device.id))
        if counts and not self._countable(device):
            return False
        if not self._constrain(number, ask, device):
            return False
        if counts:
            self._count(device, 1)
        if amounts is None:
            self.mine.setdefault(device.id, []).append(number)
        else:
            self.shared.setdefault(device.id, []).append(amounts)
        self.picks[number].append(Pick(ask, device, amounts, counts))
        return True

    def _put_back(self, number: int) -> None:
        pick = self.picks[number].pop()
        if pick.counts:
            self._count(pick.device, -1)
        holders = self.mine if pick.consumed is None else self.shared
        held = holders[pick.device.id]
        held.pop()
        if not held:
            del holders[pick.device.id]
        for constraint in self.constraints[number]:
            if constraint.concerns(pick.ask.name, pick.ask.parent):
                constraint.remove()

    def _free(self, number: int, ask: Ask, device: Device) -> bool:
        if ask.admin:
            return number not in self.mine.get(device.id, ())
        return device.id not in self.ledger and device.id not in self.mine

    def _constrain(self, number: int, ask: Ask, device: Device) -> bool:
        added: list[Constraint] = []
        for constraint in self.constraints[number]:
            if not constraint.concerns(ask.name, ask.parent):
                continue
            if not constraint.add(device):
                if ask.everything:
                    claim = key_of(self.orders[number].claim)
                    why = f"cannot add device {'/'.join(device.id)} because a claim constraint would not be satisfied"
                    raise AllocationError(f"claim {claim}, request {ask.short_name}: {why}")
                for one in added:
                    one.remove()
                return False
            added.append(constraint)
        return True

    # What is shared

    def _in_use(self, device: DeviceID) -> bool:
        return self.ledger.is_shared(device) or device in self.shared

    def _taken(self, device: DeviceID) -> Amounts:
        taken = dict(self.ledger.taken.get(device, {}))
        for amounts in self.shared.get(device, ()):
            for name, amount in amounts.items():
                taken[name] = taken.get(name, Decimal(0)) + amount.amount
        return taken

    def _countable(self, device: Device) -> bool:
        """Whether the pool's counters suffice for one more device."""
        pool_id = device.id[:2]
        left = self.left.get(pool_id)
        if left is None:
            left = self.left[pool_id] = self._uncounted(pool_id)
        return all(left[counter] >= amount for counter, amount in device.consumes.items())

    def _uncounted(self, pool_id: PoolID) -> Counters:
        pool = next(reach.pool for reach in self.near if reach.pool.id == pool_id)
        left = dict(pool.counters)
        for device in pool.devices:
            if device.id in self.ledger or self.ledger.is_shared(device.id):
                for counter, amount in device.consumes.items():
                    left[counter] -= amount
        return left

    def _count(self, device: Device, sign: int) -> None:
        left = self.left[device.id[:2]]
        for counter, amount in device.consumes.items():
            left[counter] -= sign * amount


def _kept_off(device: Device, ask: Ask) -> bool:
    """Whether a taint of the device keeps the request off."""
    taints = device.spec.get("taints")
    if not taints:
        return False
    return untolerated(taints, ask.spec.get("tolerations") or (), (NO_SCHEDULE, NO_EXECUTE)) is not None
