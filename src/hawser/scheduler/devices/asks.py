"""What claims ask for on a node: requests with their classes and with the devices that come into question. Pure.

Source: API reference, DeviceRequest, DeviceSubRequest and DeviceClass; the messages are kube-scheduler's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hawser.api.device_selectors import SelectorError, device_value, selects
from hawser.api.types import Obj
from hawser.client.informer import key_of
from hawser.scheduler.devices.capacity import consumed
from hawser.scheduler.devices.constraints import Constraint
from hawser.scheduler.devices.inventory import Device, Reach

MOST_RESULTS = 32
_INVALID = "invalid resource pools were encountered"


class AllocationError(Exception):
    """Something is wrong with a claim or class, whatever the node; the message says what."""


class NodeError(Exception):
    """Why a node cannot give what is asked for, beyond that its devices do not do."""


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """One request, or one choice of a request.

    name: in full, ``request`` or ``request/choice``. parent: the request's. devices: those that it may have, in the
    order in which they are to be tried. count: how many it needs; everything: it needs all of ``devices``.
    """

    name: str
    parent: str
    spec: Obj
    device_class: Obj
    devices: Sequence[Device]
    count: int
    everything: bool

    @property
    def short_name(self) -> str:
        """Its own name, without the request's if it is a choice."""
        return self.name.rpartition("/")[2]

    @property
    def admin(self) -> bool:
        """Whether it is for administration, whoever uses the devices."""
        return bool(self.spec.get("adminAccess"))

    @property
    def capacity(self) -> Mapping[str, str]:
        """What it wants of devices that are shared."""
        return (self.spec.get("capacity") or {}).get("requests") or {}


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """A claim to be allocated. asks: by request its choices, one for most. constraints: fresh for each search."""

    claim: Obj
    asks: Sequence[Sequence[Ask]]

    def constraints(self) -> list[Constraint]:
        """The claim's constraints, nothing taken in yet."""
        return [Constraint(spec) for spec in self.claim["spec"].get("devices", {}).get("constraints") or ()]


def order(claim: Obj, classes: Mapping[str, Obj], near: Sequence[Reach]) -> Order:
    """What a claim asks for. near: what the node reaches. Raises AllocationError, NodeError."""
    asks = []
    for request in (claim["spec"].get("devices") or {}).get("requests") or ():
        name = request["name"]
        if request.get("exactly") is not None:
            asks.append([_ask(claim, name, name, request["exactly"], classes, near)])
        else:
            choices = request.get("firstAvailable") or ()
            asks.append([_ask(claim, f"{name}/{one['name']}", name, one, classes, near) for one in choices])
    least = sum(min((ask.count for ask in choices), default=0) for choices in asks)
    if least > MOST_RESULTS:
        raise AllocationError(
            f"claim {key_of(claim)}: number of requested devices {least} exceeds the claim limit of {MOST_RESULTS}"
        )
    return Order(claim, asks)


def _ask(claim: Obj, name: str, parent: str, spec: Obj, classes: Mapping[str, Obj], near: Sequence[Reach]) -> Ask:
    who = f"claim {key_of(claim)}, request {name.rpartition('/')[2]}"
    found = classes.get(spec["deviceClassName"])
    if found is None:
        missing = f'deviceclass.resource.k8s.io "{spec["deviceClassName"]}" not found'
        raise AllocationError(f"{who}: could not retrieve device class {spec['deviceClassName']}: {missing}")
    everything = spec.get("allocationMode") == "All"
    tests = [*_tests(found["spec"], f"class {spec['deviceClassName']}"), *_tests(spec, f"claim {key_of(claim)}")]
    requested = (spec.get("capacity") or {}).get("requests") or {}
    devices: list[Device] = []
    for reach in near:
        if everything and not reach.pool.complete:
            pool = "/".join(reach.pool.id)
            raise NodeError(f"{who}: asks for all devices, but resource pool {pool} is currently being updated")
        if everything and reach.pool.trouble:
            pool = "/".join(reach.pool.id)
            raise NodeError(f"{who}: asks for all devices, but resource pool {pool} is currently invalid")
        if reach.pool.complete and not reach.pool.trouble:
            devices += (device for device in reach.devices if _selected(device, tests, requested))
    count = len(devices) if everything else spec.get("count") or 1
    return Ask(name, parent, spec, found, devices, count, everything)


def _tests(holder: Obj, name: str) -> list[tuple[str, str]]:
    """The expressions of a class or request, and how each is called when it fails."""
    selectors = holder.get("selectors") or ()
    return [
        ((one.get("cel") or {}).get("expression") or "", f"{name}: selector #{n}") for n, one in enumerate(selectors)
    ]


def _selected(device: Device, tests: Sequence[tuple[str, str]], requested: Mapping[str, str]) -> bool:
    """Whether class, request and the device's own capacity let it come into question; nothing of that ever changes."""
    for expression, name in tests:
        found = device.matched.get(expression)
        if found is None:
            found = device.matched[expression] = _matches(device, expression, name)
        if not found:
            return False
    return not (requested or device.shareable) or consumed(device.spec, requested, {}) is not None


def _matches(device: Device, expression: str, name: str) -> bool:
    if device.value is None:
        device.value = device_value(device.id[0], device.spec)
    try:
        return selects(expression, device.value)
    except SelectorError as error:
        raise AllocationError(f"{name}: {error}") from None


def check_pools(near: Sequence[Reach]) -> None:
    """Raises NodeError if one of the pools that gave nothing is invalid."""
    if any(reach.pool.trouble for reach in near):
        raise NodeError(_INVALID)
