"""The checks of the restricted level: what a careful pod says of itself.

Source: Kubernetes documentation, "Pod Security Standards", Restricted; messages are kube-apiserver's.
"""

from __future__ import annotations

from hawser.api.podsecurity import baseline
from hawser.api.podsecurity.words import (
    Check,
    Violation,
    has_own_users,
    named,
    names,
    on_windows,
    plural,
    quoted,
    security,
    setters,
)
from hawser.api.types import Obj

_VOLUMES = (
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"),
)
_RESTRICTED_VOLUMES = (
    *("hostPath", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "nfs", "iscsi", "glusterfs", "rbd"),
    *("flexVolume", "cinder", "cephfs", "flocker", "fc", "azureFile", "vsphereVolume", "quobyte", "azureDisk"),
    *("photonPersistentDisk", "portworxVolume", "scaleIO", "storageos"),
)


def allow_privilege_escalation(metadata: Obj, spec: Obj) -> Violation | None:
    """Set-user-ID files give nothing."""
    listed = names(spec, lambda container: security(container).get("allowPrivilegeEscalation") is not False)
    text = f"{named(listed)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", text) if listed else None


def capabilities(metadata: Obj, spec: Obj) -> Violation | None:
    """All are dropped; ports below 1024 may be had back."""

    def given(container: Obj, name: str) -> list[str]:
        return (security(container).get("capabilities") or {}).get(name) or []

    bad: set[str] = set()

    def adds(container: Obj) -> bool:
        added = {capability for capability in given(container, "add") if capability != "NET_BIND_SERVICE"}
        bad.update(added)
        return bool(added)

    keeping = names(spec, lambda container: "ALL" not in given(container, "drop"))
    adding = names(spec, adds)
    details = [f'{named(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
    if adding:
        details.append(f"{named(adding)} must not include {quoted(sorted(bad))} in securityContext.capabilities.add")
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


def volumes(metadata: Obj, spec: Obj) -> Violation | None:
    """The pod's own volumes and claims, nothing that reaches into the node or past the claims."""
    bad = [v for v in spec.get("volumes") or () if all(v.get(kind) is None for kind in _VOLUMES)]
    if not bad:
        return None
    kinds = {next((kind for kind in _RESTRICTED_VOLUMES if v.get(kind) is not None), "unknown") for v in bad}
    who = f"{named([v['name'] for v in bad], 'volume')} {plural('uses', bad, 'use')}"
    return Violation(
        "restricted volume types", f"{who} {plural('restricted volume type', kinds)} {quoted(sorted(kinds))}"
    )


def run_as_non_root(metadata: Obj, spec: Obj) -> Violation | None:
    """Nobody is root, and everybody says so."""
    reason = "runAsNonRoot != true"
    pod = security(spec).get("runAsNonRoot")
    who = setters(pod is False, names(spec, lambda container: security(container).get("runAsNonRoot") is False))
    if who:
        return Violation(reason, f"{who} must not set securityContext.runAsNonRoot=false")
    silent = [] if pod else names(spec, lambda container: security(container).get("runAsNonRoot") is None)
    text = f"pod or {named(silent)} must set securityContext.runAsNonRoot=true"
    return Violation(reason, text) if silent else None


def run_as_user(metadata: Obj, spec: Obj) -> Violation | None:
    """Nobody asks for user 0."""

    def root(part: Obj) -> bool:
        return security(part).get("runAsUser") == 0

    who = setters(root(spec), names(spec, root))
    return Violation("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def seccomp(metadata: Obj, spec: Obj) -> Violation | None:
    """System calls are filtered."""
    found = baseline.seccomp(metadata, spec)
    if found is not None or security(spec).get("seccompProfile") is not None:
        return found
    silent = names(spec, lambda container: security(container).get("seccompProfile") is None)
    text = f'pod or {named(silent)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Violation("seccompProfile", text) if silent else None


def but_windows(check: Check) -> Check:
    """Since v1.25 pods for Windows need not say what means nothing there."""
    return lambda metadata, spec: None if on_windows(spec) else check(metadata, spec)


def but_own_users(check: Check) -> Check:
    """Since v1.35 root of a user namespace is as good as nobody."""
    return lambda metadata, spec: None if has_own_users(spec) else check(metadata, spec)
