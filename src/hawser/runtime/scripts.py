"""The shell scripts in /dev/hawser that start and end the application and tell of its state. Pure.

They run as root of the container in any image that has a POSIX shell and the usual small tools, busybox included.
"""

from __future__ import annotations

from .edited import HOME, File, Files
from .options import Options

STREAMS = HOME + "-streams"  # in /dev, where root can write: the container's standard streams, by number
CODE = HOME + "-code"  # what the container is to end with, where the init can not be told
JOURNAL = HOME + "-journal"  # the node's file, see notes.py
REBOOT = 133  # ends a container that asks for a reboot: not 0, so that restartPolicy OnFailure starts it again


def shared(options: Options, unit: str, *, streams: bool = False) -> Files:
    """What every init's scripts use, and `ready` for exec probes of any user.

    unit: what the application is called. streams: the init gives scripts other streams than the container's.
    """
    policy = ("keep-on-failure" if options.on_failure else "keep") if options.keep else "exit"
    settings = f"unit={unit} policy={policy} limit={options.restarts} seconds={options.seconds}\n"
    if streams:
        settings += f"exec 2>>{STREAMS}/2\n"
    return {"settings": File(settings), "lib": File(_LIBRARY), "ready": File(_READY, 0o755)}


def _script(text: str) -> str:
    places = {"@HOME@": HOME, "@JOURNAL@": JOURNAL, "@STREAMS@": STREAMS, "@CODE@": CODE, "@SWEEP@": _SWEEP}
    for name, place in places.items():
        text = text.replace(name, place)
    return text


# Ends what the application left behind in its control group.
_SWEEP = r"""sweep() {
	group= procs=/sys/fs/cgroup
	[ -e $procs/cgroup.procs ] || procs=$procs/systemd
	while IFS=: read -r _ kind path; do
		case $kind in
		name=systemd) [ $procs = /sys/fs/cgroup ] || group=$path ;;
		'') group=${group:-$path} ;;
		esac
	done </proc/self/cgroup
	procs=$procs$group/cgroup.procs rounds=0
	while [ "$rounds" -lt 100 ]; do
		left= rounds=$((rounds + 1))
		while read -r pid; do
			[ "$pid" = $$ ] || [ "$pid" = 0 ] || { kill -9 "$pid" && left=1; }
		done <"$procs"
		[ -n "$left" ] || return 0
		sleep 0.1
	done
} 2>/dev/null
sweep"""

_READY = _script(r"""#!/bin/sh
# Tells the application's state; succeeds when it runs.
read -r state 2>/dev/null <@HOME@-state || state=activating
echo "$state"
[ "$state" = active ]
""")

READY_WITH_CONTAINER = "#!/bin/sh\necho active\n"  # minimal: the application runs as long as the container does

_LIBRARY = _script(r"""# What Hawser's scripts share.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
unset LD_PRELOAD LD_LIBRARY_PATH
umask 022
. @HOME@/settings
say() { echo "hawser: $*" >&2; }

# How many processes of the container the kernel has killed for want of memory; nothing where no file tells.
oom_kills() {
	for file in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
		while read -r key value; do
			[ "$key" != oom_kill ] || echo "$value"
		done <"$file"
	done
}

# Notes the application's state for `ready`, and tells the node in a line of JSON: state, exit code, signal's number,
# and how many were killed for want of memory before its last start: what is counted at the end is not all of this end.
record() {
	read -r total _ <@HOME@-restarts || total=0
	echo "$1" >@HOME@-state
	[ "$1" != active ] || oom_kills >@HOME@-oom-kills
	read -r kills <@HOME@-oom-kills || kills=null
	[ -f @JOURNAL@ ] || return 0
	# The file is small: better to lose what is old than what is new.
	[ ! -s @JOURNAL@ ] || [ "$(wc -c <@JOURNAL@)" -lt 49152 ] || : >@JOURNAL@
	counts="\"restarts\":$total,\"limit\":$limit,\"oomKills\":$kills"
	printf '{"time":%s,"kind":"app","unit":"%s","state":"%s","code":%s,"signal":%s,%s}\n' \
		"$(date +%s)" "$unit" "$1" "${2:-null}" "${3:-null}" "$counts" >>@JOURNAL@
} 2>/dev/null

# Whether the application, ended with code $1, is to be started once more; counts that.
again() {
	case $policy:$1 in exit:* | keep-on-failure:0) return 1 ;; esac
	read -r now _ </proc/uptime
	now=${now%.*} count=0 recent= total=0 times=
	[ -f @HOME@-restarts ] && read -r total times <@HOME@-restarts
	for time in $times; do
		[ $((now - time)) -lt "$seconds" ] && recent="$recent $time" count=$((count + 1))
	done
	if [ "$count" -ge "$limit" ]; then
		say "the application ended with code $1 after $count restarts in ${seconds}s; the container ends"
		return 1
	fi
	echo "$((total + 1))$recent $now" >@HOME@-restarts
	say "the application ended with code $1; restart $((count + 1)) of $limit"
}
""")

# systemd replaces its own standard streams by /dev/null before anything else, in containers too, and closes what else
# it inherits. So a process that does nothing keeps the container's streams open, where the application's unit finds
# them. systemd moves it into init.scope and ends it last of all. What a shell runs in the background has no standard
# input, unless that is said.
HOLD = _script(r"""#!/bin/sh
exec 3<&0
sleep infinity <&3 3<&- &
exec 3<&-
ln -s "/proc/$!/fd" @STREAMS@
""")
BOOT = HOLD + 'exec "$@"\n'
# All is mounted already: journald may write to /var/log/journal at once, if the image has that;
# systemd-journald.service(8).
BOOT_MOUNTED = HOLD + 'mkdir -p /run/systemd/journal && : >/run/systemd/journal/flushed\nexec "$@"\n'

STARTED = _script("#!/bin/sh\n. @HOME@/lib\nrecord active\n")

ENDED = _script(r"""#!/bin/sh
# Runs as root whenever the application has ended. Decides whether the container ends with it, and with which code.
# $1: "released" while a release is being tried, which is undone if this end is a failure of it.
. @HOME@/lib
@SWEEP@
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
code=$status signal=
case $how in
2 | 3) code=$((128 + status)) signal=$status ;; # CLD_KILLED, CLD_DUMPED
esac
# A job means that someone stops or restarts the unit, or the whole container: nothing to decide. But for the job of
# this very start, when the application ended at once.
if [ -n "$job" ] && [ "$job" != 0 ]; then
	case $(systemctl list-jobs --no-legend --full | while read -r id _ type _; do
		[ "$id" = "$job" ] && echo "$type"
	done) in
	start) ;;
	*)
		record inactive "$code" "$signal"
		exit 0
		;;
	esac
fi
if [ "$how" = 1 ] && [ "$status" -ge 200 ] && [ "$status" -le 245 ]; then
	# Indistinguishable from here: the application's own code, or systemd's for a start that failed (203 is EXEC).
	say "code $status may be systemd's own: journalctl -u $unit tells"
fi
if [ "$1" != released ] && again "$code"; then
	record activating "$code" "$signal"
	exit 0
fi
record failed "$code" "$signal"
[ "$1" != released ] || exit 0
exec /bin/sh @HOME@/over "$code"
""")

# systemd before 227 takes no code to end with: SHUTDOWN, in place of its own last program, reads it from the file.
OVER = _script(r"""#!/bin/sh
# Ends the container with the code $1; further options are systemctl's.
code=$1
shift
echo "$code" >@CODE@
exec 2>/dev/null
systemctl --no-block "$@" exit "$code" || systemctl --no-block "$@" poweroff || kill -s RTMIN+4 1
""")

SHUTDOWN = _script("#!/bin/sh\nread -r code <@CODE@ || code=0\nexit $code\n")

REBOOT_UNIT = _script(f"""\
[Unit]
Description=Reboot: the container ends, and whoever runs it starts it again
DefaultDependencies=no
Requires=shutdown.target umount.target final.target
After=shutdown.target umount.target final.target

[Service]
Type=oneshot
ExecStart=/bin/sh @HOME@/over {REBOOT} --force
""")
