"""What a resize changes: amounts that were granted, that containers have, and that the pod wants. Pure.

A resize is granted whole or not at all. Until then the pod goes on with what it was granted before.
Source: KEP-1287 (in-place update of pod resources), KEP-5419 (pod-level resources).
"""

from __future__ import annotations

from collections.abc import Mapping

from hawser.api.pod_resources import amount, pod_requests
from hawser.api.types import Obj
from hawser.node.pod import view
from hawser.node.pod.observed import Waiting

_RESIZABLE = ("cpu", "memory")
POD = ""

Grant = Mapping[str, Obj]
"""Resources by container name; those of the pod as a whole under ""."""


def grant(pod: Obj) -> Grant:
    """What a pod's spec asks for."""
    asked = {c["name"]: c.get("resources") or {} for field, c in view.every_container(pod) if _resizable(field)}
    return {POD: pod["spec"].get("resources") or {}, **asked}


def _resizable(field: str) -> bool:
    return field != "ephemeralContainers"


def with_grant(pod: Obj, given: Grant | None) -> Obj:
    """The pod as it was granted; itself when that is what it asks for."""
    if given is None:
        return pod
    spec = dict(pod["spec"])
    for field in ("initContainers", "containers"):
        if spec.get(field):
            spec[field] = [{**c, "resources": given.get(c["name"], c.get("resources") or {})} for c in spec[field]]
    if given.get(POD):
        spec["resources"] = given[POD]
    return {**pod, "spec": spec}


def differing(have: Obj, want: Obj) -> set[str]:
    """The resources (cpu, memory) whose request or limit differs."""
    return {
        name
        for name in _RESIZABLE
        for part in ("requests", "limits")
        if _amount(have, part, name) != _amount(want, part, name)
    }


def _amount(resources: Obj, part: str, name: str) -> int | None:
    value = (resources.get(part) or {}).get(name)
    return None if value is None else amount(name, value)


def resized(before: Obj, after: Obj) -> bool:
    """Whether two specs of a pod ask for different amounts."""
    was, now = grant(before), grant(after)
    return any(differing(was.get(name, {}), resources) for name, resources in now.items())


def restarts_container(container: Obj, have: Obj) -> bool:
    """Whether the container has to be started anew to get what it was granted."""
    changed = differing(have, container.get("resources") or {})
    return any(
        policy.get("restartPolicy") == "RestartContainer" and policy.get("resourceName") in changed
        for policy in container.get("resizePolicy") or ()
    )


def pending(status: Obj) -> bool:
    """Whether a pod's status says that it waits for a resize to be granted."""
    return any(row["type"] == "PodResizePending" for row in status.get("conditions") or ())


def unfinished(pod: Obj, actual: Mapping[str, Obj], running: Mapping[str, str]) -> bool:
    """Whether the pod, or a running container (id by name), does not have what it was granted."""
    return any(
        (have := actual.get(running.get(name, "-") if name else POD)) is not None and differing(have, wanted)
        for name, wanted in grant(pod).items()
    )


def infeasible(pod: Obj, allocatable: Obj) -> Waiting | None:
    """Why no node of this size could ever grant it."""
    wanted = pod_requests(pod["spec"])
    parts = []
    for name in _RESIZABLE:
        capacity = amount(name, allocatable.get(name, 0))
        if wanted.get(name, 0) > capacity:
            parts.append(f"{name}, requested: {wanted[name]}, capacity: {capacity}")
    return Waiting("Infeasible", f"Node didn't have enough capacity: {'; '.join(parts)}") if parts else None


def known_grant(pod: Obj) -> Grant | None:
    """What the API says that a running pod was granted, when that is not what it asks for now."""
    given, differs = dict(grant(pod)), False
    status = pod.get("status") or {}
    # What the pod as a whole waits for is told by the condition; its status has the amounts that it goes on with.
    whole = status.get("resources") or {}
    if given[POD] and whole and differing(whole, given[POD]) and pending(status):
        given[POD], differs = whole, True
    for field in ("initContainerStatuses", "containerStatuses"):
        for row in status.get(field) or ():
            asked = given.get(row["name"])
            if asked is None or row.get("allocatedResources") is None or "resources" not in row:
                continue
            had = {"requests": row["allocatedResources"], "limits": row["resources"].get("limits") or {}}
            if differing(had, asked):
                given[row["name"]], differs = had, True
    return given if differs else None
