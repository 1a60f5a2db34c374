"""Who is selected by labels, and who selects, without a look at everything in the namespace.

Objects are kept by each of their labels, and those with selectors by one label that they ask for: the change of a pod
costs as much among fifty thousand others as among ten.
"""

from __future__ import annotations

from collections.abc import Callable

from hawser.api.errors import APIError
from hawser.api.selectors import LabelSelector, Operator
from hawser.api.types import Obj
from hawser.client.informer import Informer

_LABELS, _ANCHOR = "labels", "anchor"
SelectorOf = Callable[[Obj], LabelSelector]


def by_labels(informer: Informer) -> Informer:
    """An informer with the index that ``selected`` asks."""
    informer.add_index(_LABELS, _labels)
    return informer


def selected(informer: Informer, namespace: str, selector: LabelSelector) -> list[Obj]:
    """The objects of a namespace that are selected."""
    matches = selector.matcher()
    asked = [_pair(namespace, r.key, r.values[0]) for r in selector.requirements if r.operator is Operator.EQUALS]
    if asked:
        fewest = min(asked, key=lambda value: informer.count(_LABELS, value))
        candidates = informer.by_index(_LABELS, fewest)
    else:
        candidates = informer.list(namespace)
    return [obj for obj in candidates if matches(obj["metadata"].get("labels"))]


class Selecting:
    """The objects of an informer that select others by labels.

    selector_of: an object's selector; what raises APIError selects nothing.
    """

    def __init__(self, informer: Informer, selector_of: SelectorOf) -> None:
        self._informer = informer
        self._selector_of = selector_of
        informer.add_index(_ANCHOR, self._anchor)

    def of(self, obj: Obj) -> list[Obj]:
        """Those in an object's namespace that select it."""
        namespace, labels = obj["metadata"]["namespace"], obj["metadata"].get("labels")
        values = (*_labels(obj), _pair(namespace))
        anchored = (one for value in values for one in self._informer.by_index(_ANCHOR, value))
        return [one for one in anchored if self._selector(one).matches(labels)]

    def _selector(self, obj: Obj) -> LabelSelector:
        try:
            return self._selector_of(obj)
        except APIError:
            return LabelSelector(nothing=True)

    def _anchor(self, obj: Obj) -> list[str]:
        selector, namespace = self._selector(obj), obj["metadata"]["namespace"]
        if selector.nothing:
            return []
        equal = next((r for r in selector.requirements if r.operator is Operator.EQUALS), None)
        return [_pair(namespace) if equal is None else _pair(namespace, equal.key, equal.values[0])]


def _labels(obj: Obj) -> list[str]:
    metadata = obj["metadata"]
    return [_pair(metadata["namespace"], key, value) for key, value in (metadata.get("labels") or {}).items()]


def _pair(namespace: str, key: str = "", value: str = "") -> str:
    return f"{namespace}/{key}={value}"
