"""A container whose pid 1 is the image's own /sbin/init with an inittab: busybox init or sysvinit, also below OpenRC.

Neither can be told to end with a code, but each can be made to execute something else in its place, as pid 1:

- busybox init, on SIGQUIT, stops what it runs and executes its `restart` action (busybox, init/init.c);
- sysvinit executes itself anew when `telinit u` asks for it: /sbin/init the first time, then the name that it was
  started with (sysvinit, src/init.c). So a script is mounted over /sbin/init, which executes the image's init by a link
  in /dev, until the end; then both lead to what ends with the code.

upstart and openrc-init have no inittab and end only by reboot(2), which needs CAP_SYS_BOOT; they are refused. Pure.
"""

from __future__ import annotations

from . import scripts
from .application import launch
from .edited import HOME, EditError, File, Files, mounted_home, ready_for_init
from .facts import Facts
from .light import Any
from .options import Options

UNIT = "hawser-app"
_REAL = HOME + "-sysvinit"  # in the container: the image's own /sbin/init
_LINK = HOME + "-bin/init"
# Terminals that a container does not have; an entry for one respawns for ever.
_TERMINALS = ("getty", "/sbin/sulogin", "/bin/login")
# What we have ourselves, and what the machine's keys and power supply would start.
_REPLACED = ("restart", "ctrlaltdel", "powerfail", "powerwait", "powerokwait", "powerfailnow", "kbrequest")


def edit_init(spec: dict[str, Any], options: Options, facts: Facts) -> Files:
    """Makes the image's /sbin/init pid 1 of `spec`, in place; returns the files for /dev/hawser.

    Raises EditError for other inits, and for an application whose user the image can not change to.
    """
    if not (facts.busybox_init or facts.sysvinit):
        found = f"/sbin/init is {facts.other_init}" if facts.other_init else "it has no /sbin/init"
        raise EditError(f"init init: the image needs systemd, sysvinit or busybox init; {found}")
    process = spec["process"]
    run = launch(process, facts, "init", scripts.STREAMS if facts.sysvinit else "")
    files: Files = {
        **scripts.shared(options, UNIT, streams=bool(facts.sysvinit)),
        "run": File(f"#!/bin/sh\necho $$ >{HOME}-pid\n{run}", 0o700),
        "application": File(_APPLICATION, 0o755),
        "stop": File(_STOP.replace("@SIGNAL@", (options.stop_signal or "SIGTERM").removeprefix("SIG")), 0o755),
    }
    if facts.sysvinit:
        files |= {
            "boot": File(_BOOT, 0o755),
            "init": File(_INIT, 0o755),
            "end": File("#!/bin/sh\nexec telinit 0\n", 0o755),
            "over": File(_OVER, 0o755),
            "inittab": File(sysvinit_table(facts.inittab)),
        }
        process["args"] = ["/bin/sh", f"{HOME}/boot"]
    else:
        files |= {
            "end": File("#!/bin/sh\nexec kill -QUIT 1\n", 0o755),
            "exit": File(scripts.SHUTDOWN, 0o755),
            "inittab": File(busybox_table(facts.inittab)),
        }
        process["args"] = ["/sbin/init"]
    process["env"] = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=hawser"]
    ready_for_init(spec)
    spec["mounts"] += [mounted_home(), mounted_home("inittab", "/etc/inittab")]
    if facts.sysvinit:
        real = {**mounted_home(place=_REAL), "source": facts.sysvinit}
        spec["mounts"] += [real, mounted_home("init", "/sbin/init")]
    return files


def busybox_table(image: str) -> str:
    """The inittab for busybox init: the image's, with the application. First is what is to be stopped first."""
    kept = _kept(image)
    if not any(line.strip() and not line.lstrip().startswith("#") for line in kept):
        # Without a table busybox init would run this script, if there is one.
        kept.append("::sysinit:/bin/sh -c '[ ! -x /etc/init.d/rcS ] || exec /etc/init.d/rcS'")
    stop = f"::shutdown:/bin/sh {HOME}/stop"
    ours = [f"::once:/bin/sh {HOME}/application", f"::restart:/bin/sh {HOME}/exit"]
    return "\n".join(["# the container's application", stop, *kept, *ours]) + "\n"


def sysvinit_table(image: str) -> str:
    """The inittab for sysvinit: the image's, with the application. Entries of a runlevel run in their order.

    The application belongs to all runlevels: what does not belong to a new one, init kills after five seconds.
    """
    kept = _kept(image)
    if not any(line.split(":")[2:3] == ["initdefault"] for line in kept):
        kept.insert(0, "id:2:initdefault:")
    stop = f"hws0:06:wait:/bin/sh {HOME}/stop"
    ours = [
        f"hws1:0123456:once:/bin/sh {HOME}/application",
        f"hws2:0123456:ctrlaltdel:/bin/sh {HOME}/end",
        f"hws3:06:wait:/bin/sh {HOME}/over",
    ]
    return "\n".join(["# the container's application", stop, *kept, *ours]) + "\n"


def _kept(image: str) -> list[str]:
    kept = []
    for line in image.splitlines():
        action = line.split(":", 3)[2:3]
        if any(word in _REPLACED for word in action) or any(word in line for word in _TERMINALS):
            line = "# not in a container: " + line
        kept.append(line)
    return kept


_APPLICATION = f"""#!/bin/sh
# Runs the container's application and ends the container with its code.
. {HOME}/lib
[ ! -e {HOME}-stopping ] || exit 0
# A shell tells of signals on its standard error, which here is the application's.
exec 3>&2 2>/dev/null
while :; do
	record active
	(exec /bin/sh {HOME}/run 2>&3 3>&-)
	code=$?
	rm -f {HOME}-pid
	if [ -e {HOME}-stopping ]; then
		record inactive "$code"
		exit 0
	fi
	again "$code" 2>&3 || break
	record activating "$code"
	sleep 1
done
record failed "$code"
echo "$code" >{scripts.CODE}
exec /bin/sh {HOME}/end
"""

# The application first, however long it takes: how long a stop may take is for the container's runtime to say.
_STOP = f"""#!/bin/sh
. {HOME}/lib
: >{HOME}-stopping
[ -e {HOME}-pid ] || exit 0
read -r pid <{HOME}-pid
{{
	kill -s @SIGNAL@ "$pid"
	while [ -e {HOME}-pid ] && kill -0 "$pid"; do
		sleep 0.1
	done
}} 2>/dev/null
"""

# sysvinit gives what it starts /dev/console or nothing; and kills this process when it kills all.
_BOOT = f"""{scripts.HOLD}
mkdir {HOME}-bin
ln -s {_REAL} {_LINK}
exec /sbin/init
"""

# Also what telinit leads to.
_INIT = f"""#!/bin/sh
if [ $$ = 1 ] && [ -e {HOME}-over ]; then
	read -r code <{scripts.CODE} || code=0
	exit $code
fi
exec {_LINK} "$@"
"""

_OVER = f"""#!/bin/sh
# The last entry of runlevels 0 and 6: init becomes the program that ends with the code.
[ -e {scripts.CODE} ] || [ "$RUNLEVEL" != 6 ] || echo {scripts.REBOOT} >{scripts.CODE}
: >{HOME}-over
ln -sf {HOME}/init {_LINK}
exec {_REAL} u
"""
