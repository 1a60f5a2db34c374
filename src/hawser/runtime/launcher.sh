#!/bin/sh
# hawser-runtime: an OCI runtime that makes rich containers. Finds the real runtime (runc, crun), passes every command
# on to it, and steps in for some: create and run (the bundle is edited first, by the Python program at the end of this
# file), kill (each init has a stop signal of its own), exec (musl programs need a variable), update (an init outlives
# what runs out of memory) and delete (the note of that goes too). The Python program also starts and deletes containers with hooks.
# Settings: HAWSER_OCI_RUNTIME, HAWSER_PROFILES (the socket that knows RichProfiles), HAWSER_VIEW (the directory of lxcfs),
# HAWSER_ROOTS (where root file systems are kept) and HAWSER_PYTHON, or lines runtime=/path, profiles=/path, view=/path,
# roots=/path and python=/path in /etc/hawser/runtime.conf.
real=${HAWSER_OCI_RUNTIME:-@REAL@}
profiles=${HAWSER_PROFILES:-@PROFILES@}
view=${HAWSER_VIEW:-}
roots=${HAWSER_ROOTS:-}
python=${HAWSER_PYTHON:-}
if [ -r /etc/hawser/runtime.conf ]; then
	while IFS== read -r key value; do
		[ "$key" = runtime ] && real=${real:-$value}
		[ "$key" = profiles ] && profiles=${profiles:-$value}
		[ "$key" = view ] && view=${view:-$value}
		[ "$key" = roots ] && roots=${roots:-$value}
		[ "$key" = python ] && python=${python:-$value}
	done </etc/hawser/runtime.conf
fi
if [ -z "$real" ]; then
	# By PATH first, as the shim finds the runtime of ordinary containers: both are to be the same one.
	IFS=:
	for name in runc crun; do
		for place in $PATH /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
			[ -z "$real" ] && [ -x "$place/$name" ] && real=$place/$name
		done
	done
	unset IFS
fi

want='' verb='' id='' last='' root='' log='' bundle=. process='' resources=''
for word; do
	case $want in
	root) root=$word ;;
	log) log=$word ;;
	bundle) bundle=$word ;;
	process) process=$word ;;
	resources) resources=$word ;;
	esac
	if [ -n "$want" ]; then
		want=''
		continue
	fi
	case $word in
	--root | --log | --bundle | --process | --resources) want=${word#--} ;;
	-b) want=bundle ;;
	-p) want=process ;;
	--root=*) root=${word#*=} ;;
	--log=*) log=${word#*=} ;;
	-r) want=resources ;;
	--resources=* | -r=*) resources=${word#*=} ;;
	--bundle=* | -b=*) bundle=${word#*=} ;;
	--process=* | -p=*) process=${word#*=} ;;
	--log-format | --criu | --rootless | --cgroup-manager | --console-socket | --pid-file | --preserve-fds) want=skip ;;
	-*) ;;
	*)
		if [ -z "$verb" ]; then
			verb=$word
			case $verb in
			create | run | start | exec | kill | update | delete) ;;
			*) break ;;
			esac
		elif [ -z "$id" ]; then
			id=$word
		else
			last=$word
		fi
		;;
	esac
done

fail() {
	echo "hawser-runtime: $1" >&2
	[ -n "$log" ] && echo "{\"level\":\"error\",\"msg\":\"hawser-runtime: $1\"}" >>"$log"
	exit 1
}
[ -z "${HAWSER_FAILED:-}" ] || fail "$HAWSER_FAILED" # a Python that can not run the program says so by this
[ -n "$real" ] && [ -x "$real" ] || fail "no OCI runtime: install runc or crun, or name one in /etc/hawser/runtime.conf"

records=${HAWSER_RUNTIME_STATE:-/run/hawser-runtime}${root:-/default}
note=$records/$id
python() {
	python=${python:-/usr/bin/python3}
	[ -x "$python" ] || python=$(command -v python3) || fail "no python3 on this node"
	export HAWSER_REAL="$real" HAWSER_RECORDS="$records" HAWSER_PROFILES="$profiles" HAWSER_VIEW="${view:-@VIEW@}"
	export HAWSER_ROOTS="${roots:-@ROOTS@}" HAWSER_ROOT="$root"
}
program='@PROGRAM@'
case $verb in
create | run)
	# A pod's sandbox is never a rich container; its bundle is one line of JSON.
	grep -q -e '"io.kubernetes.cri.container-type":"sandbox"' -e '"io.kubernetes.cri-o.ContainerType":"sandbox"' \
		"$bundle/config.json" 2>/dev/null && exec "$real" "$@"
	python
	exec "$python" -I -S -c "$program" "$0" "$@"
	;;
start)
	if [ -n "$id" ] && [ -e "$records/.hooks/$id/plan.json" ]; then
		python
		exec "$python" -I -S -c "$program" "$0" "$@"
	fi
	;;
exec)
	# The runtime's caller gives the process as a file of its own, a line of JSON.
	if [ -n "$id" ] && [ -f "$process" ] && [ -r "$note" ]; then
		read -r init preload <"$note"
		if [ -n "$preload" ] && ! grep -q '"LD_PRELOAD=' "$process"; then
			sed -i "s|\"env\":\[|&\"LD_PRELOAD=$preload\",|" "$process"
		fi
		# crun leaves to what it executes its own score, and then the application would go first when memory is short.
		case ${real##*/} in
		crun*)
			score=$(sed -n 's/.*"oomScoreAdj":\(-*[0-9]*\).*/\1/p' "$process")
			[ -z "$score" ] || echo "$score" 2>/dev/null >/proc/self/oom_score_adj
			;;
		esac
	fi
	;;
kill)
	if [ -n "$id" ] && [ -r "$note" ]; then
		read -r init _ <"$note"
		stop=''
		# What asks a process to end, be it TERM or the image's own STOPSIGNAL, asks the init for an orderly shutdown.
		# KILL, STOP, CONT and real-time signals mean what they say.
		case $init in
		systemd) stop=37 ;; # SIGRTMIN+3, systemd(1)
		busybox) stop=3 ;;  # SIGQUIT: stop everything, then run the restart action
		sysvinit) stop=2 ;; # SIGINT: the ctrlaltdel entry
		*:*) stop=${init#*:} ;; # what the pod says
		esac
		case ${last#SIG} in
		'' | 15 | TERM | 1 | HUP | 2 | INT | 3 | QUIT | 10 | USR1 | 12 | USR2 | 28 | WINCH)
			if [ -n "$stop" ] && [ -n "$last" ]; then
				count=$# at=0
				for word; do
					at=$((at + 1))
					shift
					[ $at -eq "$count" ] && word=$stop
					set -- "$@" "$word"
				done
			elif [ -n "$stop" ]; then
				set -- "$@" "$stop"
			fi
			;;
		esac
	fi
	exec "$real" "$@"
	;;
update)
	# Kubernetes repeats at each resize that all of a container ends when its memory is short. Not with an init.
	if [ "$resources" = - ] && [ -n "$id" ] && [ -r "$note" ]; then
		read -r init _ <"$note"
		if [ "$init" != minimal ]; then
			sed 's/"memory\.oom\.group": *"1"/"memory.oom.group":"0"/' | "$real" "$@"
			exit $?
		fi
	fi
	;;
delete)
	# Of one that could not be made there may be no note yet, but all else.
	inside=$records/.inside/$id kept=$records/.roots/$id begun=$records/.deleting/$id
	if [ -n "$id" ] && { [ -e "$note" ] || [ -e "$begun" ] || [ -d "$inside" ] || [ -d "$kept" ] || [ -d "$records/.hooks/$id" ]; }; then
		# A delete that is killed is done anew by whoever makes the next container (leftovers.py).
		[ -d "$records/.deleting" ] || mkdir -p "$records/.deleting"
		case " $* " in
		*' --force '* | *' -f '* | *' --force=true '*) echo "$$ --force" >"$begun" ;;
		*) echo "$$" >"$begun" ;;
		esac
		# As long as the container's control groups are there.
		group='' kills=''
		[ ! -r "$note" ] || { read -r _ && read -r group; } <"$note"
		for file in ${group:+"$group/memory.events" "$group/memory.oom_control"}; do
			[ ! -r "$file" ] || while read -r key value; do
				[ "$key" != oom_kill ] || kills=$value
			done <"$file"
		done 2>/dev/null
		if [ -e "$records/.hooks/$id/plan.json" ]; then
			python
			"$python" -I -S -c "$program" "$0" "$@"
		else
			"$real" "$@"
		fi
		code=$?
		if [ $code -ne 0 ]; then
			rm -f "$begun"
			exit $code
		fi
		# What the container wrote is kept for whoever reports it.
		if [ -d "$inside" ]; then
			if [ -f "$inside/journal" ]; then
				[ -d "$records/.journal" ] || mkdir -p "$records/.journal"
				{
					head -c 65536 "$inside/journal"
					[ -z "$kills" ] || printf '\n{"kind":"end","oomKills":%s}\n' "$kills"
				} >"$records/.journal/$id.inside.jsonl"
				umount -l "$inside"
			fi
			rmdir "$inside" 2>/dev/null || { umount -l "$inside" && rmdir "$inside"; }
		fi
		if [ -d "$kept" ]; then
			umount -l "$kept"
			rmdir "$kept"
			if [ -L "$kept.space" ]; then
				umount -l "$kept.space"
				rm -f "$kept.space"
			fi
		fi
		rm -f "$note" "$begun"
		exit 0
	fi
	;;
esac
exec "$real" "$@"
