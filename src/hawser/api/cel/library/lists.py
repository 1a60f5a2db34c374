"""Functions of lists and of sets: Kubernetes' own and cel-go's "lists" (version 3) and "sets" extensions.

Source: Kubernetes documentation, "Kubernetes list library"; cel-go, ext/README.md, "Lists" and "Sets".
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cmp_to_key
from itertools import pairwise
from typing import Any

from hawser.api.cel import operators
from hawser.api.cel.declarations import Overload, function, method
from hawser.api.cel.types import SORTABLE
from hawser.api.cel.values import Duration, EvalError, UInt, compare, equal

_MOST = 1_000_000
"""The longest list that range() makes."""


def _is_sorted(items: list[Any]) -> bool:
    return all(compare(one, other) <= 0 for one, other in pairwise(items))


def _sum(items: list[Any], zero: Any) -> Any:
    total = zero
    for item in items:
        total = operators.add(total, item)
    return total


def _extreme(name: str, sign: int) -> Any:
    def call(items: list[Any]) -> Any:
        if not items:
            raise EvalError(f"{name} called on empty list")
        best = items[0]
        for item in items[1:]:
            if compare(item, best) * sign > 0:
                best = item
        return best

    return call


def _index_of(items: list[Any], item: Any) -> int:
    return next((place for place, one in enumerate(items) if equal(one, item)), -1)


def _last_index_of(items: list[Any], item: Any) -> int:
    return next((place for place in range(len(items) - 1, -1, -1) if equal(items[place], item)), -1)


def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise EvalError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise EvalError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if end > len(items):
        raise EvalError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return items[start:end]


def _flatten(items: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise EvalError("level must be non-negative")
    made: list[Any] = []
    for item in items:
        if type(item) is list and depth > 0:
            made += _flatten(item, depth - 1)
        else:
            made.append(item)
    return made


def _sort(items: list[Any]) -> list[Any]:
    if len({type(item) for item in items}) > 1:
        raise EvalError("list elements must have the same type")
    return sorted(items, key=cmp_to_key(compare))


def _distinct(items: list[Any]) -> list[Any]:
    made: list[Any] = []
    for item in items:
        if not any(equal(item, one) for one in made):
            made.append(item)
    return made


def _range(count: int) -> list[int]:
    if count < 0:
        raise EvalError(f"lists.range: size must be non-negative, got {count}")
    if count > _MOST:
        raise EvalError(f"lists.range: size {count} exceeds maximum allowed ({_MOST})")
    return list(range(count))


def _within(holder: list[Any], items: list[Any]) -> bool:
    return all(any(equal(item, one) for one in holder) for item in items)


def overloads() -> Iterator[Overload]:
    """The declarations."""
    zeros = {"int": 0, "uint": UInt(0), "double": 0.0, "duration": Duration(0)}
    for one in SORTABLE:
        yield method(f"list({one})", "isSorted() -> bool", _is_sorted)
        yield method(f"list({one})", f"min() -> {one}", _extreme("min", -1))
        yield method(f"list({one})", f"max() -> {one}", _extreme("max", 1))
        yield method(f"list({one})", f"sort() -> list({one})", _sort)
    for one, zero in zeros.items():
        yield method(f"list({one})", f"sum() -> {one}", lambda items, zero=zero: _sum(items, zero))
    yield method("list(T)", "indexOf(T) -> int", _index_of)
    yield method("list(T)", "lastIndexOf(T) -> int", _last_index_of)
    yield method("list(T)", "slice(int, int) -> list(T)", _slice)
    yield method("list(list(T))", "flatten() -> list(T)", _flatten)
    yield method("list(dyn)", "flatten(int) -> list(dyn)", _flatten)
    yield method("list(T)", "distinct() -> list(T)", _distinct)
    yield method("list(T)", "reverse() -> list(T)", lambda items: items[::-1])
    yield function("lists.range(int) -> list(int)", _range)
    yield function("sets.contains(list(T), list(T)) -> bool", _within)
    yield function("sets.equivalent(list(T), list(T)) -> bool", lambda a, b: _within(a, b) and _within(b, a))
    yield function(
        "sets.intersects(list(T), list(T)) -> bool", lambda a, b: any(any(equal(x, y) for y in b) for x in a)
    )
