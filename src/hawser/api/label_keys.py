"""matchLabelKeys and mismatchLabelKeys of affinity terms and spread constraints: a pod's own labels as a selector.

Source: API reference, PodAffinityTerm and TopologySpreadConstraint; KEP-3633, KEP-3243.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hawser.api.types import Obj


def expressions(term: Obj, labels: Mapping[str, str]) -> list[Obj]:
    """What the keys of a term or constraint mean for a pod with these labels, as matchExpressions."""
    return [
        {"key": key, "operator": operator, "values": [labels[key]]}
        for operator, field in (("In", "matchLabelKeys"), ("NotIn", "mismatchLabelKeys"))
        for key in term.get(field) or ()
        if key in labels
    ]


def merge(pod: Obj) -> None:
    """Writes into the selectors of a new pod's terms and constraints what their keys mean for it; once."""
    labels = pod["metadata"].get("labels") or {}
    for term in _terms(pod["spec"]):
        selector = term.get("labelSelector")
        if selector is None:
            continue
        said = selector.get("matchExpressions") or []
        if added := [one for one in expressions(term, labels) if one not in said]:
            term["labelSelector"] = {**selector, "matchExpressions": [*said, *added]}


def _terms(spec: Obj) -> Iterator[Obj]:
    """Everything of a pod that selects others."""
    for field in ("podAffinity", "podAntiAffinity"):
        affinity = (spec.get("affinity") or {}).get(field) or {}
        yield from affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for weighted in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield weighted.get("podAffinityTerm") or {}
    yield from spec.get("topologySpreadConstraints") or ()
