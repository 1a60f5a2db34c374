"""Sets of fields, and their algebra.

A set is kept in the form that the API shows it in (``fieldsV1``), a tree of path elements: ``{"f:spec": {"f:replicas":
{}}}`` has the one member ``.spec.replicas``. A node without children is a member; a node with children is one when it
has the element ``.`` too. The root is no member, so the empty set is ``{}``. Sets are read-only: operations return new
ones, which share parts with their operands, and the operand itself when nothing changes.

Source: FieldsV1 of the API reference; KEP-555, "Server-side apply".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import orjson

from hawser.api.types import Obj

Fields: TypeAlias = "dict[str, Fields]"

SELF = "."
MEMBER: Fields = {}
"""A node that is a member and has nothing below."""


def union(left: Fields, right: Fields) -> Fields:
    """The members of either."""
    if not right or left is right:
        return left
    if not left:
        return right
    made = left
    for element, theirs in right.items():
        ours = left.get(element)
        joined = theirs if ours is None else _join(ours, theirs)
        if joined is not ours:
            if made is left:
                made = dict(left)
            made[element] = joined
    return made


def _join(ours: Fields, theirs: Fields) -> Fields:
    if ours and theirs:
        return union(ours, theirs)
    below = ours or theirs
    if not below:
        return ours
    return below if SELF in below else {SELF: MEMBER, **below}


def difference(left: Fields, right: Fields) -> Fields:
    """The members of left that are not in right."""
    made = left
    for element, theirs in right.items():
        ours = left.get(element)
        if ours is None:
            continue
        rest = None if element == SELF else _take(ours, theirs)
        if rest is not ours:
            if made is left:
                made = dict(left)
            if rest is None:
                del made[element]
            else:
                made[element] = rest
    return made


def _take(ours: Fields, theirs: Fields) -> Fields | None:
    """ours without theirs; None when nothing remains."""
    if not ours:
        return ours if theirs and SELF not in theirs else None
    rest = difference(ours, theirs or {SELF: MEMBER})
    return rest if rest is ours else _node(rest)


def _node(fields: Fields) -> Fields | None:
    """A set as a node of a larger one: nothing when it is empty, and a lone ``.`` is a plain member."""
    if not fields:
        return None
    return MEMBER if len(fields) == 1 and SELF in fields else fields


def intersection(left: Fields, right: Fields) -> Fields:
    """The members of both."""
    made: Fields = {}
    for element, theirs in right.items():
        ours = left.get(element)
        if ours is None:
            continue
        if ours and theirs:
            both = _node(intersection(ours, theirs))
            if both is not None:
                made[element] = both
        elif SELF in (ours or theirs) or not (ours or theirs):
            made[element] = MEMBER
    return made


def covers(left: Fields, right: Fields) -> bool:
    """Whether every member of right is in left."""
    return union(left, right) is left


def paths(fields: Fields) -> Iterator[tuple[str, ...]]:
    """Every member, as its path elements; a member comes before what is below it."""
    for element, below in sorted(fields.items()):
        if element == SELF:
            continue
        if not below or SELF in below:
            yield (element,)
        for path in paths(below):
            yield (element, *path)


def from_paths(members: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> Fields:
    """The set of these members."""
    made: Fields = {}
    for path in members:
        one: Fields = MEMBER
        for element in reversed(path):
            one = {element: one}
        made = union(made, one)
    return made


def text(path: tuple[str, ...]) -> str:
    """A path as people read it: ``.spec.containers[name="web"].image``."""
    return "".join(map(_spoken, path))


def _spoken(element: str) -> str:
    kind, _, rest = element.partition(":")
    match kind:
        case "f":
            return f".{rest}"
        case "k":
            keys = orjson.loads(rest)
            return "[" + ",".join(f"{name}={_literal(value)}" for name, value in keys.items()) + "]"
        case "v":
            return f"[={rest}]"
    return f"[{rest}]"


def _literal(value: Any) -> str:
    return orjson.dumps(value).decode()


def key_element(keys: Obj) -> str:
    """The element of an item of a list of type ``map``."""
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


def value_element(value: Any) -> str:
    """The element of an item of a list of type ``set``."""
    return "v:" + orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def parse(raw: Any) -> Fields:
    """The set that a client wrote as ``fieldsV1``, in normal form. ValueError when it is none."""
    if not isinstance(raw, dict):
        raise ValueError("fieldsV1 must be an object")
    made: Fields = {}
    for element, below in raw.items():
        if element == SELF:
            made[SELF] = MEMBER
        elif parsed := parse(below):
            made[_element(element)] = _node(parsed) or MEMBER
        else:
            made[_element(element)] = MEMBER
    return made


def _element(written: str) -> str:
    kind, colon, rest = written.partition(":")
    if not colon:
        raise ValueError(f"missing colon: {written!r}")
    match kind:
        case "f":
            return written
        case "k":
            keys = orjson.loads(rest)
            if not isinstance(keys, dict):
                raise ValueError(f"not the keys of a list item: {rest}")
            return key_element(keys)
        case "v":
            return value_element(orjson.loads(rest))
        case "i":
            return f"i:{int(rest)}"
    raise ValueError(f"unrecognized path element: {written!r}")


def encode(fields: Fields) -> orjson.Fragment:
    """The set as JSON, in Kubernetes' order, ready to be put into a document."""
    return orjson.Fragment(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS))
