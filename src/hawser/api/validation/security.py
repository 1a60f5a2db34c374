"""Validation of security contexts. Source: API reference, PodSecurityContext and SecurityContext."""

from __future__ import annotations

import re

from hawser.api.types import Obj
from hawser.api.validation.rules import (
    MAX_INT32,
    Errors,
    duplicate,
    in_range,
    invalid,
    one_of,
    required,
    unsupported,
)

_SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_is_sysctl = re.compile(_SYSCTL).fullmatch
_NET = ("net.", "net/")
_IPC = ("kernel.shm", "kernel.msg", "kernel.sem", "kernel/shm", "kernel/msg", "kernel/sem", "fs.mqueue.", "fs/mqueue/")


def pod_security(context: Obj, spec: Obj, path: str) -> Errors:
    for field in ("fsGroup", "runAsUser", "runAsGroup"):
        yield from in_range(f"{path}.{field}", context.get(field), 0, MAX_INT32)
    for i, group in enumerate(context.get("supplementalGroups") or ()):
        yield from in_range(f"{path}.supplementalGroups[{i}]", group, 0, MAX_INT32)
    if context.get("supplementalGroupsPolicy") is not None:
        yield from one_of(f"{path}.supplementalGroupsPolicy", context["supplementalGroupsPolicy"], ("Merge", "Strict"))
    if context.get("fsGroupChangePolicy") is not None:
        yield from one_of(f"{path}.fsGroupChangePolicy", context["fsGroupChangePolicy"], ("Always", "OnRootMismatch"))
    if context.get("seLinuxChangePolicy") is not None:
        policies = ("MountOption", "Recursive")
        yield from one_of(f"{path}.seLinuxChangePolicy", context["seLinuxChangePolicy"], policies)
    seen = set()
    for i, sysctl in enumerate(context.get("sysctls") or ()):
        name, at = sysctl.get("name", ""), f"{path}.sysctls[{i}].name"
        if not name:
            yield required(at)
        elif len(name) > 253 or not _is_sysctl(name):
            yield invalid(at, name, f"must have at most 253 characters and match regex ^{_SYSCTL}$")
        elif name in seen:
            yield duplicate(at, name)
        seen.add(name)
        if spec.get("hostNetwork") and name.startswith(_NET):
            yield invalid(at, name, "may not be specified when 'hostNetwork' is true")
        if spec.get("hostIPC") and name.startswith(_IPC):
            yield invalid(at, name, "may not be specified when 'hostIPC' is true")
    yield from _profiles(context, path)


def container_security(context: Obj, spec: Obj, path: str) -> Errors:
    for field in ("runAsUser", "runAsGroup"):
        yield from in_range(f"{path}.{field}", context.get(field), 0, MAX_INT32)
    mount = context.get("procMount")
    if mount is not None:
        if mount not in ("Default", "Unmasked"):
            yield unsupported(f"{path}.procMount", mount, ("Default", "Unmasked"))
        elif mount == "Unmasked" and spec.get("hostUsers") is not False:
            yield invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`")
    yield from _profiles(context, path)
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            yield invalid(path, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
        for capability in (context.get("capabilities") or {}).get("add") or ():
            if capability == "CAP_SYS_ADMIN":
                detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
                yield invalid(path, context, detail)


def _profiles(context: Obj, path: str) -> Errors:
    """Seccomp and AppArmor profiles: a type, and a name for local ones only."""
    for field, system in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        profile = context.get(field)
        if profile is None:
            continue
        at, kind, local = f"{path}.{field}", profile.get("type", ""), profile.get("localhostProfile")
        if not kind:
            yield required(f"{at}.type", f"type is required when {field} is set")
        elif kind not in ("Localhost", "RuntimeDefault", "Unconfined"):
            yield unsupported(f"{at}.type", kind, ("Localhost", "RuntimeDefault", "Unconfined"))
        elif kind == "Localhost":
            if not (local or "").strip():
                yield required(f"{at}.localhostProfile", f"must be set when {system} type is Localhost")
            elif system == "seccomp" and (local.startswith("/") or ".." in local.split("/")):
                wrong = "must be a relative path" if local.startswith("/") else "must not contain '..'"
                yield invalid(f"{at}.localhostProfile", local, wrong)
            elif system != "seccomp" and local != local.strip():
                yield invalid(f"{at}.localhostProfile", local, "must not be padded with whitespace")
        elif local is not None:
            yield invalid(f"{at}.localhostProfile", local, f"can only be set when {system} type is Localhost")
