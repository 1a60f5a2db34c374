"""CEL expressions that select devices: whether they compile, and what they say of a device.

Source: API reference, CELDeviceSelector; "Dynamic Resource Allocation" (DeviceClass).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

from hawser.api.cel.declarations import Environment
from hawser.api.cel.library.quantities import Quantity, Semver, version
from hawser.api.cel.program import CompileError, CostError, EvalError, Program, compile_expression, environment
from hawser.api.cel.types import BOOL, DYN, STRING, Field, Shape, Type, map_of
from hawser.api.cel.values import Opaque
from hawser.api.quantity import Quantity as Amount
from hawser.api.types import Obj

MOST_COST = 1_000_000
# What this server's CEL does not know: lists of attributes.
_UNKNOWN = ("includes(",)


class SelectorError(Exception):
    """An expression cannot be compiled, or fails for a device; the message is kube-scheduler's."""


class Domains(Opaque):
    """Attributes or capacities by domain and name; a domain that a device does not know is empty."""

    __slots__ = ("_domains",)
    type_name = "map"

    def __init__(self, driver: str, entries: dict[str, Any]) -> None:
        self._domains: dict[str, dict[str, Any]] = {}
        for name, value in entries.items():
            domain, slash, rest = name.partition("/")
            self._domains.setdefault(domain if slash else driver, {})[rest if slash else name] = value

    def item(self, key: object) -> dict[str, Any]:
        """What there is of a domain."""
        if type(key) is not str:
            raise EvalError("unsupported key type")
        return self._domains.get(key, {})

    def holds(self, key: object) -> bool:
        """Whether the device has anything of the domain."""
        return key in self._domains


@cache
def _environment() -> Environment:
    quantity = Type("opaque", Quantity.type_name)
    fields = {
        "driver": STRING,
        "attributes": map_of(STRING, map_of(STRING, DYN)),
        "capacity": map_of(STRING, map_of(STRING, quantity)),
        "allowMultipleAllocations": BOOL,
    }
    shape = Shape(fields={name: Field(name, one) for name, one in fields.items()})
    return replace(environment({"device": Type("object", "kubernetes.DRADevice", shape=shape)}), bindings=True)


def selector_error(source: str) -> str:
    """Why an expression cannot select devices, in kube-apiserver's words; empty when it can."""
    if any(call in source for call in _UNKNOWN):
        return ""
    try:
        program = compile_expression(source, _environment())
    except CompileError as error:
        return f"compilation failed: {error}"
    if program.result in (BOOL, DYN):
        return ""
    return f"must evaluate to bool or the unknown type, not {program.result}"


@lru_cache(maxsize=256)
def _program(source: str) -> Program | str:
    try:
        return compile_expression(source, _environment())
    except CompileError as error:
        return f"CEL compile error: {error}"


def device_value(driver: str, device: Obj) -> Obj:
    """A device of a ResourceSlice as expressions see it."""
    capacity = device.get("capacity") or {}
    return {
        "driver": driver,
        "attributes": Domains(driver, {k: _attribute(v) for k, v in (device.get("attributes") or {}).items()}),
        "capacity": Domains(driver, {k: Quantity(Amount.parse(v["value"])) for k, v in capacity.items()}),
        "allowMultipleAllocations": bool(device.get("allowMultipleAllocations")),
    }


def _attribute(attribute: Obj) -> bool | int | str | Semver | None:
    if "version" in attribute:
        return version(attribute["version"])
    return next(iter(attribute.values()), None)


def selects(source: str, device: Obj) -> bool:
    """Whether the expression selects the device (see ``device_value``). Raises SelectorError."""
    program = _program(source)
    if isinstance(program, str):
        raise SelectorError(program)
    try:
        found, _ = program.evaluate((device,), MOST_COST)
    except (EvalError, CostError) as error:
        raise SelectorError(f"CEL runtime error: {error}") from None
    if type(found) is not bool:
        raise SelectorError("CEL runtime error: type conversion error from 'dyn' to 'bool'")
    return found
