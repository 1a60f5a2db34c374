"""Changes and removals as managers of other API versions see them.

A kind whose versions have other fields is compared in the version that a manager wrote in, so nobody loses a field
because another version writes it elsewhere. Source: KEP-555; the documented rules of structured-merge-diff.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TypeAlias

from hawser.api.apply import fields as sets
from hawser.api.apply.extract import Comparison, compare, present
from hawser.api.apply.fields import Fields
from hawser.api.apply.merge import remove, with_parents
from hawser.api.apply.ownable import ownable_change
from hawser.api.apply.types import Node
from hawser.api.types import Obj

View: TypeAlias = tuple[Node, Obj]
"""A type, and an object of it."""
Views: TypeAlias = Callable[[Obj, str], View | None]
"""An object as another API version of its kind shows it; None for a version that the kind does not have."""
Owned: TypeAlias = tuple[str, Fields]
"""Fields, and the API version that they are of."""


class Changes(dict[str, Comparison]):
    """One change by API version: the author's is given, others are found out when somebody asks.

    objects: before and after, in the author's version. ignored: as of ``ownable``. views: None when all versions see
    the same.
    """

    def __init__(
        self, version: str, own: Comparison, objects: tuple[Obj, Obj], ignored: Collection[str], views: Views | None
    ) -> None:
        self[version] = self._own = own
        self._objects = objects
        self._ignored = ignored
        self._views = views

    def __missing__(self, version: str) -> Comparison:
        made = self._own
        if self._views is not None:
            old, new = (self._views(obj, version) if obj else None for obj in self._objects)
            if new is not None:
                node, after = new
                made = ownable_change(compare(node, old[1] if old is not None else {}, after), self._ignored)
        self[version] = made
        return made


def prune(node: Node, merged: Obj, last: Owned, owned: Iterable[Owned], views: Views | None) -> Obj:
    """merged without the fields of last that nobody owns any more.

    node: the type of merged. last: what the applier owned so far; owned: what everybody does by now.
    """

    def seen(obj: Obj, version: str) -> View:
        return (views(obj, version) if views is not None else None) or (node, obj)

    managed: dict[str, Fields] = {}
    for version, fields in owned:
        at = version if views is not None else last[0]
        managed[at] = sets.union(managed.get(at, {}), with_parents(seen(merged, version)[0], fields))
    # What is below a doomed field goes with it, but what is owned stays, and so does all around that.
    its_node, whole = seen(merged, last[0])
    doomed = with_parents(its_node, last[1])
    without = remove(its_node, whole, doomed)
    for version, fields in managed.items():
        there, full = seen(merged, version)
        left = with_parents(there, present(there, seen(without, version)[1]))
        everywhere = with_parents(there, present(there, full))
        without = remove(there, full, sets.difference(everywhere, sets.union(left, fields)))
    left = with_parents(its_node, present(its_node, seen(without, last[0])[1]))
    everywhere = with_parents(its_node, present(its_node, whole))
    gone = sets.intersection(sets.difference(everywhere, left), doomed)
    return seen(remove(its_node, whole, gone), merged["apiVersion"])[1]
