"""What the statuses of objects say: phases and conditions.

Source: Kubernetes API conventions, "Typical status properties"; "Pod Lifecycle", pod phase.
"""

from __future__ import annotations

from hawser.api.types import Obj

ENDED = frozenset({"Succeeded", "Failed"})
"""The phases of pods of which no container will run again."""


def has_ended(pod: Obj) -> bool:
    """Whether a pod has Succeeded or Failed: no container of it will run again."""
    return (pod.get("status") or {}).get("phase") in ENDED


def condition(obj: Obj, kind: str) -> Obj | None:
    """The condition of a type, or None."""
    for one in (obj.get("status") or {}).get("conditions") or ():
        if one.get("type") == kind:
            found: Obj = one
            return found
    return None


def observed(pod: Obj) -> Obj:
    """The generation of a pod as a field of its conditions: which spec they speak of; nothing while it has none."""
    generation = pod.get("metadata", {}).get("generation")
    return {} if generation is None else {"observedGeneration": generation}


def is_true(obj: Obj, kind: str) -> bool:
    """Whether the condition of a type is there and True."""
    found = condition(obj, kind)
    return found is not None and found.get("status") == "True"


def is_ready(obj: Obj) -> bool:
    """Whether a pod, or a node, has the condition Ready."""
    return is_true(obj, "Ready")
