"""Which fields a value has, and which differ between two values.

Source: KEP-555; the documented rules of structured-merge-diff. What a client applies is a set of leaves and list items
(``applied``); what an update changes also has the objects and lists that came to be with their contents (``compare``).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

from hawser.api.apply import fields as sets
from hawser.api.apply.fields import MEMBER, SELF, Fields
from hawser.api.apply.types import Granular, Items, Node, UnfitError
from hawser.api.types import Obj

# Objects and lists that Kubernetes writes even when they are empty, as long as all around them are such: they never
# come to be, so nobody is the one who added them.
_ALWAYS = frozenset(
    (
        "metadata", "spec", "status", "template", "jobTemplate", "strategy", "updateStrategy", "containers",
        "loadBalancer", "nodeInfo", "daemonEndpoints", "kubeletEndpoint",
    )
)  # fmt: skip
_MISSING: Any = object()


def applied(node: Node, value: Any) -> Fields:
    """The fields that a client who applies value owns. UnfitError when lists repeat an item or omit its keys."""
    return _applied(node, value, (), True) or {}


def present(node: Node, value: Any) -> Fields:
    """As ``applied``, of what is stored already: an item that occurs several times is a whole."""
    return _applied(node, value, (), False) or {}


def _applied(node: Node, value: Any, path: tuple[str, ...], strict: bool) -> Fields | None:
    """None: value says nothing by itself."""
    if isinstance(node, Granular) and isinstance(value, dict):
        made: Fields = {}
        for name, item in value.items():
            element = f"f:{name}"
            below = _applied(node.child(name), item, (*path, element), strict)
            if name not in node.fields or (not item and (item is None or isinstance(item, dict))):
                below = {SELF: MEMBER, **below} if below else MEMBER
            if below is not None:
                made[element] = below
        return made or None
    if isinstance(node, Items) and isinstance(value, list):
        if strict:
            _check_items(node, value, path)
        made = {}
        for element, items in node.elements(value).items():
            below = _applied(node.item, items[0], (*path, element), strict) if node.keys and len(items) == 1 else None
            made[element] = {SELF: MEMBER, **below} if below else MEMBER
        return made or None
    return None if value is None and isinstance(node, Granular | Items) else MEMBER


def _check_items(node: Items, items: list[Any], path: tuple[str, ...]) -> None:
    seen = set()
    for index, item in enumerate(items):
        try:
            element = node.element(item)
        except ValueError as error:
            raise UnfitError(sets.text(path), f"element {index}: {error}") from None
        if element in seen:
            raise UnfitError(sets.text(path), f"duplicate entries for key {sets.text((element,))}")
        seen.add(element)


def everything(node: Node, value: Any, always: bool = False, skipped: Collection[str] = ()) -> Fields:
    """All that comes to be with value: what ``compare`` calls added when there was nothing before, as a node.

    skipped: fields of value that are not looked at.
    """
    if isinstance(node, Granular) and isinstance(value, dict):
        made: Fields = {} if always else {SELF: MEMBER}
        known, rest = node.fields, node.rest
        for name, item in value.items():
            if name in skipped:
                continue
            if type(item) is str:
                made["f:" + name] = MEMBER
            else:
                child = known.get(name) or rest
                if child is None:
                    made["f:" + name] = MEMBER
                    continue
                inner = always and name in _ALWAYS
                if item or not inner:
                    made["f:" + name] = everything(child, item, inner)
        return made if len(made) > 1 or SELF not in made else MEMBER
    if isinstance(node, Items) and isinstance(value, list) and value:
        made = {} if always else {SELF: MEMBER}
        for element, items in node.elements(value).items():
            made[element] = everything(node.item, items[0]) if len(items) == 1 else MEMBER
        return made
    return MEMBER


@dataclass(slots=True)
class Comparison:
    """Fields that differ between two values."""

    added: Fields
    modified: Fields
    removed: Fields

    @property
    def touched(self) -> Fields:
        """What now has another value than before."""
        return sets.union(self.added, self.modified)

    def __bool__(self) -> bool:
        return bool(self.added or self.modified or self.removed)


def compare(node: Node, old: Obj, new: Obj) -> Comparison:
    """What differs between two objects of a kind."""
    found: _Found = ({}, {}, {})
    _compare(node, old, new, found, True)
    return Comparison(*found)


_Found: TypeAlias = tuple[Fields, Fields, Fields]
"""Added, modified and removed, as they are filled: every update goes through here."""


def _compare(node: Node, old: Any, new: Any, found: _Found, always: bool) -> bool:
    """Fills in what differs below; False when the two can only be compared as wholes."""
    if isinstance(node, Granular):
        old, new = _as(old, dict), _as(new, dict)
        if old is None or new is None or not (old or new):
            return False
        for name in new if new.keys() == old.keys() else {**old, **new}:
            before, after = old.get(name, _MISSING), new.get(name, _MISSING)
            if before is not after and before != after:
                _differ(node.child(name), f"f:{name}", before, after, found, always and name in _ALWAYS)
        return True
    if isinstance(node, Items):
        old, new = _as(old, list), _as(new, list)
        if old is None or new is None or not (old or new):
            return False
        had, has = node.elements(old), node.elements(new)
        for element in {**had, **has}:
            _differ_items(node, element, had.get(element, []), has.get(element, []), found)
        return True
    return False


def _as(value: Any, kind: type) -> Any:
    """A container, an empty one for null, None for anything else."""
    if value is None:
        return kind()
    return value if isinstance(value, kind) else None


def _differ(node: Node, element: str, before: Any, after: Any, found: _Found, always: bool = False) -> None:
    """Two different values of one field."""
    added, modified, removed = found
    if always:
        before = None if before is _MISSING else before
        after = None if after is _MISSING else after
    if before is _MISSING:
        added[element] = everything(node, after)
    elif after is _MISSING:
        removed[element] = everything(node, before)
    else:
        below: _Found = ({}, {}, {})
        if _compare(node, before, after, below, always):
            if below[0]:
                added[element] = below[0]
            if below[1]:
                modified[element] = below[1]
            if below[2]:
                removed[element] = below[2]
        elif not always or before or after:
            modified[element] = MEMBER


def _differ_items(node: Items, element: str, before: list[Any], after: list[Any], found: _Found) -> None:
    """The items of one path element. An item that occurs several times is one thing that is owned as a whole."""
    if before == after:
        return
    added, modified, removed = found
    if len(before) == 1 == len(after):
        _differ(node.item, element, before[0], after[0], found)
    elif len(before) > 1 and len(after) > 1:
        modified[element] = MEMBER
    else:
        if before:
            removed[element] = everything(node.item, before[0]) if len(before) == 1 else MEMBER
        if after:
            added[element] = everything(node.item, after[0]) if len(after) == 1 else MEMBER
