"""What the ephemeralcontainers and resize subresources of a pod may change.

Source: "Ephemeral Containers"; "Resize CPU and Memory Resources assigned to Containers" (KEP-1287, KEP-5419).
"""

from __future__ import annotations

from hawser.api.qos import qos_class
from hawser.api.types import Obj
from hawser.api.validation.differences import differences
from hawser.api.validation.pod import MIRROR, pod
from hawser.api.validation.pod_update import plain
from hawser.api.validation.rules import Errors, forbidden, invalid

_RESIZABLE = ("cpu", "memory")
_ONLY = "only cpu and memory resources"


def _is_static(obj: Obj) -> bool:
    return MIRROR in ((obj.get("metadata") or {}).get("annotations") or {})


def ephemeral_containers_update(obj: Obj, old: Obj) -> Errors:
    """Ephemeral containers are added, and stay as they are from then on."""
    if _is_static(old):
        yield forbidden("", "static pods do not support ephemeral containers")
        return
    yield from pod(obj)
    path = "spec.ephemeralContainers"
    fresh = {c.get("name", ""): c for c in (obj.get("spec") or {}).get("ephemeralContainers") or ()}
    for container in (old.get("spec") or {}).get("ephemeralContainers") or ():
        name = container.get("name", "")
        if name not in fresh:
            yield forbidden(path, f'existing ephemeral containers "{name}" may not be removed\n')
        elif plain(fresh[name]) != plain(container):
            lines = "\n".join(differences(plain(fresh[name]), plain(container), name))
            yield forbidden(path, f'existing ephemeral containers "{name}" may not be changed\n{lines}')


def resize_update(obj: Obj, old: Obj) -> Errors:
    """CPU and memory of containers may change, in number only: nothing is added, removed or reordered."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if _is_static(old):
        yield forbidden("", "static pods cannot be resized")
        return
    if (before.get("os") or {}).get("name") == "windows":
        yield forbidden("", "windows pods cannot be resized")
        return
    yield from pod(obj)
    status = old.get("status") or {}
    if (status.get("qosClass") or qos_class(before)) != qos_class(spec):
        detail = "Pod QOS Class may not change as a result of resizing"
        yield invalid("spec", (obj.get("status") or {}).get("qosClass", ""), detail)
    if not _supported(status):
        yield forbidden("spec", "Pod running on node without support for resize")
    if spec.get("resources") or before.get("resources"):
        yield from _pod_level(spec.get("resources"), before.get("resources"))
    if status.get("nodeAllocatableResourceClaimStatuses"):
        yield forbidden("spec", "pods with node allocatable resource claims cannot be resized")
    misplaced = list(_order(spec, before))
    yield from misplaced
    if misplaced:
        return
    for field in ("initContainers", "containers"):
        for i, was in enumerate(before.get(field) or ()):
            now, path = spec[field][i], f"spec.{field}[{i}].resources"
            yield from _removed(now.get("resources") or {}, was.get("resources") or {}, path, "resource")
    for field in ("containers", "initContainers"):
        for i, was in enumerate(before.get(field) or ()):
            yield from _others(spec[field][i], was, field, i)


def _supported(status: Obj) -> bool:
    """A node that can resize says what a running container has."""
    for container in status.get("containerStatuses") or ():
        if (container.get("state") or {}).get("running") is not None:
            return container.get("resources") is not None
    return True


def _pod_level(resources: Obj | None, before: Obj | None) -> Errors:
    if before and not resources:
        yield forbidden("spec.resources", "pod-level resources cannot be removed")
        return
    yield from _removed(resources or {}, before or {}, "spec.resources", "pod-level resource")
    if _without_compute(resources, before) != _without_compute(before, before):
        yield forbidden("spec", f"{_ONLY} are mutable at pod-level")


def _removed(resources: Obj, before: Obj, path: str, what: str) -> Errors:
    for field in ("requests", "limits"):
        if set(before.get(field) or ()) - set(resources.get(field) or ()):
            yield forbidden(f"{path}.{field}", f"{what} {field} cannot be removed")


def _order(spec: Obj, before: Obj) -> Errors:
    for field in ("containers", "initContainers"):
        now, was = ([c.get("name", "") for c in s.get(field) or ()] for s in (spec, before))
        if len(now) != len(was):
            yield forbidden(f"spec.{field}", f"{field} may not be added or removed on resize")
            continue
        for i, (name, name_before) in enumerate(zip(now, was, strict=True)):
            if name != name_before:
                yield forbidden(f"spec.{field}[{i}].name", f"{field} may not be renamed or reordered on resize")


def _others(now: Obj, was: Obj, field: str, i: int) -> Errors:
    """Everything of a container but its CPU and memory is as it was."""
    rest = {**now, "resources": _without_compute(now.get("resources"), was.get("resources"))}
    kept = {**was, "resources": _without_compute(was.get("resources"), was.get("resources"))}
    changed = plain(rest) != plain(kept)
    if field == "containers":
        if changed:
            yield forbidden("spec", f"{_ONLY} are mutable")
        return
    path = f"spec.initContainers[{i}]"
    if changed:
        yield forbidden(path, f"{_ONLY} for init or sidecar containers are mutable")
    restarts = any(policy.get("restartPolicy") == "RestartContainer" for policy in now.get("resizePolicy") or ())
    if restarts and now.get("restartPolicy") != "Always" and plain(now) != plain(was):
        detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
        yield forbidden(path, detail)


def _without_compute(resources: Obj | None, before: Obj | None) -> Obj:
    """Resources with the CPU and memory that there were before."""
    kept: Obj = dict(resources or {})
    for field in ("limits", "requests"):
        amounts = {name: amount for name, amount in (kept.get(field) or {}).items() if name not in _RESIZABLE}
        was = (before or {}).get(field) or {}
        amounts.update({name: was[name] for name in _RESIZABLE if name in was})
        kept[field] = amounts
    return {key: value for key, value in kept.items() if value}
