"""Which fields have owners at all.

Source: Kubernetes documentation, "Server-Side Apply"; KEP-555.
"""

from __future__ import annotations

from collections.abc import Collection

from hawser.api.apply import fields as sets
from hawser.api.apply.extract import Comparison
from hawser.api.apply.fields import Fields

# What nobody owns: identity, and what the server writes.
NOBODYS = (
    "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion",
)  # fmt: skip
_UNOWNED = ("f:apiVersion", "f:kind", sets.SELF)
_NOBODYS_ELEMENTS = tuple(f"f:{name}" for name in NOBODYS)


def ownable(fields: Fields, roots: Collection[str] = ()) -> Fields:
    """What may have owners. roots: top-level fields that this kind of request does not set."""
    for element in fields:
        if element in _UNOWNED or element == "f:metadata" or element[2:] in roots:
            break
    else:
        return fields
    kept = {
        element: below
        for element, below in fields.items()
        if element not in _UNOWNED and element != "f:metadata" and element[2:] not in roots
    }
    metadata = fields.get("f:metadata")
    if metadata:
        rest = {e: below for e, below in metadata.items() if e not in _NOBODYS_ELEMENTS and e != sets.SELF}
        if rest:
            kept["f:metadata"] = rest
    return kept


def ownable_change(change: Comparison, ignored: Collection[str]) -> Comparison:
    """What of a change may have owners; ignored: as roots of ``ownable``."""
    if not change:
        return change
    return Comparison(
        ownable(change.added, ignored), ownable(change.modified, ignored), ownable(change.removed, ignored)
    )
