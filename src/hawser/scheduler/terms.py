"""Terms of inter-pod affinity, and which of them the pods that are placed hold against newcomers.

Source: API reference, "PodAffinityTerm"; Kubernetes documentation, "Inter-pod affinity and anti-affinity".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import orjson

from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.scheduler.shapes import PodInfo

NamespaceLabels = Callable[[str], Mapping[str, str]]

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
    def of(cls, term: Obj, pod: PodInfo) -> Term:
        """The term of this pod; without namespaces and their selector it speaks of the pod's own namespace."""
        by_label = term.get("namespaceSelector")
        names = term.get("namespaces") or ()
        return cls(
            term.get("topologyKey") or "",
            _with_label_keys(term, pod),
            frozenset(names) if names or by_label is not None else frozenset((pod.namespace,)),
            selector_of(by_label) if by_label is not None else None,
        )

    def matches(self, pod: PodInfo, namespace_labels: NamespaceLabels) -> bool:
        """Whether the term speaks of the pod."""
        if pod.namespace not in self.namespaces and (
            self.namespace_selector is None or not self.namespace_selector.matches(namespace_labels(pod.namespace))
        ):
            return False
        return self.selector.matches(pod.labels)


def _with_label_keys(term: Obj, pod: PodInfo) -> LabelSelector:
    selector = term.get("labelSelector")
    same, other = term.get("matchLabelKeys") or (), term.get("mismatchLabelKeys") or ()
    if selector is None or not (same or other):
        return selector_of(selector)
    expressions = list(selector.get("matchExpressions") or ())
    for operator, keys in (("In", same), ("NotIn", other)):
        expressions += [
            {"key": key, "operator": operator, "values": [pod.labels[key]]} for key in keys if key in pod.labels
        ]
    return selector_of({**selector, "matchExpressions": expressions})


def weighted(affinity: Obj, pod: PodInfo) -> list[tuple[Term, int]]:
    """The preferred terms of an affinity with their weights."""
    return [(Term.of(p.get("podAffinityTerm") or {}, pod), p.get("weight", 0)) for p in affinity.get(PREFERRED) or ()]


def required(affinity: Obj, pod: PodInfo) -> list[Term]:
    """The required terms of an affinity."""
    return [Term.of(term, pod) for term in affinity.get(REQUIRED) or ()]


class Hold(StrEnum):
    """How a placed pod's term works on newcomers."""

    FORBIDS = "forbids"
    ATTRACTS = "attracts"


class Terms:
    """The terms of placed pods: where pods are that forbid (required anti-affinity) or attract (all the others)."""

    def __init__(self) -> None:
        self._held: dict[tuple[Hold, Term, int], Counter[str]] = {}

    def count(self, pod: PodInfo, node_name: str, sign: int) -> None:
        """Counts the terms of a pod on a node in (1) or out (-1)."""
        if not pod.shape.affinity and not pod.shape.anti_affinity:
            return
        for entry in _holds(pod):
            nodes = self._held.setdefault(entry, Counter())
            nodes[node_name] += sign
            if not nodes[node_name]:
                del nodes[node_name]
            if not nodes:
                del self._held[entry]

    def held(self, hold: Hold) -> Iterator[tuple[Term, int, Mapping[str, int]]]:
        """Each distinct term with its weight and the number of pods a node that have it."""
        for (kind, term, weight), nodes in self._held.items():
            if kind is hold:
                yield term, weight, nodes


def _holds(pod: PodInfo) -> list[tuple[Hold, Term, int]]:
    affinity, anti = pod.shape.affinity, pod.shape.anti_affinity
    return [
        *((Hold.FORBIDS, term, 0) for term in required(anti, pod)),
        # Pods that others require near them pull those a little too: kube-scheduler's hardPodAffinityWeight of 1.
        *((Hold.ATTRACTS, term, 1) for term in required(affinity, pod)),
        *((Hold.ATTRACTS, term, weight) for term, weight in weighted(affinity, pod)),
        *((Hold.ATTRACTS, term, -weight) for term, weight in weighted(anti, pod)),
    ]
