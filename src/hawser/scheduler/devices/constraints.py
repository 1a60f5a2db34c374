"""Constraints among the devices of a claim: pure. Source: API reference, DeviceConstraint."""

from __future__ import annotations

from hawser.api.types import Obj
from hawser.scheduler.devices.inventory import Device

Value = tuple[str, object]


class Constraint:
    """matchAttribute (all devices have the same value) or distinctAttribute (each has another)."""

    def __init__(self, spec: Obj) -> None:
        self._requests = frozenset(spec.get("requests") or ())
        self._same = spec.get("matchAttribute") is not None
        self._attribute: str = spec["matchAttribute"] if self._same else spec["distinctAttribute"]
        self._values: list[Value] = []

    def concerns(self, request: str, parent: str) -> bool:
        """request: its full name; parent: its name, or that of the request which it is a choice of."""
        return not self._requests or request in self._requests or parent in self._requests

    def add(self, device: Device) -> bool:
        """Takes one more device in, if it fits to those that are in."""
        value = attribute(device, self._attribute)
        if value is None:
            return False
        if self._values and (value != self._values[-1] if self._same else value in self._values):
            return False
        self._values.append(value)
        return True

    def remove(self) -> None:
        """Takes the device back that was taken in last."""
        self._values.pop()


def attribute(device: Device, name: str) -> Value | None:
    """The type and value of an attribute by its full name; the driver's own may go without their domain."""
    attributes = device.spec.get("attributes") or {}
    found = attributes.get(name)
    domain, _, rest = name.partition("/")
    if found is None and domain == device.id[0]:
        found = attributes.get(rest)
    return next(iter(found.items()), None) if found else None
