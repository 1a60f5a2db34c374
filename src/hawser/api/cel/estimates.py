"""What calls cost at most, by the sizes of what they are given, and how large their results are.

Source: cel-go's cost estimator and Kubernetes' estimates of its own functions, which decide what rules may be written
into a CustomResourceDefinition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hawser.api.cel.sizes import MOST, NOTHING, ONE, QUARTER, TENTH, UNKNOWN, Range, exactly


@dataclass(frozen=True, slots=True)
class Operand:
    """What is known of an argument. item: the size of a list's items, when they are strings or bytes."""

    size: Range
    is_list: bool = False
    item: Range | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """cost: without the arguments'. size: of the result, when it has one."""

    cost: Range
    size: Range | None = None


Estimator = Callable[[list[Operand]], Estimate]


def _read(args: list[Operand]) -> Estimate:
    return Estimate(args[0].size.times(TENTH))


def _same_size(args: list[Operand]) -> Estimate:
    return Estimate(args[0].size.times(TENTH), args[0].size)


def _walk(args: list[Operand]) -> Estimate:
    """A pass over a list's items, or over a string."""
    target = args[0]
    if not target.is_list:
        return Estimate(target.size.times(TENTH))
    each = ONE + target.item.times(TENTH) if target.item is not None else ONE
    return Estimate(target.size * each)


def _replace(args: list[Operand]) -> Estimate:
    size, old, new = args[0].size, args[1].size, args[2].size
    if old.least == 0:
        most_count, most_kept = min(size.most + 1, MOST), size.most
    elif new.most <= old.least:
        most_count, most_kept = 0, size.most
    else:
        most_count, most_kept = -(-size.most // old.least), 0
    if old.most == 0:
        least_count, least_kept = min(size.least + 1, MOST), size.least
    elif old.most <= new.least:
        least_count, least_kept = 0, size.least
    else:
        least_count, least_kept = -(-size.least // old.most), 0
    result = Range(least_count, most_count) * new + Range(least_kept, most_kept)
    return Estimate(size.times(2 * TENTH), result)


def _split(args: list[Operand]) -> Estimate:
    return Estimate(args[0].size.times(2 * TENTH), Range(0, args[0].size.most))


def _join(args: list[Operand]) -> Estimate:
    target = args[0]
    size = target.size * (target.item or UNKNOWN)
    if len(args) > 1:
        size = size + args[1].size * Range(max(target.size.least - 1, 0), max(target.size.most - 1, 0))
    return Estimate(size.times(TENTH), size)


def _expression(args: list[Operand]) -> Range:
    return (args[0].size + ONE).times(TENTH) * args[1].size.times(QUARTER)


def _find(args: list[Operand]) -> Estimate:
    return Estimate(_expression(args), Range(0, args[0].size.most))


def _compared(args: list[Operand]) -> Estimate:
    smallest = min(args[0].size.most, args[1].size.most)
    return Estimate(Range(1 if smallest > 0 else 0, smallest).times(TENTH))


def _joined(args: list[Operand]) -> Estimate:
    size = args[0].size + args[1].size
    return Estimate(ONE if args[0].is_list else size.times(TENTH), size)


def _selector(args: list[Operand]) -> Estimate:
    size = args[1].size
    return Estimate(exactly(10) + size.times(0.5) * exactly(50) + size.times(TENTH))


def _pairs(factor: int) -> Estimator:
    return lambda args: Estimate(ONE + args[0].size * args[-1].size * exactly(factor))


_SHOWN = Range(1, 32)
"""A number, a time or a truth value as text."""
_ESTIMATES: dict[str, Estimator] = {
    "check": lambda _: Estimate(exactly(350_000)),
    **dict.fromkeys(("fieldSelector", "labelSelector"), _selector),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _walk),
    **dict.fromkeys(("url", "isURL", "cidr", "isIP", "isCIDR", "ip"), _read),
    **dict.fromkeys(("quantity", "isQuantity", "semver", "isSemver"), _read),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _same_size),
    "replace": _replace,
    "split": _split,
    "ip.isCanonical": lambda args: Estimate(args[0].size.times(2 * TENTH)),
    "join": _join,
    "find": _find,
    "findAll": _find,
    "matches": lambda args: Estimate(_expression(args)),
    "contains": lambda args: Estimate(args[0].size.times(TENTH) * args[1].size.times(TENTH)),
    "startsWith": lambda args: Estimate(args[1].size.times(TENTH)),
    "endsWith": lambda args: Estimate(args[1].size.times(TENTH)),
    "format": lambda args: Estimate(args[0].size.times(TENTH)),
    "@in": lambda args: Estimate(args[1].size),
    # A format is a regular expression, of two hundred characters or so.
    "validate": lambda args: Estimate(args[1].size.times(TENTH) * exactly(60)),
    **dict.fromkeys(("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"), _compared),
    "_+_": _joined,
    "containsIP": lambda args: Estimate(Range(1, 4) + (args[1].size.times(TENTH) if args[1].size != ONE else NOTHING)),
    "containsCIDR": lambda args: Estimate(Range(3, 7) + args[1].size.times(TENTH)),
    "strings.quote": lambda args: Estimate(
        args[0].size.times(TENTH), args[0].size + exactly(2) + Range(0, args[0].size.most)
    ),
    **dict.fromkeys(("sets.contains", "sets.intersects"), _pairs(1)),
    "sets.equivalent": _pairs(2),
    **dict.fromkeys(("distinct", "sort"), lambda args: Estimate(ONE + args[0].size * args[0].size, args[0].size)),
    "flatten": lambda args: Estimate(ONE + args[0].size),
    "slice": lambda args: Estimate(exactly(11), args[0].size),
    "reverse": lambda args: Estimate(ONE, args[0].size),
}  # fmt: skip


def estimate(name: str, form: str, args: list[Operand]) -> Estimate:
    """The cost of one form of a function. form: the overload's id, where it tells forms apart."""
    if form == "string_to_bytes":
        size = args[0].size
        return Estimate(size.times(TENTH), Range(size.least, min(size.most * 4, MOST)))
    if form == "bytes_to_string":
        size = args[0].size
        return Estimate(size.times(TENTH), Range(size.least // 4, size.most))
    if form.endswith("_to_string"):
        # Kubernetes' documentation shows messages made with string(self.number), so these must have a size.
        return Estimate(ONE, args[0].size if form == "string_to_string" else _SHOWN)
    if form == "cidr_ip" or name not in _ESTIMATES:
        return Estimate(ONE)
    return _ESTIMATES[name](args)


__all__ = ["Estimate", "Operand", "estimate"]
