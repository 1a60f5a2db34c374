"""Whether the CEL expressions that select devices compile. Source: API reference, CELDeviceSelector."""

from __future__ import annotations

from functools import cache

from hawser.api.cel.declarations import Environment
from hawser.api.cel.library.quantities import Quantity
from hawser.api.cel.program import CompileError, compile_expression, environment
from hawser.api.cel.types import BOOL, DYN, STRING, Field, Shape, Type, map_of

# What this server's CEL does not know: lists of attributes, and names for parts of an expression.
_UNKNOWN = ("includes(", "cel.bind(")


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
    return environment({"device": Type("object", "kubernetes.DRADevice", shape=shape)})


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
