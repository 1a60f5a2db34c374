"""Merging what is applied into what there is, and taking fields away again.

Source: KEP-555; Kubernetes documentation, "Server-Side Apply", merge strategy; the documented rules of
structured-merge-diff.
"""

from __future__ import annotations

from typing import Any

from hawser.api.apply.fields import MEMBER, SELF, Fields
from hawser.api.apply.types import Granular, Items, Node
from hawser.api.strategic import clone


def merge(node: Node, live: Any, config: Any) -> Any:
    """live with all that config says; neither is changed. What ``extract.applied`` refuses must not be merged."""
    return _merge(node, clone(live), config)


def _merge(node: Node, live: Any, config: Any) -> Any:
    """live is consumed."""
    if isinstance(node, Granular) and isinstance(live, dict) and isinstance(config, dict):
        for name, value in config.items():
            child = node.child(name)
            if name in live:
                live[name] = _merge(child, live[name], value)
                continue
            made = _new(child, value)
            # A list without items says nothing, nor does an object of such lists: there is nothing to own.
            if made or not ((isinstance(child, Items) and made == []) or (made == {} and value != {})):
                live[name] = made
        return live
    if isinstance(node, Items) and isinstance(live, list) and isinstance(config, list):
        return _merge_items(node, live, config)
    return _new(node, config)


def _new(node: Node, config: Any) -> Any:
    """What config alone makes."""
    if isinstance(node, Granular) and isinstance(config, dict):
        return _merge(node, {}, config)
    if isinstance(node, Items) and isinstance(config, list):
        return [_new(node.item, item) for item in config]
    return clone(config)


def _merge_items(node: Items, live: list[Any], config: list[Any]) -> list[Any]:
    """Items of both, in config's order; those only in live keep their place relative to the ones before them."""
    had, wanted = node.elements(live), node.elements(config)
    left = list(node.elements(live))
    shared = [element for element in wanted if element in had]
    made: list[Any] = []
    at = 0

    def left_only(until: str) -> None:
        """Takes what only live has, as far as the next item of both that must wait for its turn."""
        nonlocal at
        while at < len(left):
            element = left[at]
            if element not in wanted:
                made.extend(had[element])
            elif element != until and shared and element == shared[0]:
                return
            at += 1
            if element == until:
                return

    for element, [item] in wanted.items():
        left_only(element)
        before = had.get(element)
        # An item that live has several times is replaced as a whole.
        made.append(_merge(node.item, before[0], item) if before and len(before) == 1 else _new(node.item, item))
        if shared and shared[0] == element:
            shared.pop(0)
    left_only("")
    return made


def remove(node: Node, value: Any, doomed: Fields) -> Any:
    """value without the fields of a set and all that is below them; value itself stays as it is."""
    if not doomed:
        return value
    if isinstance(node, Granular) and isinstance(value, dict):
        kept = {}
        for name, item in value.items():
            below = doomed.get(f"f:{name}")
            if below is None:
                kept[name] = item
            elif below and SELF not in below:
                kept[name] = remove(node.child(name), item, below)
        return kept
    if isinstance(node, Items) and isinstance(value, list):
        left = []
        for element, items in node.elements(value).items():
            below = doomed.get(element)
            if below is None:
                left += items
            elif below and SELF not in below:
                left += [remove(node.item, item, below) for item in items]
        return left
    return value


def with_parents(node: Node, fields: Fields) -> Fields:
    """The set, and every known field that something below is in it: a field goes when all of its contents go."""
    if not isinstance(node, Granular | Items):
        return fields
    made: Fields = {}
    for element, below in fields.items():
        if not below:
            made[element] = MEMBER
            continue
        child = node.child(element[2:]) if isinstance(node, Granular) else node.item
        deeper = with_parents(child, below)
        if isinstance(node, Granular) and element[2:] in node.fields and SELF not in deeper:
            deeper = {SELF: MEMBER, **deeper}
        made[element] = deeper
    return made
