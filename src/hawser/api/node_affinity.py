"""Which nodes a pod's nodeSelector and node affinity ask for.

Source: Kubernetes documentation, "Assigning Pods to Nodes" and API reference, "NodeSelectorTerm": terms are
alternatives, the expressions of a term must all hold, and a term without any selects nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hawser.api.types import Obj


def expression_matches(expression: Obj, values: Mapping[str, str]) -> bool:
    """Whether one NodeSelectorRequirement holds for labels (or fields)."""
    have = values.get(expression["key"])
    wanted: Sequence[str] = expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return have is not None and have in wanted
        case "NotIn":
            return have is None or have not in wanted
        case "Exists":
            return have is not None
        case "DoesNotExist":
            return have is None
        case "Gt" | "Lt" as operator:
            try:
                difference = int(have or "") - int(wanted[0])
            except (ValueError, IndexError):
                return False
            return difference > 0 if operator == "Gt" else difference < 0
    return False


def term_matches(term: Obj, name: str, labels: Mapping[str, str]) -> bool:
    """Whether one NodeSelectorTerm selects the node of this name and labels."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(expression_matches(e, labels) for e in expressions) and all(
        expression_matches(f, {"metadata.name": name}) for f in fields
    )


def node_matches(spec: Obj, name: str, labels: Mapping[str, str]) -> bool:
    """Whether a pod of this spec may go to the node, by ``nodeSelector`` and required node affinity."""
    selector = spec.get("nodeSelector")
    if selector and any(labels.get(key) != value for key, value in selector.items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(term_matches(term, name, labels) for term in required.get("nodeSelectorTerms") or ())


def preference(spec: Obj, name: str, labels: Mapping[str, str]) -> int:
    """The sum of the weights of the preferred terms that select the node; an empty term selects every node."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    total = 0
    for preferred in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
        term = preferred.get("preference") or {}
        empty = not term.get("matchExpressions") and not term.get("matchFields")
        if empty or term_matches(term, name, labels):
            total += preferred.get("weight", 0)
    return total
