"""What a pod as a whole asks for and is limited to, in quantities as they are written.

``pod_resources`` has the rule and the same sums in whole numbers, for what is counted often. Source: Kubernetes
documentation, "Sidecar Containers" (KEP-753), "Pod Overhead", pod-level resources (KEP-2837).
"""

from __future__ import annotations

from functools import lru_cache

from hawser.api.pod_resources import add, enlarge, together
from hawser.api.quantity import Number, Quantity
from hawser.api.types import Obj

_POD_LEVEL = ("cpu", "memory")


@lru_cache(maxsize=4096)
def parsed(text: Number) -> Quantity:
    """A quantity; the same few are written in every pod. ValueError, in Kubernetes' words."""
    return Quantity.parse(text)


def pod_sum(spec: Obj, part: str) -> dict[str, str]:
    """The effective ``requests`` or ``limits`` (part) of a pod, by resource, without overhead."""
    return {name: str(value) for name, value in pod_quantities(spec, part).items()}


def pod_quantities(spec: Obj, part: str, overhead: bool = False, status: Obj | None = None) -> dict[str, Quantity]:
    """The effective ``requests`` or ``limits`` (part) of a pod, by resource.

    overhead: with what the RuntimeClass adds; limits only grow by it where there is one. status: of the pod; where a
    container still has more than it asks for, that counts (KEP-1287).
    """
    held = _held(status, part) if status else {}
    total = together(spec, lambda container: _with(_of(container, part), container, held))
    own = _of(spec, part).items()
    total |= {name: value for name, value in own if name in _POD_LEVEL or name.startswith("hugepages-")}
    if overhead:
        for name, text in (spec.get("overhead") or {}).items():
            if part == "requests" or (name in total and total[name].amount):
                add(total, {name: parsed(text)})
    return total


def _of(container: Obj, part: str) -> dict[str, Quantity]:
    listed = (container.get("resources") or {}).get(part) or {}
    return {name: parsed(text) for name, text in listed.items()}


def _held(status: Obj, part: str) -> dict[str, dict[str, Quantity]]:
    """What the node has given to containers, by their names."""
    found: dict[str, dict[str, Quantity]] = {}
    for kind in ("containerStatuses", "initContainerStatuses"):
        for one in status.get(kind) or ():
            given = _of(one, part)
            if part == "requests":
                enlarge(given, {name: parsed(text) for name, text in (one.get("allocatedResources") or {}).items()})
            if given:
                found[one["name"]] = given
    return found


def _with(asked: dict[str, Quantity], container: Obj, held: dict[str, dict[str, Quantity]]) -> dict[str, Quantity]:
    """The larger of what a container asks for and what it has."""
    if held and container.get("name") in held:
        enlarge(asked, held[container["name"]])
    return asked
