"""The checks of the baseline level: what would let a pod out of its box.

Source: Kubernetes documentation, "Pod Security Standards", Baseline; messages are kube-apiserver's.
"""

from __future__ import annotations

from functools import partial

from hawser.api.podsecurity.words import (
    Violation,
    containers,
    has_own_users,
    named,
    names,
    plural,
    quoted,
    security,
    setters,
)
from hawser.api.types import Obj

_CAPABILITIES = frozenset(
    (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)
_HOST_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_SELINUX = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))
_SELINUX_31 = _SELINUX | {"container_engine_t"}
_PROFILES = ("RuntimeDefault", "Localhost")
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    )
)
_SYSCTLS_27 = _SYSCTLS | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_29 = _SYSCTLS_27 | {
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
_SYSCTLS_32 = _SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def _profiled(spec: Obj, field: str) -> tuple[str, list[str]]:
    """Who has a profile (a field of security contexts) that is neither the runtime's nor the node's, and its types."""
    bad: set[str] = set()

    def wrong(part: Obj) -> bool:
        profile = security(part).get(field)
        if profile is None or profile.get("type") in _PROFILES:
            return False
        bad.add(profile.get("type", ""))
        return True

    pod = wrong(spec)
    return setters(pod, names(spec, wrong)), sorted(bad)


def app_armor(metadata: Obj, spec: Obj) -> Violation | None:
    """Only the runtime's own profile or one of the node's."""
    who, bad = _profiled(spec, "appArmorProfile")
    annotations = sorted(
        f'{key}="{value}"'
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith(_APPARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    )
    if not who and not annotations:
        return None
    if annotations:
        where = plural("annotation", annotations)
        who = f"{who} and {where}" if who else where
    values = bad + annotations
    return Violation(
        plural("forbidden AppArmor profile", values), f"{who} must not set AppArmor profile type to {quoted(values)}"
    )


def capabilities(metadata: Obj, spec: Obj) -> Violation | None:
    """None beyond the runtime's default ones."""
    bad: set[str] = set()

    def wrong(container: Obj) -> bool:
        added = {c for c in (security(container).get("capabilities") or {}).get("add") or () if c not in _CAPABILITIES}
        bad.update(added)
        return bool(added)

    listed = names(spec, wrong)
    if not listed:
        return None
    return Violation(
        "non-default capabilities",
        f"{named(listed)} must not include {quoted(sorted(bad))} in securityContext.capabilities.add",
    )


def host_namespaces(metadata: Obj, spec: Obj) -> Violation | None:
    """Nothing is shared with the node."""
    found = [f"{name}=true" for name in _HOST_NAMESPACES if spec.get(name)]
    return Violation("host namespaces", ", ".join(found)) if found else None


def host_paths(metadata: Obj, spec: Obj) -> Violation | None:
    """No files of the node."""
    listed = [volume["name"] for volume in spec.get("volumes") or () if volume.get("hostPath") is not None]
    return Violation("hostPath volumes", named(listed, "volume")) if listed else None


def host_ports(metadata: Obj, spec: Obj) -> Violation | None:
    """No ports of the node."""
    bad: set[str] = set()

    def wrong(container: Obj) -> bool:
        ports = {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}
        bad.update(ports)
        return bool(ports)

    listed = names(spec, wrong)
    if not listed:
        return None
    uses = plural("uses", listed, "use")
    return Violation("hostPort", f"{named(listed)} {uses} {plural('hostPort', bad)} {', '.join(sorted(bad))}")


def host_probes(metadata: Obj, spec: Obj) -> Violation | None:
    """Probes and lifecycle handlers ask the pod itself, and nobody else in the node's network."""
    bad: set[str] = set()

    def wrong(container: Obj) -> bool:
        lifecycle = container.get("lifecycle") or {}
        handlers = [container.get(probe) for probe in _PROBES] + [lifecycle.get("postStart"), lifecycle.get("preStop")]
        hosts = {
            action["host"]
            for handler in handlers
            if handler
            for action in (handler.get("httpGet"), handler.get("tcpSocket"))
            if action and action.get("host")
        }
        bad.update(hosts)
        return bool(hosts)

    listed = sorted(set(names(spec, wrong)))
    if not listed:
        return None
    hosts = plural("probe or lifecycle host", bad)
    return Violation(
        "probe or lifecycle host",
        f"{named(listed)} {plural('uses', listed, 'use')} {hosts} {quoted(sorted(bad))}",
    )


def privileged(metadata: Obj, spec: Obj) -> Violation | None:
    """No container that is not contained."""
    listed = names(spec, lambda container: bool(security(container).get("privileged")))
    return Violation("privileged", f"{named(listed)} must not set securityContext.privileged=true") if listed else None


def proc_mount(metadata: Obj, spec: Obj) -> Violation | None:
    """/proc is masked as the runtime does it."""
    bad: set[str] = set()

    def wrong(container: Obj) -> bool:
        mount = security(container).get("procMount")
        if mount is None or mount == "Default":
            return False
        bad.add(mount)
        return True

    listed = names(spec, wrong)
    if not listed:
        return None
    return Violation("procMount", f"{named(listed)} must not set securityContext.procMount to {quoted(sorted(bad))}")


def proc_mount_35(metadata: Obj, spec: Obj) -> Violation | None:
    """An unmasked /proc does no harm in a user namespace."""
    return None if has_own_users(spec) else proc_mount(metadata, spec)


def selinux(metadata: Obj, spec: Obj, allowed: frozenset[str] = _SELINUX) -> Violation | None:
    """The types of containers, and no user or role."""
    bad: set[str] = set()
    other: set[str] = set()

    def wrong(part: Obj) -> bool:
        options = security(part).get("seLinuxOptions") or {}
        kind = options.get("type") or ""
        if kind not in allowed:
            bad.add(kind)
        other.update(name for name in ("user", "role") if options.get(name))
        return kind not in allowed or bool(options.get("user")) or bool(options.get("role"))

    who = setters(wrong(spec), names(spec, wrong))
    if not who:
        return None
    data = [f"{plural('type', bad)} {quoted(sorted(bad))}"] if bad else []
    data += [f"{name} may not be set" for name in ("user", "role") if name in other]
    return Violation("seLinuxOptions", f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}")


def seccomp_annotations(metadata: Obj, spec: Obj) -> Violation | None:
    """Before v1.19, profiles were annotations."""
    annotations = metadata.get("annotations") or {}
    keys = [_SECCOMP_POD, *(_SECCOMP_CONTAINER + container["name"] for container in containers(spec))]
    bad = sorted({f'{key}="{annotations[key]}"' for key in keys if key in annotations and _unsafe(annotations[key])})
    return Violation("seccompProfile", f"forbidden {plural('annotation', bad)} {', '.join(bad)}") if bad else None


def _unsafe(profile: str) -> bool:
    return profile not in ("runtime/default", "docker/default") and not profile.startswith("localhost/")


def seccomp(metadata: Obj, spec: Obj) -> Violation | None:
    """System calls are filtered by the runtime's own profile or one of the node's, where a profile is given."""
    who, bad = _profiled(spec, "seccompProfile")
    if not who:
        return None
    text = f"{who} must not set securityContext.seccompProfile.type to {quoted(bad)}"
    return Violation("seccompProfile", text)


def sysctls(metadata: Obj, spec: Obj, allowed: frozenset[str] = _SYSCTLS) -> Violation | None:
    """Only those that matter to nobody but the pod."""
    bad = [one["name"] for one in security(spec).get("sysctls") or () if one["name"] not in allowed]
    return Violation("forbidden sysctls", ", ".join(bad)) if bad else None


def host_process(metadata: Obj, spec: Obj) -> Violation | None:
    """No processes of a Windows node."""

    def wrong(part: Obj) -> bool:
        return bool((security(part).get("windowsOptions") or {}).get("hostProcess"))

    who = setters(wrong(spec), names(spec, wrong))
    text = f"{who} must not set securityContext.windowsOptions.hostProcess=true"
    return Violation("hostProcess", text) if who else None


selinux_31 = partial(selinux, allowed=_SELINUX_31)
sysctls_27 = partial(sysctls, allowed=_SYSCTLS_27)
sysctls_29 = partial(sysctls, allowed=_SYSCTLS_29)
sysctls_32 = partial(sysctls, allowed=_SYSCTLS_32)
