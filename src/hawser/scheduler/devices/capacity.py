"""What an allocation takes of a device that several may share: pure.

Source: API reference, DeviceCapacity and CapacityRequestPolicy; KEP-5075 (consumable capacity).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal

from hawser.api.quantity import Format, Quantity
from hawser.api.types import Obj

Amounts = dict[str, Decimal]
"""By the name of the capacity, as the device writes it."""


def consumed(device: Obj, requested: Mapping[str, str], taken: Mapping[str, Decimal]) -> dict[str, Quantity] | None:
    """What a request takes of each capacity of a device; None if the device cannot give that.

    device: of a ResourceSlice. requested: quantities by capacity. taken: what others have of the device already.
    """
    offered: Obj = device.get("capacity") or {}
    if any(name not in offered for name in requested):
        return None
    found: dict[str, Quantity] = {}
    for name, capacity in offered.items():
        wanted = requested.get(name)
        policy = capacity.get("requestPolicy") or {}
        amount = _rounded(None if wanted is None else Quantity.parse(wanted), capacity, policy)
        if _violates(amount, policy) or amount.amount + taken.get(name, 0) > Quantity.parse(capacity["value"]).amount:
            return None
        found[name] = amount
    return found


def _rounded(wanted: Quantity | None, capacity: Obj, policy: Obj) -> Quantity:
    """What is taken for what is wanted: the policy's default or everything for nothing, else the next valid value."""
    if wanted is None:
        return Quantity.parse(policy.get("default") or capacity["value"])
    bounds = policy.get("validRange") or {}
    if "min" in bounds:
        return _in_range(wanted, bounds)
    for value in policy.get("validValues") or ():
        valid = Quantity.parse(value)
        if wanted.amount <= valid.amount:
            return valid
    return wanted


def _in_range(wanted: Quantity, bounds: Obj) -> Quantity:
    least = Quantity.parse(bounds["min"])
    if wanted.amount < least.amount:
        return least
    if "step" not in bounds:
        return wanted
    step = Quantity.parse(bounds["step"]).amount
    steps = ((wanted.amount - least.amount) / step).to_integral_value(ROUND_CEILING)
    return Quantity(least.amount + steps * step, Format.BINARY)


def _violates(amount: Quantity, policy: Obj) -> bool:
    if "default" in policy and amount.amount == Quantity.parse(policy["default"]).amount:
        return False
    if bounds := policy.get("validRange"):
        if "max" in bounds and amount.amount > Quantity.parse(bounds["max"]).amount:
            return True
        least = Quantity.parse(bounds.get("min") or "0").amount
        return "step" in bounds and (amount.amount - least) % Quantity.parse(bounds["step"]).amount != 0
    values = policy.get("validValues") or ()
    return bool(values) and all(amount.amount != Quantity.parse(value).amount for value in values)
