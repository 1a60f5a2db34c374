"""Terms of inter-pod affinity, and which of them the pods that are placed hold against newcomers.

Source: API reference, "PodAffinityTerm"; Kubernetes documentation, "Inter-pod affinity and anti-affinity".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import orjson

from hawser.api.label_keys import expressions
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj

NamespaceLabels = Callable[[str], Mapping[str, str]]
Labels = Mapping[str, str]

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@lru_cache(maxsize=1024)
def _parsed(selector: bytes) -> LabelSelector:
    return LabelSelector.from_object(orjson.loads(selector))


def selector_of(selector: Obj | None) -> LabelSelector:
    """A metav1.LabelSelector, parsed once; None selects nothing."""
    return _parsed(orjson.dumps(selector))


@dataclass(frozen=True, slots=True)
class Term:
    """One PodAffinityTerm of a pod of a namespace: the pods it speaks of, and the label that makes nodes one place.

    namespaces: by name. namespace_selector: by label, None for none.
    """

    topology_key: str
    selector: LabelSelector
    namespaces: frozenset[str]
    namespace_selector: LabelSelector | None

    @classmethod
    def of(cls, term: Obj, namespace: str, labels: Labels) -> Term:
        """The term of a pod; without namespaces and their selector it speaks of the pod's own namespace."""
        by_label = term.get("namespaceSelector")
        names = term.get("namespaces") or ()
        return cls(
            term.get("topologyKey") or "",
            narrowed(term, labels),
            frozenset(names) if names or by_label is not None else frozenset((namespace,)),
            selector_of(by_label) if by_label is not None else None,
        )

    def matches(self, namespace: str, labels: Labels, namespace_labels: NamespaceLabels) -> bool:
        """Whether the term speaks of a pod."""
        if namespace not in self.namespaces and (
            self.namespace_selector is None or not self.namespace_selector.matches(namespace_labels(namespace))
        ):
            return False
        return self.selector.matches(labels)


def narrowed(term: Obj, labels: Labels) -> LabelSelector:
    """The labelSelector of a term or constraint with its matchLabelKeys and mismatchLabelKeys.

    The API server writes them into the selector of each new pod: then they are there twice.
    """
    selector = term.get("labelSelector")
    added = expressions(term, labels) if selector is not None else ()
    if selector is None or not added:
        return selector_of(selector)
    return selector_of({**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *added]})


def weighted(affinity: Obj, namespace: str, labels: Labels) -> list[tuple[Term, int]]:
    """The preferred terms of an affinity with their weights."""
    return [
        (Term.of(p.get("podAffinityTerm") or {}, namespace, labels), p.get("weight", 0))
        for p in affinity.get(PREFERRED) or ()
    ]


def required(affinity: Obj, namespace: str, labels: Labels) -> list[Term]:
    """The required terms of an affinity."""
    return [Term.of(term, namespace, labels) for term in affinity.get(REQUIRED) or ()]


@dataclass(frozen=True, slots=True)
class Hold:
    """How a placed pod's term works on newcomers: it forbids its place to them, or attracts them (repels: weight < 0).

    hard: a required term, whose weight is the profile's.
    """

    term: Term
    forbids: bool = False
    hard: bool = False
    weight: int = 0


def holds(affinity: Obj, anti_affinity: Obj, namespace: str, labels: Labels) -> tuple[Hold, ...]:
    """What a pod's terms mean to newcomers."""
    return (
        *(Hold(term, forbids=True) for term in required(anti_affinity, namespace, labels)),
        *(Hold(term, hard=True) for term in required(affinity, namespace, labels)),
        *(Hold(term, weight=weight) for term, weight in weighted(affinity, namespace, labels)),
        *(Hold(term, weight=-weight) for term, weight in weighted(anti_affinity, namespace, labels)),
    )
