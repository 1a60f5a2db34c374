"""What is said of deprecated labels of nodes, wherever nodes are selected. The sentences are kube-apiserver's."""

from __future__ import annotations

from collections.abc import Iterator

from hawser.api.types import Obj
from hawser.api.validation import rules

DEPRECATED = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}


def term(found: Obj, path: str, values: bool = False) -> Iterator[str]:
    """A NodeSelectorTerm, or what has its matchExpressions. values: those that no label can have are told, too."""
    for i, expression in enumerate(found.get("matchExpressions") or ()):
        key = expression.get("key", "")
        if key in DEPRECATED:
            yield f"{path}.matchExpressions[{i}].key: {key} is {DEPRECATED[key]}"
        for j, value in enumerate((expression.get("values") or ()) if values else ()):
            for wrong in rules.label_value_errors(value):
                yield f"{path}.matchExpressions[{i}].values[{j}]: {value} is invalid, {wrong}"


def selector(found: Obj, path: str) -> Iterator[str]:
    """A LabelSelector of nodes."""
    yield from term(found, path)
    for key in found.get("matchLabels") or ():
        if key in DEPRECATED:
            yield f"{path}.matchLabels.{key}: {DEPRECATED[key]}"


def runtime_class(obj: Obj) -> Iterator[str]:
    """A RuntimeClass."""
    for key in (obj.get("scheduling") or {}).get("nodeSelector") or ():
        if key in DEPRECATED:
            yield f"scheduling.nodeSelector: {DEPRECATED[key]}"


def storage_class(obj: Obj) -> Iterator[str]:
    """A StorageClass."""
    for i, topology in enumerate(obj.get("allowedTopologies") or ()):
        for j, expression in enumerate(topology.get("matchLabelExpressions") or ()):
            if (key := expression.get("key")) in DEPRECATED:
                yield f"allowedTopologies[{i}].matchLabelExpressions[{j}].key: {DEPRECATED[key]}"
