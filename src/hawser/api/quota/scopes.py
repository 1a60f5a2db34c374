"""Which objects a ResourceQuota with scopes is about.

Source: Kubernetes documentation, "Resource Quotas", quota scopes; API reference, ScopedResourceSelectorRequirement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hawser.api.kind import Kind
from hawser.api.kinds import PERSISTENT_VOLUME_CLAIM, POD
from hawser.api.quantity import parse_quantity
from hawser.api.types import Obj

_QOS = ("cpu", "memory")


def selectors(quota: Obj) -> list[Obj]:
    """The scopes of a quota as requirements."""
    spec = quota.get("spec") or {}
    listed = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    return listed + list((spec.get("scopeSelector") or {}).get("matchExpressions") or ())


def matches(kind: Kind, wanted: Iterable[Obj], obj: Obj) -> bool:
    """Whether an object has every scope. Objects other than pods and claims have none."""
    for selector in wanted:
        if kind is POD:
            scope = _POD_SCOPES.get(selector["scopeName"])
            if selector["scopeName"] == "PriorityClass":
                name = (obj.get("spec") or {}).get("priorityClassName")
                if not _selects(selector, [name] if name else []):
                    return False
            elif scope is None or not scope(obj):
                return False
        elif kind is PERSISTENT_VOLUME_CLAIM and selector["scopeName"] == "VolumeAttributesClass":
            if not _selects(selector, _attributes_classes(obj)):
                return False
        else:
            return False
    return True


def _selects(selector: Obj, names: list[str]) -> bool:
    """Whether one of the names (or their absence) is what a requirement asks for."""
    values = selector.get("values") or ()
    match selector.get("operator"):
        case "Exists":
            return bool(names)
        case "DoesNotExist":
            return not names
        case "In":
            return any(name in values for name in names)
        case "NotIn":
            return not names or any(name not in values for name in names)
    return False


def _attributes_classes(claim: Obj) -> list[str]:
    """The VolumeAttributesClasses that a claim asks for, has, or is on its way to."""
    status = claim.get("status") or {}
    named = (
        (claim.get("spec") or {}).get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return sorted({name for name in named if name})


def terminating(pod: Obj) -> bool:
    """Whether a pod has a deadline: scope Terminating."""
    seconds = pod["spec"].get("activeDeadlineSeconds")
    return seconds is not None and seconds >= 0


def _best_effort(pod: Obj) -> bool:
    """Whether nothing is asked for, neither by the containers nor for the pod as a whole."""
    spec = pod["spec"]
    parts = [spec, *(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    for part in parts:
        resources = part.get("resources") or {}
        for listed in (resources.get("requests") or {}, resources.get("limits") or {}):
            if any(name in listed and parse_quantity(listed[name]) > 0 for name in _QOS):
                return False
    return True


def _crosses_namespaces(pod: Obj) -> bool:
    affinity = pod["spec"].get("affinity") or {}
    for part in (affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}):
        terms = list(part.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        preferred = part.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [weighted.get("podAffinityTerm") or {} for weighted in preferred]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False


_POD_SCOPES: dict[str, Callable[[Obj], bool]] = {
    "Terminating": terminating,
    "NotTerminating": lambda pod: not terminating(pod),
    "BestEffort": _best_effort,
    "NotBestEffort": lambda pod: not _best_effort(pod),
    "PriorityClass": lambda pod: bool(pod["spec"].get("priorityClassName")),
    "CrossNamespacePodAffinity": _crosses_namespaces,
}
