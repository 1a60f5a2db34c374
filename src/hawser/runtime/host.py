# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH103, PTH110, PTH118, PTH123
"""What the edits need to know of the host: control groups, resource limits, a static init, the machine id."""

from __future__ import annotations

import os
import resource

from .edited import EditError
from .facts import Cgroups
from .light import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .units import Group

_INITS = (
    "/usr/libexec/hawser/init",
    "/usr/bin/catatonit",
    "/usr/libexec/podman/catatonit",
    "/usr/bin/tini-static",
    "/usr/bin/docker-init",
    "/usr/libexec/docker/docker-init",
    "/usr/bin/tini",
    "/sbin/tini",
    "/usr/bin/dumb-init",
)
_LIMITS = "CPU FSIZE DATA STACK CORE RSS NOFILE AS NPROC MEMLOCK SIGPENDING MSGQUEUE NICE RTPRIO".split()  # noqa: SIM905
_WATCHERS = 8192
_V2_ONLY = 258  # the first systemd without cgroup v1
_ELF_INTERPRETER = 3  # PT_INTERP, elf(5)


def cgroups(spec: dict[str, Any], container_id: str, mountinfo: str, systemd: int = 0) -> Cgroups:
    """How control groups look to this version of systemd; on v1, gives `spec` a cgroup path whose place is known.

    The path of a container has to be known before the runtime runs, because the mount of its own part of the
    name=systemd hierarchy is part of the specification: or, for a systemd without v1 (258, NEWS), of the v2 hierarchy
    that is beside it on a hybrid host. Raises EditError where there is none.
    """
    layout = parse_mountinfo(mountinfo)
    if not layout.named_systemd:
        path = (spec.get("linux") or {}).get("cgroupsPath") or ""
        # runc gives a group to root of the container only where the user namespace is not shared, as a pod's is.
        shared = root_of(spec) != (0, 0) and (path.startswith("/") or path.count(":") == 2)
        return layout._replace(own="/sys/fs/cgroup" + place(path)) if shared else layout
    if systemd >= _V2_ONLY and not layout.unified:
        raise EditError(
            f"init systemd: systemd {systemd} knows cgroup v2 alone, which this node has not mounted; "
            "boot the node with systemd.unified_cgroup_hierarchy=1, or mount cgroup2 at /sys/fs/cgroup/unified"
        )
    linux = spec.setdefault("linux", {})
    path = linux.get("cgroupsPath") or ""
    if not path.startswith("/") and path.count(":") != 2:
        # runc would put a relative path below its own group, which is nowhere that we know.
        path = linux["cgroupsPath"] = "/" + (path or container_id)
    if systemd >= _V2_ONLY:
        return layout._replace(v2=True, named_systemd="", unified=layout.unified + place(path))
    return layout._replace(named_systemd=layout.named_systemd + place(path), unified="")


def place(path: str) -> str:
    """A container's place in every hierarchy, by the specification's path of it."""
    return path if path.startswith("/") else expand_scope(path)


def parse_mountinfo(mountinfo: str) -> Cgroups:
    """The layout that the host's /proc/self/mountinfo tells; proc_pid_mountinfo(5)."""
    named = beside = ""
    for place, kind, options in _hierarchies(mountinfo):
        if kind == "cgroup" and "name=systemd" in options.split(","):
            named = place
        elif kind == "cgroup2" and place != "/sys/fs/cgroup" and not beside:
            beside = place
    if named:
        return Cgroups(v2=False, named_systemd=named, unified=beside)
    return Cgroups(v2=True)


def controllers(mountinfo: str) -> dict[str, str]:
    """Where the hierarchies of cgroup v1 are mounted, by controller."""
    found: dict[str, str] = {}
    for mounted, kind, options in _hierarchies(mountinfo):
        if kind == "cgroup":
            found |= dict.fromkeys(options.split(","), mounted)
    return found


def _hierarchies(mountinfo: str) -> list[tuple[str, str, str]]:
    """Mounted control groups: where, of which version, with which options."""
    found = []
    for line in mountinfo.split("\n"):  # what pods mount may have anything else in its name that ends a line elsewhere
        left, _, right = line.partition(" - ")
        kind, _, options = [*right.split(" "), "", ""][:3]
        if kind in ("cgroup", "cgroup2"):
            found.append((left.split(" ")[4], kind, options))
    return found


def mountinfo() -> str:
    """What is mounted on this node, proc_pid_mountinfo(5)."""
    return told("mountinfo")


def mounts() -> list[list[str]]:
    """What is mounted on this node, the words of each line of proc_pid_mounts(5)."""
    return [line.split(" ") for line in told("mounts").split("\n")[:-1]]


def told(name: str) -> str:
    """What the kernel tells of this process in a file below /proc/self.

    Names that pods give to what is mounted need not be UTF-8, and a newline alone ends a line: they may hold all else
    that Python takes for a blank or the end of a line, and that it would read as a newline from a file of text.
    """
    with open(f"/proc/self/{name}", "rb") as file:
        return file.read().decode("utf-8", "surrogateescape")


def memory_group(spec: dict[str, Any], mountinfo: str) -> str:
    """The directory of the control group that will count a container's memory; "" when only the runtime knows."""
    path = (spec.get("linux") or {}).get("cgroupsPath") or ""
    if not path.startswith("/") and path.count(":") != 2:
        return ""
    found = controllers(mountinfo)
    base = found.get("memory", "") if found else "/sys/fs/cgroup"
    return base + place(path) if base else ""


def root_of(spec: dict[str, Any]) -> tuple[int, int]:
    """Who root of the container is on the host: another one with a user namespace."""

    def root(mappings: list[dict[str, int]] | None) -> int:
        return next((m["hostID"] for m in mappings or [] if m["containerID"] == 0), 0)

    linux = spec.get("linux") or {}
    return root(linux.get("uidMappings")), root(linux.get("gidMappings"))


def delegate(directory: str, owner: tuple[int, int]) -> None:
    """Makes a control group that is root's of the container, who is another one of the host with a user namespace.

    Source: cgroups(7), "Cgroup delegation". v1 is the hierarchy of systemd alone, which limits nothing.
    """
    os.makedirs(directory, exist_ok=True)
    if owner == (0, 0):
        return
    names = ["tasks", "cgroup.procs"]
    try:
        with open("/sys/kernel/cgroup/delegate", encoding="ascii") as file:
            names += file.read().split()
    except OSError:
        names += ["cgroup.threads", "cgroup.subtree_control"]
    for path in (directory, *(os.path.join(directory, name) for name in names)):
        if os.path.exists(path):
            os.chown(path, *owner)


def make_groups(groups: list[Group], owner: tuple[int, int]) -> None:
    """Makes control groups with their limits, before the runtime fills the one above. It also removes them.

    owner: root of the container, who may join them and no more.
    """
    for group in groups:
        os.makedirs(group.directory, exist_ok=True)
        for name, value in group.settings:
            path = os.path.join(group.directory, name)
            # Kernels without swap accounting do not have its file.
            if os.path.exists(path):
                with open(path, "w", encoding="utf-8") as file:
                    file.write(value)
        os.chown(os.path.join(group.directory, "cgroup.procs"), *owner)


def expand_scope(path: str) -> str:
    """The directory of runc's "slice:prefix:name"; systemd.slice(5) for the nesting that dashes stand for."""
    parent, prefix, name = path.split(":")
    parent = parent or "system.slice"
    nested, sofar = "", ""
    for piece in parent[: -len(".slice")].split("-"):
        sofar = f"{sofar}-{piece}" if sofar else piece
        nested += f"/{sofar}.slice" if piece else ""
    unit = name if name.endswith(".slice") else f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    return f"{nested}/{unit}"


def limits(process: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The resource limits the application would have as pid 1: this process's own, and what the pod sets."""
    result = {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in _LIMITS}
    for limit in process.get("rlimits") or []:
        result[limit["type"].replace("RLIMIT_", "")] = (limit["soft"], limit["hard"])
    return tuple((name, ":".join(_limit(value) for value in pair)) for name, pair in result.items())


def _limit(value: int) -> str:
    return "infinity" if value == resource.RLIM_INFINITY or value >= 2**63 else str(value)


def static_init(paths: tuple[str, ...] = _INITS) -> str:
    """The first minimal init of the host that runs in any image; "" when there is none."""
    return next((path for path in paths if os.access(path, os.X_OK) and is_static(path)), "")


def is_static(path: str) -> bool:
    """Whether an executable is an ELF file that needs no interpreter; elf(5), 64-bit little-endian only."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if head[:6] != b"\x7fELF\x02\x01":
        return False
    start, size, count = (
        int.from_bytes(head[32:40], "little"),
        int.from_bytes(head[54:56], "little"),
        int.from_bytes(head[56:58], "little"),
    )
    kinds = [int.from_bytes(head[start + i * size : start + i * size + 4], "little") for i in range(count)]
    return _ELF_INTERPRETER not in kinds


def machine_id(annotations: dict[str, str], container_id: str) -> str:
    """32 hex digits for /etc/machine-id: the same for a container of a pod whenever it is made again, else another."""
    pod = ("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid")
    made = ("io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID")
    sandbox = next((annotations[key] for key in (*pod, *made) if annotations.get(key)), "")
    name = annotations.get("io.kubernetes.cri.container-name") or annotations.get("io.kubernetes.container.name") or ""
    seed = f"{sandbox}/{name}" if sandbox else container_id
    return _sha256(seed)[:32]


def _sha256(text: str) -> str:
    """The digest in hexadecimal; without hashlib's OpenSSL, which takes longer to load than all else of an edit."""
    for module in ("_sha2", "_sha256", "hashlib"):  # CPython since 3.12, before, and any Python
        try:
            return str(__import__(module).sha256(text.encode()).hexdigest())
        except ImportError:
            pass
    raise OSError("this Python has no SHA-256")


def allow_watches(path: str = "/proc/sys/fs/inotify/max_user_instances") -> None:
    """Raises the node's limit of inotify instances where it is low; inotify(7).

    Root of all containers is one user there. systemd and the usual services take five of the kernel's 128, and the
    systemd that gets none stands still.
    """
    try:
        with open(path, encoding="ascii") as file:
            limit = int(file.read())
        if limit < _WATCHERS:
            with open(path, "w", encoding="ascii") as file:
                file.write(str(_WATCHERS))
    except (OSError, ValueError):
        pass  # /proc/sys is read-only here: the node's administrator decides


def forget_login() -> None:
    """Forgets who logged in to start the engine, if anybody did; proc_pid_loginuid(5).

    Without CAP_AUDIT_CONTROL a login uid can be set but once, so the container's pam_loginuid would refuse logins.
    """
    try:
        with open("/proc/self/loginuid", "w", encoding="ascii") as file:
            file.write(str(2**32 - 1))
    except OSError:
        pass  # no audit in the kernel, or it is set for good: the image decides whether that matters
