"""Calls of functions: straight to the function where types are known, by the values' types where they are not."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hawser.api.cel import loose, operators
from hawser.api.cel.costs import actual
from hawser.api.cel.declarations import Overload
from hawser.api.cel.library import regex
from hawser.api.cel.syntax import Call, ListNode, Literal, Node
from hawser.api.cel.types import Type
from hawser.api.cel.values import CostError, Duration, EvalError, Opt, Timestamp, TypeValue, UInt, equal, type_name

if TYPE_CHECKING:
    from hawser.api.cel.compiler import Compiler, Run

Frame = list[Any]
_CLASSES: dict[str, type] = {
    "bool": bool, "int": int, "uint": UInt, "double": float, "string": str, "bytes": bytes, "list": list, "map": dict,
    "null": type(None), "timestamp": Timestamp, "duration": Duration, "type": TypeValue, "object": dict,
}  # fmt: skip
# Functions that look at the types of values themselves.
_GENERAL = frozenset(
    (operators.add, operators.subtract, operators.multiply, operators.divide, operators.modulo, operators.negate,
     operators.invert, operators.less, operators.less_or_equal, operators.greater, operators.greater_or_equal,
     operators.contains, operators.index, operators.optional_index, operators.insert, equal,
     operators.unequal)
)  # fmt: skip

_ORDERS = {"_<_": operator.lt, "_<=_": operator.le, "_>_": operator.gt, "_>=_": operator.ge}
_QUICK = frozenset(("_==_", "_!=_", "@in", *_ORDERS))


def call(compiler: Compiler, node: Call) -> tuple[Run, int]:
    """The closure of a call and the cost that is known beforehand."""
    forms = compiler.checked.overloads[id(node)]
    nodes = [node.target, *node.args] if node.target is not None and forms[0].method else node.args
    made = [compiler.compile(arg) for arg in nodes if arg is not None]
    runs = [run for run, _ in made]
    cost = sum(one for _, one in made)
    types = [compiler.type(arg) for arg in nodes if arg is not None]
    name = forms[0].name
    if name == "dyn":
        return runs[0], cost + 1
    if name in _QUICK and (quick := _quick(name, nodes, runs, types)) is not None:
        run, own = quick
        return run, cost + own
    function = _function(forms, types)
    charge = actual(name, forms[0].id)
    if isinstance(charge, int):
        return _applied(function, runs), cost + charge
    return _charged(function, runs, charge), cost


def _quick(name: str, nodes: list[Node], runs: list[Run], types: list[Type]) -> tuple[Run, int] | None:
    """Comparisons of scalars of one type, and a scalar in a list of literals: what most rules are made of."""
    one, other = runs
    if name in _ORDERS:
        if types[0].kind != types[1].kind or types[0].kind not in ("int", "timestamp", "duration"):
            return None
        order = _ORDERS[name]
        return (lambda f: bool(order(one(f), other(f)))), 1
    if name == "@in":
        listed = nodes[1]
        if not isinstance(listed, ListNode) or not all(
            isinstance(item, Literal) and type(item.value) is str for item in listed.items
        ):
            return None
        values = frozenset(item.value for item in listed.items if isinstance(item, Literal))
        return (lambda f: type(found := one(f)) is str and found in values), len(values)
    if types[0].kind != types[1].kind or types[0].kind not in ("string", "int", "bool"):
        return None
    if types[0].kind == "string" and not any(isinstance(node, Literal) for node in nodes):
        return _same_strings(one, other, name == "_==_"), 0
    lengths = [len(node.value) for node in nodes if isinstance(node, Literal) and type(node.value) is str]
    cost = (min(lengths) + 9) // 10 if lengths else 1
    if name == "_==_":
        return (lambda f: bool(one(f) == other(f))), cost
    return (lambda f: bool(one(f) != other(f))), cost


def _same_strings(one: Run, other: Run, same: bool) -> Run:
    """Equality of strings of any length: it costs a tenth a character of the shorter one."""

    def run(f: Frame) -> bool:
        left, right = one(f), other(f)
        if type(left) is str and type(right) is str:
            f[0] -= (min(len(left), len(right)) + 9) // 10
            if f[0] < 0:
                raise CostError
        return bool(left == right) is same

    return run


def _function(forms: list[Overload], types: list[Type]) -> Callable[..., Any]:
    first = forms[0].call
    if first in _GENERAL:
        if any(given.shape.loose or given.shape.list_type in ("set", "map") for given in types):
            return loose.function(first, types)
        return first
    exact = len(forms) == 1 and all(
        given.kind not in ("dyn", "error", "null") or wanted.kind == "dyn" or wanted.kind == "var"
        for given, wanted in zip(types, forms[0].params, strict=True)
    )
    return first if exact else _dispatched(forms)


def _dispatched(forms: list[Overload]) -> Callable[..., Any]:
    """The form that fits the values."""

    def choose(*args: Any) -> Any:
        for form in forms:
            if all(map(fits, form.params, args)):
                return form.call(*args)
        raise EvalError("no such overload")

    return choose


def fits(wanted: Type, value: Any) -> bool:
    """Whether a value is of a declared type, as far as its outermost kind."""
    found = _CLASSES.get(wanted.kind)
    if found is not None:
        return type(value) is found
    if wanted.kind == "opaque":
        return type(value) is Opt if wanted.name == "optional_type" else type_name(value) == wanted.name
    return True


def _applied(function: Callable[..., Any], runs: list[Run]) -> Run:
    match runs:
        case []:
            return lambda _: function()
        case [one]:
            return lambda f: function(one(f))
        case [one, two]:
            return lambda f: function(one(f), two(f))
        case [one, two, three]:
            return lambda f: function(one(f), two(f), three(f))
    return lambda f: function(*[run(f) for run in runs])


def _charged(function: Callable[..., Any], runs: list[Run], charge: Callable[[list[Any], Any], int]) -> Run:
    """A call whose cost depends on its values. It is charged before what would take long."""
    before = function in (regex.matches, str.__contains__, equal)

    def run(f: Frame) -> Any:
        args = [one(f) for one in runs]
        result = None if before else function(*args)
        left = f[0] - charge(args, result)
        f[0] = left
        if left < 0:
            raise CostError
        return function(*args) if before else result

    return run
