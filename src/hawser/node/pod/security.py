"""Security contexts as CRI takes them.

Source: Kubernetes documentation, "Configure a Security Context for a Pod or Container"; CRI's api.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawser.api.types import Obj
from hawser.node.cri.model import Image
from hawser.node.pod import view
from hawser.node.pod.env import ConfigError

_POD, _CONTAINER, _NODE, _TARGET = 0, 1, 2, 3
_RUNTIME_DEFAULT, _UNCONFINED, _LOCALHOST = 0, 1, 2

# What an unprivileged container must not see or change in /proc and /sys (documentation of procMount, "Default").
MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def namespaces(pod: Obj, users: Mapping[str, Any] | None = None) -> Obj:
    """runtime.v1 NamespaceOption of a pod's sandbox and containers. users: UserNamespace, if it has one of its own."""
    spec = pod["spec"]
    pid = _NODE if spec.get("hostPID") else _POD if spec.get("shareProcessNamespace") else _CONTAINER
    return {
        "network": _NODE if spec.get("hostNetwork") else _POD,
        "pid": pid,
        "ipc": _NODE if spec.get("hostIPC") else _POD,
        "userns_options": users or {"mode": _NODE},
    }


def share_processes(config: Obj, container_id: str) -> None:
    """Puts a container (ContainerConfig) among another's processes, unless it is among all of the pod's or node's."""
    options = config["linux"]["security_context"]["namespace_options"]
    if options["pid"] == _CONTAINER:
        options["pid"], options["target_id"] = _TARGET, container_id


def sandbox_security(pod: Obj, seccomp_root: str, users: Mapping[str, Any] | None = None) -> Obj:
    """runtime.v1 LinuxSandboxSecurityContext."""
    context = pod["spec"].get("securityContext") or {}
    privileged = any(
        (c.get("securityContext") or {}).get("privileged")
        for field in ("initContainers", "containers")
        for c in pod["spec"].get(field) or ()
    )
    result: Obj = {
        "namespace_options": namespaces(pod, users),
        "privileged": privileged,
        "seccomp": {"profile_type": _RUNTIME_DEFAULT if _confined(pod) else _UNCONFINED},
        "supplemental_groups": _groups(context),
    }
    if context.get("seccompProfile"):
        result["seccomp"] = _seccomp(context["seccompProfile"], seccomp_root)
    if context.get("runAsUser") is not None:
        result["run_as_user"] = {"value": context["runAsUser"]}
    if context.get("runAsGroup") is not None and context.get("runAsUser") is not None:
        result["run_as_group"] = {"value": context["runAsGroup"]}
    return result


def _confined(pod: Obj) -> bool:
    """Whether the pause process gets a filter of its own.

    It reads no input, so a filter matters only where a container has one that it could shed by tracing the pause
    process. Loading one costs a fifth of a sandbox's start, so pods without any do without it.
    """
    parts = [pod["spec"], *(c for field in ("initContainers", "containers") for c in pod["spec"].get(field) or ())]
    return any((part.get("securityContext") or {}).get("seccompProfile") for part in parts)


def container_security(
    pod: Obj, container: Obj, image: Image, seccomp_root: str, users: Mapping[str, Any] | None = None
) -> Obj:
    """runtime.v1 LinuxContainerSecurityContext. Raises ConfigError when runAsNonRoot cannot be granted."""
    shared = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}

    def pick(name: str) -> Any:
        return own[name] if own.get(name) is not None else shared.get(name)

    user, group = pick("runAsUser"), pick("runAsGroup")
    if pick("runAsNonRoot"):
        _check_non_root(pod, container, user, image)
    privileged = bool(own.get("privileged"))
    result: Obj = {
        "namespace_options": namespaces(pod, users),
        "privileged": privileged,
        "readonly_rootfs": bool(own.get("readOnlyRootFilesystem")),
        "no_new_privs": own.get("allowPrivilegeEscalation") is False,
        "supplemental_groups": _groups(shared),
    }
    if user is not None:
        result["run_as_user"] = {"value": user}
    elif image.uid is not None:
        result["run_as_user"] = {"value": image.uid}
    elif image.username:
        result["run_as_username"] = image.username
    else:
        # An image that names no user runs as root; said outright, because a group alone is refused by CRI.
        result["run_as_user"] = {"value": 0}
    if group is not None:
        result["run_as_group"] = {"value": group}
    if shared.get("supplementalGroupsPolicy") == "Strict":
        result["supplemental_groups_policy"] = 1
    capabilities = own.get("capabilities") or {}
    if capabilities:
        result["capabilities"] = {
            "add_capabilities": list(capabilities.get("add") or ()),
            "drop_capabilities": list(capabilities.get("drop") or ()),
        }
    if not privileged and own.get("procMount") != "Unmasked":
        result["masked_paths"], result["readonly_paths"] = list(MASKED_PATHS), list(READONLY_PATHS)
    profile = pick("seccompProfile")
    result["seccomp"] = _seccomp(profile, seccomp_root) if profile and not privileged else {"profile_type": _UNCONFINED}
    apparmor = pick("appArmorProfile")
    if apparmor:
        kinds = {"RuntimeDefault": _RUNTIME_DEFAULT, "Unconfined": _UNCONFINED, "Localhost": _LOCALHOST}
        result["apparmor"] = {
            "profile_type": kinds[apparmor["type"]],
            "localhost_ref": apparmor.get("localhostProfile") or "",
        }
    return result


def _check_non_root(pod: Obj, container: Obj, user: int | None, image: Image) -> None:
    where = f'(pod: "{view.full_name(pod)}", container: {container["name"]})'
    if user is not None:
        if user == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
        return
    if image.uid is not None:
        if image.uid == 0:
            raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
        return
    if image.username:
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({image.username}), cannot verify user is "
            f"non-root {where}"
        )
    raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")


def _groups(context: Obj) -> list[int]:
    groups = list(context.get("supplementalGroups") or ())
    if context.get("fsGroup") is not None:
        groups.append(context["fsGroup"])
    return groups


def _seccomp(profile: Obj, root: str) -> Obj:
    match profile.get("type"):
        case "RuntimeDefault":
            return {"profile_type": _RUNTIME_DEFAULT}
        case "Localhost":
            return {"profile_type": _LOCALHOST, "localhost_ref": f"{root}/{profile.get('localhostProfile', '')}"}
    return {"profile_type": _UNCONFINED}
