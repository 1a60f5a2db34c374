"""What calls cost while evaluating, in cel-go's units: about 50 ns each on the machine they were measured on.

Source: cel-go's cost tracker and Kubernetes' costs of its own functions; both are part of the API, for rules that run
out of budget on one server must do so on the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hawser.api.cel.values import size_of

PER_CALL = 1_000_000
"""The most that one expression may cost (Kubernetes' PerCallLimit)."""
BUDGET = 10_000_000
"""The most that all rules of one object, or all policies of one binding, may cost (RuntimeCELCostBudget)."""
CONDITIONS_BUDGET = 2_500_000
"""The most that the match conditions of one webhook or policy may cost."""
MESSAGE_SIZE = 5 * 1024
"""The longest message that a messageExpression may make, in bytes."""

Charge = Callable[[list[Any], Any], int]


def tenth(size: int) -> int:
    """A traversal of a string: a tenth a character, rounded up."""
    return (size + 9) // 10


def traversal(value: Any) -> int:
    """A walk through a value."""
    kind = type(value)
    if kind is list:
        return sum(map(traversal, value))
    if kind is dict:
        return sum(traversal(key) + traversal(item) for key, item in value.items())
    return len(value) // 10 if kind in (str, bytes) else 1


def selector(size: int) -> int:
    """Reading a selector, which may have a requirement in every other character."""
    return 10 + (size + 1) // 2 * 50 + tenth(size)


def _smaller(args: list[Any], _: Any) -> int:
    return tenth(min(size_of(args[0]), size_of(args[1])))


def _sum(args: list[Any], _: Any) -> int:
    if type(args[0]) in (str, bytes):
        return tenth(size_of(args[0]) + size_of(args[1]))
    return 1


def _expression(args: list[Any], _: Any) -> int:
    return tenth(size_of(args[0]) + 1) * ((size_of(args[1]) + 3) // 4)


def _within(args: list[Any], _: Any) -> int:
    return tenth(size_of(args[0])) * tenth(size_of(args[1]))


def _first(factor: int) -> Charge:
    return lambda args, _: tenth(size_of(args[0]) * factor) if args else 1


def _quadratic(args: list[Any], _: Any) -> int:
    return 1 + size_of(args[0]) * (size_of(args[1]) if len(args) > 1 else size_of(args[0]))


_READ = _first(1)
_BUILD = _first(2)
_CHARGES: dict[str, int | Charge] = {
    "check": 350_000,
    **dict.fromkeys(("fieldSelector", "labelSelector"), lambda args, _: selector(size_of(args[1]))),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), lambda args, _: traversal(args[0])),
    **dict.fromkeys(("url", "lowerAscii", "upperAscii", "substring", "trim", "cidr", "isIP", "isCIDR", "ip",
                     "quantity", "isQuantity", "semver", "isSemver", "string", "bytes",
                     "strings.quote", "isURL"), _READ),
    **dict.fromkeys(("replace", "split", "ip.isCanonical"), _BUILD),
    "join": lambda _, result: tenth(size_of(result) * 2),
    "format": lambda args, result: tenth(size_of(args[0]) + size_of(result)),
    **dict.fromkeys(("find", "findAll", "matches"), _expression),
    "contains": _within,
    "startsWith": lambda args, _: tenth(size_of(args[1])),
    "endsWith": lambda args, _: tenth(size_of(args[1])),
    "@in": lambda args, _: size_of(args[1]),
    "validate": lambda args, _: tenth(size_of(args[1])) * 60,
    **dict.fromkeys(("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"), _smaller),
    "_+_": _sum,
    "containsIP": 4,
    "containsCIDR": 7,
    "sets.contains": _quadratic,
    "sets.intersects": _quadratic,
    "sets.equivalent": lambda args, _: 1 + 2 * size_of(args[0]) * size_of(args[1]),
    "distinct": _quadratic,
    "sort": _quadratic,
    "sortByKey": _quadratic,
    "flatten": lambda _, result: 1 + size_of(result),
    "lists.range": lambda _, result: 10 + size_of(result),
    "slice": lambda _, result: 10 + size_of(result),
}  # fmt: skip
_FIXED_FORMS = ("cidr_ip",)


def actual(name: str, form: str) -> int | Charge:
    """The cost of a call: fixed, or of its arguments and result."""
    if form in _FIXED_FORMS or (name == "string" and form not in ("bytes_to_string",)):
        return 1
    if name == "bytes" and form != "string_to_bytes":
        return 1
    return _CHARGES.get(name, 1)
