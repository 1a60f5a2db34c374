"""Equality and concatenation of what a schema calls a set or a map of items.

Source: Kubernetes documentation, "Validation functions" of CustomResourceDefinitions: equality ignores the order of
sets and maps of items; X + Y keeps the places of X, appends what is new of Y and overwrites items of the same keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hawser.api.cel import operators
from hawser.api.cel.types import Type
from hawser.api.cel.values import equal


def function(general: Callable[..., Any], types: list[Type]) -> Callable[..., Any]:
    """A general operator for values of these types."""
    given = next((one for one in types if one.shape.loose or one.shape.list_type), types[0])
    if general is equal:
        return lambda one, other: same(given, one, other)
    if general is operators.unequal:
        return lambda one, other: not same(given, one, other)
    if general is operators.add and given.shape.list_type in ("set", "map"):
        return lambda one, other: joined(given, one, other)
    return general


def same(given: Type, one: Any, other: Any) -> bool:
    """Whether two values of a type are equal."""
    if not given.shape.loose and not given.shape.list_type:
        return equal(one, other)
    if type(one) is not type(other):
        return False
    if given.kind == "list":
        return _same_lists(given, one, other)
    if given.kind == "map":
        return len(one) == len(other) and all(k in other and same(given.params[1], v, other[k]) for k, v in one.items())
    if type(one) is not dict:
        return equal(one, other)
    fields = {known.name: known.type for known in given.shape.fields.values()}
    return len(one) == len(other) and all(
        key in other and (same(fields[key], value, other[key]) if key in fields else equal(value, other[key]))
        for key, value in one.items()
    )


def _same_lists(given: Type, one: list[Any], other: list[Any]) -> bool:
    if len(one) != len(other):
        return False
    item = given.params[0]
    match given.shape.list_type:
        case "set":
            return all(any(same(item, a, b) for b in other) for a in one)
        case "map":
            known = {_key(given, b): b for b in other}
            return all((key := _key(given, a)) in known and same(item, a, known[key]) for a in one)
    return all(same(item, a, b) for a, b in zip(one, other, strict=True))


def _key(given: Type, item: Any) -> tuple[Any, ...]:
    if type(item) is not dict:
        return (repr(item),)
    return tuple(repr(item.get(key)) for key in given.shape.keys)


def joined(given: Type, one: list[Any], other: list[Any]) -> list[Any]:
    """X + Y of sets and of maps of items."""
    made = list(one)
    if given.shape.list_type == "set":
        made += [item for item in other if not any(equal(item, known) for known in one)]
        return made
    places = {_key(given, item): place for place, item in enumerate(made)}
    for item in other:
        place = places.get(_key(given, item))
        if place is None:
            places[_key(given, item)] = len(made)
            made.append(item)
        else:
            made[place] = item
    return made
