"""A container whose pid 1 is the image's own /sbin/init: busybox init, also below OpenRC (Alpine). Pure.

busybox init has one way to end as pid 1: on SIGQUIT it stops what it runs and executes its `restart` action in its
place (busybox, init/init.c, comment on signals). That action ends with the application's code. sysvinit, upstart and
openrc-init have no such way short of reboot(2), which needs CAP_SYS_BOOT; so they are refused, not run half.
"""

from __future__ import annotations

from typing import Any

from .edited import HOME, EditError, File, Files, application_environment, mounted_home
from .facts import Facts
from .options import Options
from .quoting import shell_word

_CODE = HOME + "-code"  # in /dev, which root can write to
# Terminals that a container does not have; an entry for one respawns for ever.
_TERMINALS = ("getty", "/sbin/sulogin", "/bin/login")


def edit_init(spec: dict[str, Any], options: Options, facts: Facts) -> Files:
    """Makes the image's busybox init pid 1 of `spec`, in place; returns the files for /dev/hawser.

    Raises EditError for other inits and for an application that is not root's.
    """
    if not facts.busybox_init:
        found = f"/sbin/init is {facts.other_init}" if facts.other_init else "it has no /sbin/init"
        raise EditError(f"init init: the image needs systemd or busybox init; {found}")
    process = spec["process"]
    user = process.get("user") or {}
    if user.get("uid", 0) != 0:
        raise EditError("init init: the application runs as root only; use init systemd or minimal for other users")
    files: Files = {
        "application": File(_application(process, options, facts), 0o700),
        "exit": File(f"#!/bin/sh\nread -r code <{_CODE} || code=0\nexit $code\n", 0o755),
        "inittab": File(_inittab(facts.inittab), 0o644),
    }
    process["args"] = ["/sbin/init"]
    process["user"] = {"uid": 0, "gid": 0}
    process["env"] = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=hawser"]
    mount = mounted_home()
    inittab = {**mount, "destination": "/etc/inittab", "source": mount["source"] + "/inittab"}
    spec.setdefault("mounts", []).extend([mount, inittab])
    return files


def _inittab(image: str) -> str:
    kept = []
    for line in image.splitlines():
        action = line.split(":", 3)[2:]
        if action[:1] == ["restart"] or any(word in line for word in _TERMINALS):
            line = "# not in a container: " + line
        kept.append(line)
    if not any(line.strip() and not line.lstrip().startswith("#") for line in kept):
        # Without a table busybox init would run this script, if there is one.
        kept.append("::sysinit:/bin/sh -c '[ ! -x /etc/init.d/rcS ] || exec /etc/init.d/rcS'")
    ours = [f"::once:/bin/sh {HOME}/application", f"::restart:/bin/sh {HOME}/exit"]
    return "\n".join([*kept, "# the container's application", *ours]) + "\n"


_APPLICATION = """#!/bin/sh
# Runs the container's application and ends the container with its code.
policy=@POLICY@ limit=@LIMIT@ interval=@INTERVAL@ times=
run() {
	umask @UMASK@
	cd @CWD@ || exit 126
	exec env -i @COMMAND@
}
while :; do
	(run)
	code=$?
	[ "$policy" = always ] || { [ "$policy" = on-failure ] && [ "$code" -ne 0 ]; } || break
	now=$(date +%s) count=0 recent=
	for time in $times; do
		[ $((now - time)) -lt "$interval" ] && recent="$recent $time" count=$((count + 1))
	done
	[ "$count" -lt "$limit" ] || break
	times="$recent $now"
	echo "hawser: the application ended with code $code; restart $((count + 1)) of $limit" >&2
	sleep 1
done
echo "$code" >@CODE@
kill -QUIT 1
"""


def _application(process: dict[str, Any], options: Options, facts: Facts) -> str:
    environment = application_environment(process, facts)
    command = [f"{name}={value}" for name, value in environment.items()] + [facts.executable, *process["args"][1:]]
    values = {
        "POLICY": options.restart,
        "LIMIT": str(options.restart_limit),
        "INTERVAL": str(options.restart_interval),
        "UMASK": f"{(process.get('user') or {}).get('umask', 0o022):04o}",
        "CWD": shell_word(process.get("cwd") or "/"),
        "CODE": _CODE,
        # Last, so that nothing in the application's own words is taken for one of the names above.
        "COMMAND": " ".join(shell_word(word) for word in command),
    }
    text = _APPLICATION
    for name, value in values.items():
        text = text.replace(f"@{name}@", value, 1)
    return text
