"""A container whose pid 1 is systemd and whose application is a unit of it. Pure.

Sources: systemd.io/CONTAINER_INTERFACE (environment, mounts, stop signal), systemd.service(5), systemd.exec(5),
systemd(1) for SYSTEMD_UNIT_PATH, the OCI runtime specification for control groups.

Everything Hawser adds is in one read-only directory, /dev/hawser; systemd finds its units there by SYSTEMD_UNIT_PATH.
So the image's own directories keep their content, and /dev is the one place that is a fresh tmpfs in every container.
"""

from __future__ import annotations

from . import scripts
from .edited import HOME, EditError, File, Files, login_environment, mounted_home, ready_for_init
from .facts import Facts
from .light import Any
from .options import Options
from .unit import unit_files

# With no CAP_SYS_ADMIN no service can have a mount namespace of its own, so what asks for one only makes it fail
# (systemd#34565). The container is the sandbox; what needs no namespace (seccomp, capabilities) stays as it is.
_NO_NAMESPACES = """\
[Service]
PrivateTmp=no
PrivateDevices=no
PrivateMounts=no
PrivateNetwork=no
PrivateIPC=no
PrivateUsers=no
ProtectSystem=no
ProtectHome=no
ProtectHostname=no
ProtectKernelTunables=no
ProtectKernelModules=no
ProtectKernelLogs=no
ProtectControlGroups=no
ProtectProc=default
ProcSubset=all
MountAPIVFS=no
ReadWritePaths=
ReadOnlyPaths=
InaccessiblePaths=
TemporaryFileSystem=
BindPaths=
BindReadOnlyPaths=
"""
# A login prompt on the container's console would take the application's terminal.
_MASKED = ("console-getty.service", "getty@.service", "serial-getty@.service", "container-getty@.service")
# What looks for devices, encrypted disks and kernel parameters that a container does not have; systemd.generator(7).
_GENERATORS = (
    *("bless-boot", "cryptsetup", "debug", "getty", "gpt-auto", "hibernate-resume", "integritysetup", "run"),
    *("tpm2", "veritysetup"),
)
# Caches of what is in the image anyway, and of hardware: made anew at each start where /etc is older than /usr.
_CACHES = ("ldconfig.service", "systemd-hwdb-update.service", "systemd-journal-catalog-update.service")
# What mounts. Without CAP_SYS_ADMIN it only fails, and a failed mount of /etc/fstab would be an emergency. And with
# nothing to mount, the journal is on /var/log/journal from its beginning: a flag says so.
_MOUNTING = ("systemd-remount-fs.service", "systemd-journal-flush.service")
# Own limits that a container's root may not raise. cgroup2's nsdelegate would keep them from it, too (cgroups(7)), but
# whoever mounts cgroup2 on the host without that option takes it from all, while containers run: lxcfs does.
_LIMIT_FILES = (  # noqa: SIM905
    "cgroup.freeze cgroup.kill cgroup.max.depth cgroup.max.descendants cpu.idle cpu.max cpu.max.burst cpu.uclamp.max "
    "cpu.uclamp.min cpu.weight cpu.weight.nice cpuset.cpus cpuset.cpus.exclusive cpuset.cpus.partition cpuset.mems "
    "dmem.low dmem.max dmem.min hugetlb.1GB.max hugetlb.1GB.rsvd.max "
    "hugetlb.2MB.max hugetlb.2MB.rsvd.max io.bfq.weight io.latency io.max "
    "io.prio.class io.weight memory.high memory.low memory.max memory.min memory.oom.group memory.reclaim "
    "memory.swap.high memory.swap.max memory.zswap.max memory.zswap.writeback misc.max pids.max rdma.max"
).split()


# On cgroup v2 what kubectl exec runs is in the group of systemd itself: groups with others below have no processes of
# their own. When one of them runs out of memory, systemd would by default end all of them.
_SCOPE_POLICY = 253  # the version with OOMPolicy= of scopes

# Until there is a journal, systemd writes to /dev/console, which with a terminal is the application's.
# "+": with none of journald's own restrictions.
_LOG_TARGET = 244  # the version in which systemctl sets it
_JOURNAL = "units/systemd-journald.service.d/10-hawser.conf"
_JOURNAL_LATER = "[Service]\nExecStartPost=-+/bin/sh -c 'exec systemctl log-target journal'\n"
# And what systemd becomes at its end, when there is no journal any more, writes where systemd itself wrote to last.
_LAST = {"exit": "exit-force", "poweroff": "poweroff-force", "halt": "halt-force"}
_QUIET = "/bin/sh -c 'exec systemctl log-target null'"


def edit_systemd(spec: dict[str, Any], options: Options, facts: Facts) -> Files:
    """Makes systemd pid 1 of `spec`, in place; returns the files for /dev/hawser.

    Raises EditError when the image or the pod rules systemd out.
    """
    if not facts.systemd:
        raise EditError("init systemd: the image has no systemd (looked for /sbin/init and /lib/systemd/systemd)")
    if not facts.shell:
        raise EditError("init systemd: the image needs /bin/sh and systemctl")
    if not _own_pid_namespace(spec):
        raise EditError("init systemd: systemd must be pid 1, so the pod can not share its process ID namespace")
    process = spec["process"]
    if (process.get("capabilities") or {}).get("ambient"):
        raise EditError("init systemd: ambient capabilities do not reach the application")
    files = _files(process, options, facts)
    process["args"] = ["/bin/sh", f"{HOME}/boot", facts.systemd, "--show-status=no"]
    if _JOURNAL in files:
        process["args"].append("--log-target=null")
    process["env"] = _pid1_environment(process, facts)
    linux = spec["linux"]
    namespaces = linux.setdefault("namespaces", [])
    if not any(namespace["type"] == "cgroup" for namespace in namespaces):
        namespaces.append({"type": "cgroup"})
    ready_for_init(spec)
    _open_cgroup(spec, facts)
    spec["mounts"] += [mounted_home(), *_mounted(files, facts)]
    return files


def _own_pid_namespace(spec: dict[str, Any]) -> bool:
    kinds = [ns for ns in spec["linux"].get("namespaces") or [] if ns["type"] == "pid"]
    return bool(kinds) and not kinds[0].get("path")


def _pid1_environment(process: dict[str, Any], facts: Facts) -> list[str]:
    given = dict(pair.partition("=")[::2] for pair in process.get("env") or [])
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "container": "hawser",
        "container_uuid": given.get("container_uuid") or facts.machine_id,
        "SYSTEMD_UNIT_PATH": f"{HOME}/units:",
        "SYSTEMD_GENERATOR_PATH": f"{HOME}/generators:",
    }
    if process.get("terminal"):
        env["TERM"] = given.get("TERM") or "xterm"
    return [f"{name}={value}" for name, value in env.items() if value]


def _open_cgroup(spec: dict[str, Any], facts: Facts) -> None:
    cgroups = facts.cgroups
    if cgroups.v2:
        if cgroups.unified:
            # A systemd without v1, on a host that has both: it sees v2 alone, in which nothing is limited.
            spec["mounts"] = [mount for mount in spec["mounts"] if mount["destination"] != "/sys/fs/cgroup"]
            spec["mounts"].append(_bound("/sys/fs/cgroup", cgroups.unified))
        for mount in spec["mounts"]:
            if mount["destination"] == "/sys/fs/cgroup":
                mount["options"] = [option for option in mount.get("options") or [] if option not in ("ro", "rw")]
                mount["options"].append("rw")
        readonly = spec["linux"].setdefault("readonlyPaths", [])
        readonly.extend("/sys/fs/cgroup/" + name for name in _LIMIT_FILES)
        return
    # v1: the controllers stay read-only, or root inside could lift its own limits. systemd needs only its named
    # hierarchy, which limits nothing.
    spec["mounts"].append(_bound("/sys/fs/cgroup/systemd", cgroups.named_systemd))


def _bound(place: str, directory: str) -> dict[str, Any]:
    options = ["rbind", "rw", "nosuid", "nodev", "noexec"]
    return {"destination": place, "type": "bind", "source": directory, "options": options}


def _files(process: dict[str, Any], options: Options, facts: Facts) -> Files:
    files = unit_files(process, options, facts)
    masked, generators = [*_MASKED, *_CACHES], [*_GENERATORS]
    if "CAP_SYS_ADMIN" not in ((process.get("capabilities") or {}).get("bounding") or []):
        files["units/service.d/10-hawser.conf"] = File(_NO_NAMESPACES)
        files["boot"] = File(scripts.BOOT_MOUNTED, 0o755)
        masked += _MOUNTING
        generators.append("fstab")
    if process.get("terminal") and facts.systemd_version >= _LOG_TARGET:
        files[_JOURNAL] = File(_JOURNAL_LATER)
        for name, action in _LAST.items():
            # Not ExecStart: its code would be the container's. What the unit is for comes whatever happens.
            quiet = f"[Service]\nType=oneshot\nTimeoutStartSec=5\nExecStartPre=-{_QUIET}\n"
            files[f"units/systemd-{name}.service.d/10-hawser.conf"] = File(f"[Unit]\nFailureAction={action}\n{quiet}")
        files["units/systemd-reboot.service.d/10-hawser.conf"] = File(f"[Service]\nExecStartPre=-{_QUIET}\n")
    if facts.systemd_version >= _SCOPE_POLICY:
        files["units/init.scope.d/10-hawser.conf"] = File("[Scope]\nOOMPolicy=continue\n")
    files |= {f"units/{unit}": File("/dev/null", link=True) for unit in masked}
    files |= {f"generators/systemd-{name}-generator": File("/dev/null", link=True) for name in generators}
    if facts.limits:
        # The limits that kubectl exec has are those of services too, and so of logins by ssh.
        limits = "".join(f"DefaultLimit{name}={value}\n" for name, value in facts.limits)
        files["system.conf"] = File("[Manager]\n" + limits)
    if facts.login_environment is not None:
        files["login"] = File(login_environment(process, facts.login_environment), 0o600)
    if facts.first_boot and facts.machine_id:
        # Else systemd asks the console for locale and password, and would have to mount the id that it takes.
        files["machine-id"] = File(facts.machine_id + "\n")
        files["units/systemd-machine-id-commit.service"] = File("/dev/null", link=True)
    if not facts.systemd_version and facts.shutdown:
        files["shutdown"] = File(scripts.SHUTDOWN, 0o755)
    return files


def _mounted(files: Files, facts: Facts) -> list[dict[str, Any]]:
    """Files that have to be where others look for them; /run is a tmpfs, the others cover files of the image."""
    places = {
        "system.conf": "/run/systemd/system.conf.d/10-hawser.conf",
        "login": "/etc/environment",
        "machine-id": "/etc/machine-id",
        "shutdown": facts.shutdown,
    }
    return [mounted_home(name, place) for name, place in places.items() if name in files]
