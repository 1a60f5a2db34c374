"""Pods that this node will not run, whatever is done about them: kubelet's admission, decided once before the start.

Source: Kubernetes documentation, "Using sysctls in a Kubernetes Cluster", "Restrict a Container's Access to Resources
with AppArmor", "Configure fine-grained SupplementalGroups control"; reasons and messages are kubelet's.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hawser.api.types import Obj
from hawser.node.cri.model import Features
from hawser.node.pod import view
from hawser.node.pod.observed import Waiting

SAFE_SYSCTLS = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
)
_IPC, _NET = "IPC", "Net"
# Which namespace a sysctl belongs to (sysctl documentation of the kernel); others are the node's own.
_NAMESPACES = (("kernel.sem", _IPC), ("kernel.shm", _IPC), ("kernel.msg", _IPC), ("fs.mqueue.", _IPC), ("net.", _NET))


def rejection(pod: Obj, features: Features, unsafe_sysctls: Iterable[str] = ()) -> Waiting | None:
    """Why the node does not take a pod: reason and message for its event; None when it does.

    unsafe_sysctls: names, or prefixes ending in ``*``, that the administrator allows besides the safe ones.
    """
    context = pod["spec"].get("securityContext") or {}
    for row in context.get("sysctls") or ():
        if problem := _sysctl(dotted(row["name"]), pod["spec"], unsafe_sysctls):
            return Waiting("SysctlForbidden", f"forbidden sysctl: {problem}")
    if _wants_apparmor(pod) and not apparmor_enabled():
        return Waiting("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")
    if context.get("supplementalGroupsPolicy") == "Strict" and not features.supplemental_groups_policy:
        text = "SupplementalGroupsPolicy=Strict is not supported in this node"
        return Waiting("SupplementalGroupsPolicyNotSupported", text)
    return None


def dotted(name: str) -> str:
    """A sysctl's name with dots between its parts: sysctl(8) allows slashes, and then dots inside of a part."""
    first = next((letter for letter in name if letter in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("./", "/."))


def namespaced(name: str) -> str:
    """The kind of namespace that a sysctl, or a prefix of some, belongs to; "" for the node's own."""
    for prefix, namespace in _NAMESPACES:
        if name == prefix or (prefix != "kernel.sem" and name.startswith(prefix)):
            return namespace
    return ""


def _sysctl(name: str, spec: Obj, unsafe: Iterable[str]) -> str:
    if not any(_fits(name, dotted(pattern)) for pattern in (*SAFE_SYSCTLS, *unsafe)):
        return f'"{name}" not allowlisted'
    namespace = namespaced(name)
    if (namespace == _IPC and spec.get("hostIPC")) or (namespace == _NET and spec.get("hostNetwork")):
        return f'"{name}" not allowed with host {namespace} enabled'
    return ""


def _fits(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _wants_apparmor(pod: Obj) -> bool:
    parts = [pod["spec"], *(container for _, container in view.every_container(pod))]
    profiles = [(part.get("securityContext") or {}).get("appArmorProfile") for part in parts]
    return any(profile and profile.get("type") != "Unconfined" for profile in profiles)


def apparmor_enabled() -> bool:
    """Whether the kernel enforces AppArmor profiles."""
    try:
        return Path("/sys/module/apparmor/parameters/enabled").read_text().startswith("Y")
    except OSError:
        return False
