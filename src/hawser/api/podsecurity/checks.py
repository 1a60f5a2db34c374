"""All checks by level and version, and what a pod violates.

Source: Kubernetes documentation, "Pod Security Standards" (which fields since which version); KEP-2579.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from hawser.api.podsecurity import baseline, restricted
from hawser.api.podsecurity.levels import Level, Rule
from hawser.api.podsecurity.words import Check, Violation
from hawser.api.types import Obj


class Row(NamedTuple):
    """One check. versions: from which minor version which function; instead: the baseline check that it replaces."""

    name: str
    versions: tuple[tuple[int, Check], ...]
    instead: str = ""


_BASELINE = (
    Row("appArmorProfile", ((0, baseline.app_armor),)),
    Row("capabilities_baseline", ((0, baseline.capabilities),)),
    Row("hostNamespaces", ((0, baseline.host_namespaces),)),
    Row("hostPathVolumes", ((0, baseline.host_paths),)),
    Row("hostPorts", ((0, baseline.host_ports),)),
    Row("hostProbesAndHostLifecycle", ((34, baseline.host_probes),)),
    Row("privileged", ((0, baseline.privileged),)),
    Row("procMount", ((0, baseline.proc_mount), (35, baseline.proc_mount_35))),
    Row("seLinuxOptions", ((0, baseline.selinux), (31, baseline.selinux_31))),
    Row("seccompProfile_baseline", ((0, baseline.seccomp_annotations), (19, baseline.seccomp))),
    Row(
        "sysctls",
        ((0, baseline.sysctls), (27, baseline.sysctls_27), (29, baseline.sysctls_29), (32, baseline.sysctls_32)),
    ),
    Row("windowsHostProcess", ((0, baseline.host_process),)),
)
_RESTRICTED = (
    Row(
        "allowPrivilegeEscalation",
        (
            (8, restricted.allow_privilege_escalation),
            (25, restricted.but_windows(restricted.allow_privilege_escalation)),
        ),
    ),
    Row(
        "capabilities_restricted",
        ((22, restricted.capabilities), (25, restricted.but_windows(restricted.capabilities))),
        "capabilities_baseline",
    ),
    # What baseline lets pods of their own users do, restricted does not.
    Row("procMount_restricted", ((35, baseline.proc_mount),), "procMount"),
    Row("restrictedVolumes", ((0, restricted.volumes),), "hostPathVolumes"),
    Row("runAsNonRoot", ((0, restricted.run_as_non_root), (35, restricted.but_own_users(restricted.run_as_non_root)))),
    Row("runAsUser", ((23, restricted.run_as_user), (35, restricted.but_own_users(restricted.run_as_user)))),
    Row(
        "seccompProfile_restricted",
        ((19, restricted.seccomp), (25, restricted.but_windows(restricted.seccomp))),
        "seccompProfile_baseline",
    ),
)


def _at(row: Row, version: int) -> Check | None:
    """The check as of a version; None before it began."""
    found = None
    for since, check in row.versions:
        if since <= version:
            found = check
    return found


@lru_cache(maxsize=64)
def _checks(rule: Rule) -> tuple[Check, ...]:
    if rule.level is Level.PRIVILEGED:
        return ()
    rows = list(_BASELINE)
    if rule.level is Level.RESTRICTED:
        replaced = {row.instead for row in _RESTRICTED if _at(row, rule.version) is not None}
        rows = [*(row for row in _BASELINE if row.name not in replaced), *_RESTRICTED]
    return tuple(check for row in rows if (check := _at(row, rule.version)) is not None)


def violations(rule: Rule, metadata: Obj, spec: Obj) -> list[Violation]:
    """What of a pod (its metadata and spec) a rule forbids, in the order in which messages say it."""
    return [found for check in _checks(rule) if (found := check(metadata, spec)) is not None]


def reasons(found: list[Violation]) -> str:
    """In short: ``host namespaces, privileged``."""
    return ", ".join(violation.reason for violation in found)


def details(found: list[Violation]) -> str:
    """In full: ``host namespaces (hostNetwork=true), privileged (container "a" ...)``."""
    return ", ".join(map(str, found))
