"""A container whose pid 1 is systemd and whose application is a unit of it. Pure.

Sources: systemd.io/CONTAINER_INTERFACE (environment, mounts, stop signal), systemd.service(5), systemd.exec(5),
systemd(1) for SYSTEMD_UNIT_PATH, the OCI runtime specification for control groups.

Everything Hawser adds is in one read-only directory, /dev/hawser; systemd finds its units there by SYSTEMD_UNIT_PATH.
So the image's own directories keep their content, and /dev is the one place that is a fresh tmpfs in every container.
"""

from __future__ import annotations

from typing import Any

from .edited import HOME, EditError, File, Files, application_environment, mounted_home
from .facts import Facts
from .options import Options
from .quoting import environment_line, exec_line, fits_unit_environment, unit_line

UNIT = "hawser-app.service"
_STREAMS = HOME + "-streams"  # in /dev: the container's standard streams, by number
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
_ADDED = ("INVOCATION_ID", "SYSTEMD_EXEC_PID", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", "LANG", "LC_CTYPE")
# Own limits that a container's root may not raise where the host lacks cgroup2's nsdelegate; cgroups(7).
_LIMIT_FILES = (  # noqa: SIM905
    "cgroup.freeze cgroup.kill cgroup.max.depth cgroup.max.descendants cpu.idle cpu.max cpu.max.burst cpu.weight "
    "cpu.weight.nice cpuset.cpus cpuset.cpus.partition cpuset.mems hugetlb.1GB.max hugetlb.1GB.rsvd.max "
    "hugetlb.2MB.max hugetlb.2MB.rsvd.max io.latency io.max "
    "io.weight memory.high memory.low memory.max memory.min memory.oom.group memory.reclaim "
    "memory.swap.high memory.swap.max memory.zswap.max misc.max pids.max rdma.max"
).split()


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
    process["env"] = _pid1_environment(process, facts)
    _become_root(process)
    linux = spec["linux"]
    namespaces = linux.setdefault("namespaces", [])
    if not any(namespace["type"] == "cgroup" for namespace in namespaces):
        namespaces.append({"type": "cgroup"})
    mounts = spec.setdefault("mounts", [])
    taken = {mount["destination"].rstrip("/").replace("/var/run", "/run") for mount in mounts}
    spec["mounts"] = [mount for mount in _tmpfs() if mount["destination"] not in taken] + mounts
    if "/dev/shm" not in taken:
        # Without it systemd gives up at once. A CRI brings the pod's own; a bundle made by hand may not.
        spec["mounts"].append(_tmpfs_at("/dev/shm", "noexec", "mode=1777", "size=67108864"))
    _open_cgroup(spec, facts)
    spec["mounts"].append(mounted_home())
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
    }
    if process.get("terminal"):
        env["TERM"] = given.get("TERM") or "xterm"
    return [f"{name}={value}" for name, value in env.items() if value]


def _become_root(process: dict[str, Any]) -> None:
    # Root inside, with the capabilities the container was given anyway: never more than its bounding set.
    process["user"] = {"uid": 0, "gid": 0}
    capabilities = process.get("capabilities")
    if capabilities is not None:
        bounding = list(capabilities.get("bounding") or [])
        process["capabilities"] = {"bounding": bounding, "effective": bounding, "permitted": bounding}


def _tmpfs() -> list[dict[str, Any]]:
    # First in the list, so that what the pod mounts below (/run/secrets) lands on top. Copied up, so that what the
    # image keeps there is not hidden.
    return [
        _tmpfs_at("/run", "mode=755", "tmpcopyup"),
        _tmpfs_at("/run/lock", "noexec", "mode=1777", "size=5242880"),
        _tmpfs_at("/tmp", "mode=1777", "tmpcopyup"),
    ]


def _tmpfs_at(place: str, *options: str) -> dict[str, Any]:
    return {"destination": place, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", *options]}


def _open_cgroup(spec: dict[str, Any], facts: Facts) -> None:
    cgroups = facts.cgroups
    if cgroups.v2:
        # A service that runs out of memory ends alone, as on a machine; systemd must not end with it. What else the
        # limit hits is the application, whose end is the container's.
        (spec["linux"].get("resources") or {}).get("unified", {}).pop("memory.oom.group", None)
        for mount in spec["mounts"]:
            if mount["destination"] == "/sys/fs/cgroup":
                mount["options"] = [option for option in mount.get("options") or [] if option not in ("ro", "rw")]
                mount["options"].append("rw")
        if not cgroups.nsdelegate:
            readonly = spec["linux"].setdefault("readonlyPaths", [])
            readonly.extend("/sys/fs/cgroup/" + name for name in _LIMIT_FILES)
        return
    # v1: the controllers stay read-only, or root inside could lift its own limits. systemd needs only its named
    # hierarchy, which limits nothing.
    spec["mounts"].append(
        {
            "destination": "/sys/fs/cgroup/systemd",
            "type": "bind",
            "source": cgroups.named_systemd,
            "options": ["rbind", "rw", "nosuid", "nodev", "noexec"],
        }
    )


def _files(process: dict[str, Any], options: Options, facts: Facts) -> Files:
    environment = application_environment(process, facts)
    fitting = {name: value for name, value in environment.items() if fits_unit_environment(name, value)}
    others = {name: value for name, value in environment.items() if name not in fitting}
    if others and not facts.env:
        raise EditError(f"init systemd: the environment variable {min(others)} needs env(1), which the image lacks")
    files: Files = {
        "boot": File(_BOOT, 0o755),
        "ended": File(_ended(options), 0o755),
        "environment": File("".join(environment_line(*pair) + "\n" for pair in fitting.items()), 0o600),
        f"units/{UNIT}": File(_unit(process, options, facts, fitting, others), 0o644),
        f"units/multi-user.target.wants/{UNIT}": File(f"../{UNIT}", link=True),
    }
    if "CAP_SYS_ADMIN" not in ((process.get("capabilities") or {}).get("bounding") or []):
        files["units/service.d/10-hawser.conf"] = File(_NO_NAMESPACES, 0o644)
    for unit in _MASKED:
        files[f"units/{unit}"] = File("/dev/null", link=True)
    return files


def _command(process: dict[str, Any], facts: Facts, others: dict[str, str]) -> tuple[str, list[str]]:
    """Path and arguments that become the application: as its user, with the variables systemd can not carry.

    Not User=: systemd refuses ids that the image's /etc/passwd does not have, and adds groups of its own.
    """
    user = process.get("user") or {}
    uid, gid = user.get("uid", 0), user.get("gid", 0)
    extra = user.get("additionalGids") or []
    command = list(process["args"])
    path = facts.executable
    if others:
        path, command = facts.env, ["env", *(f"{name}={value}" for name, value in others.items()), *command]
    if uid or gid or set(extra) - {gid}:
        if not facts.setpriv:
            raise EditError(f"init systemd: running the application as user {uid} needs setpriv(1) in the image")
        bounding = (process.get("capabilities") or {}).get("bounding") or []
        if not {"CAP_SETUID", "CAP_SETGID"} <= set(bounding):
            raise EditError(f"init systemd: running as user {uid} needs the capabilities SETUID and SETGID")
        groups = "--groups=" + ",".join(str(group) for group in extra) if extra else "--clear-groups"
        path, command = facts.setpriv, ["setpriv", f"--reuid={uid}", f"--regid={gid}", groups, "--", *command]
    return path, command


def _unit(
    process: dict[str, Any], options: Options, facts: Facts, fitting: dict[str, str], others: dict[str, str]
) -> str:
    user = process.get("user") or {}
    path, command = _command(process, facts, others)
    lines = [
        "[Unit]",
        "Description=The container's application",
        "After=network.target",
        "",
        "[Service]",
        "Type=simple",
        f"ExecStart={exec_line(path, command)}",
    ]
    if user.get("uid") and facts.chown and not process.get("terminal"):
        # As runc does: the user may reopen its standard streams by name, /dev/stdout for one.
        lines.append(f"ExecStartPre=-{facts.chown} {user['uid']} /proc/self/fd/1 /proc/self/fd/2")
    try:
        lines.append("WorkingDirectory=" + unit_line(process.get("cwd") or "/"))
    except ValueError as error:
        raise EditError(f"init systemd: working directory: {error}") from error
    if process.get("terminal"):
        lines += ["StandardInput=tty-force", "StandardOutput=tty", "StandardError=tty", "TTYPath=/dev/console"]
    else:
        lines.append(f"StandardInput=file:{_STREAMS}/0")
        for name, number in (("Output", 1), ("Error", 2)):
            # A setting that systemd does not know it ignores: append: is newer (240) than file: (236), and what a
            # container whose output is a plain file needs.
            lines += [f"Standard{name}={kind}:{_STREAMS}/{number}" for kind in ("file", "append")]
    lines += [
        f"UMask={user.get('umask', 0o022):04o}",
        f"EnvironmentFile={HOME}/environment",
        # What systemd adds by itself, unless the container has it too.
        "UnsetEnvironment=" + " ".join(name for name in _ADDED if name not in fitting),
        # What a container without an init has: only its first process hears the stop signal, and no limits but its own.
        "KillMode=mixed",
        f"KillSignal={options.stop_signal}",
        "TimeoutStopSec=infinity",
        "TasksMax=infinity",
        "OOMPolicy=continue",
        *(f"Limit{name}={value}" for name, value in facts.limits),
        *_ending(options),
    ]
    return "\n".join(lines) + "\n"


def _ending(options: Options) -> list[str]:
    # systemd's own limit is off: the script counts, so that one place decides when the container ends.
    restart = ["Restart=no"] if options.restart == "no" else ["Restart=always", "RestartSec=1"]
    return [*restart, "StartLimitInterval=0", f"ExecStopPost=/bin/sh {HOME}/ended"]


# systemd replaces its own standard streams by /dev/null before anything else, in containers too, and closes what else
# it inherits. So a process that does nothing keeps the container's streams open, where the application's unit finds
# them. systemd moves it into init.scope and ends it last of all.
_BOOT = f"""\
#!/bin/sh
sleep infinity &
ln -s "/proc/$!/fd" {_STREAMS}
exec "$@"
"""

_ENDED = r"""#!/bin/sh
# Runs as root whenever the application has ended. Decides whether the container ends with it, and with which code.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
unset LD_PRELOAD LD_LIBRARY_PATH
unit=@UNIT@ policy=@POLICY@ limit=@LIMIT@ interval=@INTERVAL@
say() { echo "hawser: $*" >&2; }
job= how= status=0
while IFS== read -r key value; do
	case $key in
	Job) job=$value ;;
	ExecMainCode) how=$value ;;
	ExecMainStatus) status=$value ;;
	esac
done <<EOF
$(systemctl show -p Job -p ExecMainCode -p ExecMainStatus "$unit")
EOF
# A job means that someone stops or restarts the unit, or the whole container: nothing to decide.
[ -n "$job" ] && [ "$job" != 0 ] && exit 0
code=$status
case $how in
2 | 3) code=$((128 + status)) ;; # CLD_KILLED, CLD_DUMPED
esac
if [ "$how" = 1 ] && [ "$status" -ge 200 ] && [ "$status" -le 245 ]; then
	# Indistinguishable from here: the application's own code, or systemd's for a start that failed (203 is EXEC).
	say "code $status may be systemd's own: journalctl -u $unit tells"
fi
if [ "$policy" = always ] || { [ "$policy" = on-failure ] && [ "$code" -ne 0 ]; }; then
	now=$(date +%s) count=0 times=
	for time in $(cat /run/hawser-restarts 2>/dev/null); do
		[ $((now - time)) -lt "$interval" ] && times="$times $time" count=$((count + 1))
	done
	if [ "$count" -lt "$limit" ]; then
		echo "$times $now" >/run/hawser-restarts
		say "the application ended with code $code; restart $((count + 1)) of $limit"
		exit 0
	fi
	say "the application ended with code $code after $count restarts in ${interval}s; the container ends"
fi
systemctl --no-block exit "$code" || systemctl --no-block poweroff || kill -s RTMIN+4 1
"""


def _ended(options: Options) -> str:
    text = _ENDED.replace("@UNIT@", UNIT).replace("@POLICY@", options.restart)
    return text.replace("@LIMIT@", str(options.restart_limit)).replace("@INTERVAL@", str(options.restart_interval))
