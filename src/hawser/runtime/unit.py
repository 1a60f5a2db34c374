"""The application as a unit of systemd. Pure.

Sources: systemd.service(5), systemd.exec(5), systemd.kill(5), and systemd's NEWS for the version of each setting.
"""

from __future__ import annotations

from . import scripts
from .application import launch, user_prefix
from .edited import HOME, EditError, File, Files, application_environment
from .facts import Facts
from .light import Any
from .options import Options
from .quoting import environment_line, exec_line, fits_unit_environment, unit_line

UNIT = "hawser-app.service"
_STREAM_FILES = 236  # the version with StandardOutput=file:; append: came with 240
_ADDED = ("INVOCATION_ID", "SYSTEMD_EXEC_PID", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", "LANG", "LC_CTYPE")


def unit_files(process: dict[str, Any], options: Options, facts: Facts) -> Files:
    """The unit and what it needs, for /dev/hawser. Raises EditError for what no unit can say."""
    # Before 236 only a shell can hand the container's streams on.
    direct = facts.systemd_version >= _STREAM_FILES or bool(process.get("terminal"))
    files: Files = {
        **scripts.shared(options, UNIT, streams=not direct),
        "boot": File(scripts.BOOT, 0o755),
        "started": File(scripts.STARTED, 0o755),
        "ended": File(scripts.ENDED, 0o755),
        "over": File(scripts.OVER, 0o755),
        f"units/multi-user.target.wants/{UNIT}": File(f"../{UNIT}", link=True),
        "units/systemd-reboot.service": File(scripts.REBOOT_UNIT),
    }
    if direct:
        environment = application_environment(process, facts)
        fitting = {name: value for name, value in environment.items() if fits_unit_environment(name, value)}
        others = [f"{name}={value}" for name, value in environment.items() if name not in fitting]
        files["environment"] = File("".join(environment_line(*pair) + "\n" for pair in fitting.items()), 0o600)
        start = _direct(process, facts, fitting, others)
    else:
        files["run"] = File("#!/bin/sh\n" + launch(process, facts, "systemd", scripts.STREAMS), 0o700)
        start = [f"ExecStart=/bin/sh {HOME}/run"]
    files[f"units/{UNIT}"] = File("\n".join([*_head(process, facts), *start, *_rest(process, options, facts)]) + "\n")
    return files


def _head(process: dict[str, Any], facts: Facts) -> list[str]:
    lines = [
        "[Unit]",
        "Description=The container's application",
        "After=network.target",
        "",
        "[Service]",
        "Type=simple",
        "StartLimitInterval=0",  # the scripts count, so that one place decides when the container ends
    ]
    user = process.get("user") or {}
    if user.get("uid") and facts.chown and not process.get("terminal"):
        # As runc does: the user may reopen its standard streams by name, /dev/stdout for one.
        streams = " ".join(f"{scripts.STREAMS}/{number}" for number in (1, 2))
        lines.append(f"ExecStartPre=-{facts.chown} {user['uid']} {streams}")
    return lines


def _direct(process: dict[str, Any], facts: Facts, fitting: dict[str, str], others: list[str]) -> list[str]:
    """Settings that start the application with nothing in between but what changes user and odd variables."""
    # Not User=: systemd refuses ids that the image's /etc/passwd does not have, and adds groups of its own.
    prefix = user_prefix(process, facts, "systemd")
    path, command = prefix[0] if prefix else facts.executable, [*prefix, *process["args"]]
    if others:
        if not facts.env:
            name = min(others).partition("=")[0]
            raise EditError(f"init systemd: the environment variable {name} needs env(1), which the image lacks")
        path, command = facts.env, ["env", *others, *command]
    lines = [f"ExecStart={exec_line(path, command)}"]
    try:
        lines.append("WorkingDirectory=" + unit_line(process.get("cwd") or "/"))
    except ValueError as error:
        raise EditError(f"init systemd: working directory: {error}") from error
    if process.get("terminal"):
        lines += ["StandardInput=tty-force", "StandardOutput=tty", "StandardError=tty", "TTYPath=/dev/console"]
    else:
        lines.append(f"StandardInput=file:{scripts.STREAMS}/0")
        for name, number in (("Output", 1), ("Error", 2)):
            # A setting that systemd does not know it ignores: append: is newer (240) than file: (236), and what a
            # container whose output is a plain file needs.
            lines += [f"Standard{name}={kind}:{scripts.STREAMS}/{number}" for kind in ("file", "append")]
    return [
        *lines,
        f"UMask={(process.get('user') or {}).get('umask', 0o022):04o}",
        f"EnvironmentFile={HOME}/environment",
        # What systemd adds by itself, unless the container has it too.
        "UnsetEnvironment=" + " ".join(name for name in _ADDED if name not in fitting),
    ]


def _rest(process: dict[str, Any], options: Options, facts: Facts) -> list[str]:
    restart = ["Restart=always", "RestartSec=1"] if options.keep else ["Restart=no"]
    return [
        # What a container without an init has: only its first process hears the stop signal, and no limits but its own.
        # What is left of it then, the script kills: on cgroup v1 systemd may wait for ever for the end of a process
        # that it killed itself, because nothing tells it that a control group is empty.
        "KillMode=process",
        f"KillSignal={options.stop_signal or 'SIGTERM'}",
        "TimeoutStopSec=infinity",
        "TasksMax=infinity",
        "OOMPolicy=continue",
        *(f"Limit{name}={value}" for name, value in facts.limits),
        *restart,
        # Before the start, not after it: as long as a start is not complete, an end is a failure to start.
        f"ExecStartPre=-/bin/sh {HOME}/started",
        f"ExecStopPost=-/bin/sh {HOME}/ended",
    ]
