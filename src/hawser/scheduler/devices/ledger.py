"""Which devices are allocated, and what is taken of those that are shared; kept up to date claim by claim. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from hawser.api.quantity import Quantity
from hawser.api.types import Obj
from hawser.scheduler.devices.capacity import Amounts
from hawser.scheduler.devices.inventory import DeviceID


class Ledger:
    """What is in use. taken: the sum of what shares of a device take of its capacities.

    Devices that are used for administration only are not in use.
    """

    def __init__(self) -> None:
        self.taken: dict[DeviceID, Amounts] = {}
        self._owners: dict[DeviceID, dict[str, None]] = {}
        self._shares: dict[DeviceID, int] = {}
        self._known: dict[str, Obj] = {}

    def __contains__(self, device: DeviceID) -> bool:
        """Whether the device is somebody's alone."""
        return device in self._owners

    def is_shared(self, device: DeviceID) -> bool:
        """Whether somebody has a share of the device."""
        return device in self._shares

    def get(self, uid: str) -> Obj | None:
        """What is recorded for a claim."""
        return self._known.get(uid)

    def put(self, uid: str, allocation: Obj | None) -> None:
        """Records what a claim has now: its status.allocation, or nothing."""
        before = self._known.get(uid)
        if before is allocation:
            return
        if before is not None:
            del self._known[uid]
            self._count(uid, before, -1)
        if allocation is not None:
            self._known[uid] = allocation
            self._count(uid, allocation, 1)

    def _count(self, uid: str, allocation: Obj, sign: int) -> None:
        for result in _used(allocation):
            device = (result["driver"], result["pool"], result["device"])
            if result.get("shareID"):
                self._share(device, result.get("consumedCapacity") or {}, sign)
            elif sign > 0:
                self._owners.setdefault(device, {})[uid] = None
            elif device in self._owners:
                self._owners[device].pop(uid, None)
                if not self._owners[device]:
                    del self._owners[device]

    def _share(self, device: DeviceID, consumed: Obj, sign: int) -> None:
        shares = self._shares.get(device, 0) + sign
        if not shares:
            self._shares.pop(device, None)
            self.taken.pop(device, None)
            return
        self._shares[device] = shares
        taken = self.taken.setdefault(device, {})
        for name, quantity in consumed.items():
            taken[name] = taken.get(name, Decimal(0)) + sign * Quantity.parse(quantity).amount


def _used(allocation: Obj) -> Iterator[Obj]:
    results = (allocation.get("devices") or {}).get("results") or ()
    return (result for result in results if not result.get("adminAccess"))
