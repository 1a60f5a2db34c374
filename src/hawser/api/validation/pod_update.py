"""What may change in a Pod that exists. Source: "Pod update and replacement"; "Pod Scheduling Readiness"."""

from __future__ import annotations

from typing import Any

from hawser.api.pod_restarts import may_restart_all, restarts
from hawser.api.types import Obj
from hawser.api.validation import rules
from hawser.api.validation.differences import differences
from hawser.api.validation.pod import MIRROR, pod_ips
from hawser.api.validation.rules import MAX_INT32, Errors, each, forbidden, invalid, range_error

_UPDATABLE = ",".join(
    (
        "`spec.containers[*].image`",
        "`spec.initContainers[*].image`",
        "`spec.activeDeadlineSeconds`",
        "`spec.tolerations` (only additions to existing tolerations)",
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
    )
)
# Fields where false or 0 says something that absence does not.
_OPTIONAL = frozenset(
    {
        "allowPrivilegeEscalation",
        "automountServiceAccountToken",
        "defaultMode",
        "enableServiceLinks",
        "fsGroup",
        "hostUsers",
        "mode",
        "optional",
        "priority",
        "privileged",
        "readOnlyRootFilesystem",
        "runAsGroup",
        "runAsNonRoot",
        "runAsUser",
        "setHostnameAsFQDN",
        "shareProcessNamespace",
        "terminationGracePeriodSeconds",
        "tolerationSeconds",
    }
)


def pod_update(obj: Obj, old: Obj) -> Errors:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    yield from _mirror(obj, old)
    for field in ("containers", "initContainers"):
        if len(spec.get(field) or ()) != len(before.get(field) or ()):
            yield forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            return
    deadline, deadline_before = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if deadline is None and deadline_before is not None:
        yield invalid("spec.activeDeadlineSeconds", None, "must not update from a positive integer to nil value")
    elif deadline is not None and not 0 <= deadline <= MAX_INT32:
        yield invalid("spec.activeDeadlineSeconds", deadline, range_error(0, MAX_INT32))
    elif deadline is not None and deadline_before is not None and deadline > deadline_before:
        yield invalid("spec.activeDeadlineSeconds", deadline, "must be less than or equal to previous value")
    yield from _tolerations(spec, before)
    yield from _gates(spec, before)
    changed = differences(_without_updatable(spec, before), plain(before), "spec")
    if changed:
        listed = "\n".join(changed)
        yield forbidden("spec", f"pod updates may not change fields other than {_UPDATABLE}\n{listed}")


def pod_status_update(obj: Obj, old: Obj) -> Errors:
    """Containers that ended and may not start again stay ended."""
    yield from _mirror(obj, old)
    status, before = obj.get("status") or {}, old.get("status") or {}
    nominated = status.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        yield from each("status.nominatedNodeName", nominated, rules.subdomain_errors(nominated))
    spec = old.get("spec") or {}
    policy = spec.get("restartPolicy", "Always")
    if may_restart_all(spec):
        return
    for field, containers in (("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")):
        own = {container.get("name"): container for container in spec.get(containers) or ()}
        fresh = {entry.get("name"): entry for entry in status.get(field) or ()}
        for i, entry in enumerate(before.get(field) or ()):
            ended = (entry.get("state") or {}).get("terminated")
            if ended is None or restarts(spec, own.get(entry.get("name")) or {}, ended.get("exitCode") or 0):
                continue
            # An init container may run again when the pod is made anew, so only the failed ones of Never are held.
            if field == "initContainerStatuses" and policy != "Never":
                continue
            now = fresh.get(entry.get("name"))
            if now is not None and (now.get("state") or {}).get("terminated") is None:
                yield forbidden(f"status.{field}[{i}].state", "may not be transitioned to non-terminated state")
    yield from pod_ips(status)


def _mirror(obj: Obj, old: Obj) -> Errors:
    """Pods of static manifests stay so."""
    new_notes = (obj.get("metadata") or {}).get("annotations") or {}
    old_notes = (old.get("metadata") or {}).get("annotations") or {}
    if new_notes.get(MIRROR) != old_notes.get(MIRROR):
        what = "remove or update" if MIRROR in old_notes else "add"
        yield forbidden(f"metadata.annotations[{MIRROR}]", f"may not {what} mirror pod annotation")


def _tolerations(spec: Obj, before: Obj) -> Errors:
    """Tolerations are only added; tolerationSeconds may change."""

    def bare(toleration: Obj) -> Obj:
        return {key: value for key, value in toleration.items() if key != "tolerationSeconds" and value}

    kept = [bare(toleration) for toleration in spec.get("tolerations") or ()]
    if any(bare(toleration) not in kept for toleration in before.get("tolerations") or ()):
        yield forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")


def _gates(spec: Obj, before: Obj) -> Errors:
    known = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    for i, gate in enumerate(spec.get("schedulingGates") or ()):
        if gate.get("name") not in known:
            name = gate.get("name", "")
            detail = f"only deletion is allowed, but found new scheduling gate '{name}'"
            yield forbidden(f"spec.schedulingGates[{i}].name", detail)


def _without_updatable(spec: Obj, before: Obj) -> Obj:
    """The new spec with what may change set back to what it was."""
    kept: Obj = plain(spec)
    was: Obj = plain(before)
    for field in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        _copy(field, was, kept)
    for field in ("containers", "initContainers"):
        for container, container_before in zip(kept.get(field) or (), was.get(field) or (), strict=False):
            _copy("image", container_before, container)
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        _copy("terminationGracePeriodSeconds", was, kept)
    if before.get("schedulingGates"):
        # A gated pod may be aimed more narrowly: selectors are added, node affinity refined.
        selector, selector_before = kept.get("nodeSelector") or {}, was.get("nodeSelector") or {}
        if selector_before.items() <= selector.items():
            _copy("nodeSelector", was, kept)
        if isinstance(kept.get("affinity"), dict):
            _copy("nodeAffinity", was.get("affinity") or {}, kept["affinity"])
            kept = plain(kept)
    return kept


def _copy(field: str, source: Obj, target: Obj) -> None:
    if field in source:
        target[field] = source[field]
    else:
        target.pop(field, None)


def plain(value: Any, key: str = "") -> Any:
    """A copy without what Go's clients leave out when they write: empty and zero values."""
    if isinstance(value, dict):
        made = {name: plain(item, name) for name, item in value.items()}
        return {
            name: item
            for name, item in made.items()
            if item or (item is not None and name in _OPTIONAL and not isinstance(item, str | dict | list))
        }
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value
