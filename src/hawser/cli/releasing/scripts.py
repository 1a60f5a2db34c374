"""What a release runs inside a container: POSIX shell and tools that coreutils and busybox share.

How much to read from stdin is an argument everywhere, because older servers can not close it. Lists of paths have one
a line; names with line breaks are no part of a release.
"""

from __future__ import annotations

from typing import Final

SEPARATOR: Final = "\n--hawser--\n"

_STATE = r"""
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH LC_ALL=C
die() { echo "$*" >&2; exit 1; }
state=/var/lib/hawser/release
# Which release holds the lock, and when it last said so: written aside, so that nobody reads half of it.
said=$state/.said.$$
say() { echo "$1 $(date +%s)" >"$said"; }
beat() { [ ! -e "$state/.lock" ] || { say "$1" && mv -f "$said" "$state/.lock"; }; }
unlock() { rm -f "$state/.lock" "$state"/.said.*; }
"""
# Tells others that the release $1 is under way for as long as the script runs.
_BUSY = r"""
beat "$1"
(while sleep 5 && [ -e "$state/.lock" ] && kill -0 $$; do beat "$1"; done) </dev/null >/dev/null 2>&1 &
trap "kill $! 2>/dev/null" EXIT
"""

SURVEY: Final = (
    _STATE
    + r"""
# $1: destination, $2: the release that begins, "" for none. Tells who we are, whether there is systemd, and what
# earlier releases left. One at a time: a lock that nobody has touched for 15 s is that of a push that has died.
for tool in tar find xargs stat sha256sum head readlink; do
	command -v $tool >/dev/null || missing="$missing $tool"
done
[ -z "$missing" ] || die "the image lacks$missing, which a release needs"
mkdir -p "$state" 2>/dev/null && [ -w "$state" ] || die "$state cannot be written to by user $(id -u)"
id -u
[ -d /run/systemd/system ] && echo systemd || echo other
[ -e "$1" ] && [ ! -d "$1" ] && die "$1 is not a directory"
if [ -n "$2" ]; then
	say "$2"
	if ! ln "$said" "$state/.lock" 2>/dev/null; then
		[ ! -e "$state/.lock" ] || read -r other since <"$state/.lock"
		[ $(($(date +%s) - since)) -ge 15 ] || { rm -f "$said"; die "release $other is under way in this container"; }
		mv -f "$said" "$state/.lock"
	fi
	rm -f "$said"
fi
for one in "$state"/*/state; do
	[ -e "$one" ] || continue
	name=${one%/state}
	echo "${name##*/} $(cat "$one")"
done
"""
)

LIST: Final = (
    _STATE
    + r"""
# $1: destination, $2: how many bytes of NUL-separated paths to read, $3: whether to look for others, too.
mkdir -p "$state"; list=$state/.list.$$
head -c "$2" >"$list"
trap 'rm -f "$list"' EXIT
cd "$1" 2>/dev/null || { printf '\n--hawser--\n'; exit 0; }
form='%f %u %g %s %Y %n//'
links='for p; do
	[ -L "$p" ] || continue
	if [ -d "$p" ]; then kind=d; else kind=o; fi
	printf "%s %s//%s//\n" $kind "$p" "$(readlink "$p")"
done'
xargs -0 stat -c "$form" <"$list" 2>/dev/null
[ "$3" != yes ] || find . -xdev \( -type f -o -type d -o -type l \) -exec stat -c "$form" {} +
printf '\n--hawser--\n'
xargs -0 sh -c "$links" sh <"$list"
[ "$3" != yes ] || find . -xdev -type l -exec sh -c "$links" sh {} +
exit 0
"""
)

SUMS: Final = (
    _STATE
    + r"""
# $1: destination, $2: how many bytes of NUL-separated paths to read.
cd "$1" && head -c "$2" | xargs -0 sha256sum 2>/dev/null
exit 0
"""
)

UPLOAD: Final = (
    _STATE
    + _BUSY
    + r"""
# $1: release, $2: name of the file, $3: how many bytes to read.
umask 077
mkdir -p "$state/$1" || exit 1
head -c "$3" >"$state/$1/$2" || exit 1
size=$(wc -c <"$state/$1/$2")
[ "$size" -eq "$3" ] || die "$2 arrived with $size of $3 bytes: is the disk full?"
echo uploaded >"$state/$1/state"
"""
)

SAVE: Final = (
    _STATE
    + _BUSY
    + r"""
# $1: release, $2: destination. Keeps what the release will change; nothing is changed yet.
umask 077
here=$state/$1
printf '%s\n' "$2" >"$here/destination"
# Archives of as many files as fit on a command line: busybox' tar reads no lists.
pack='here=$1 destination=$2; shift 2; exec tar -C "$destination" -cf "$here/before.$$.tar" "$@"'
if [ -s "$here/touched" ]; then
	tr '\n' '\0' <"$here/touched" | xargs -0 sh -c "$pack" sh "$here" "$2" || die "what is there could not be saved"
fi
# Without their content.
while IFS= read -r path; do stat -c '%a %u %g %n' "$2/$path"; done <"$here/directories" >"$here/before.list"
echo saved >"$here/state"
"""
)

_REMOVE = r"""
# Standard input: paths, the deepest first. A directory that still holds something stays.
remove() {
	while IFS= read -r path; do
		if [ -d "$path" ] && [ ! -L "$path" ]; then rmdir "$path" 2>/dev/null; else rm -f "$path"; fi
	done
}
"""

APPLY: Final = (
    _STATE
    + _REMOVE
    + _BUSY
    + r"""
# $1: release, $2: destination.
here=$state/$1
echo applying >"$here/state"
mkdir -p "$2" && cd "$2" || exit 1
remove <"$here/remove"
tar -xpf "$here/new.tar" || exit 1
rm -f "$here/new.tar"
echo applied >"$here/state"
"""
)

RESTORE: Final = (
    _STATE
    + _REMOVE
    + _BUSY
    + r"""
# $1: release. Puts back what the release changed.
here=$state/$1
read -r destination <"$here/destination" || die "release $1 has saved nothing"
cd "$destination" || exit 1
remove <"$here/added"
while read -r mode uid gid path; do
	mkdir -p "$path"
	[ "$(id -u)" != 0 ] || chown "$uid:$gid" "$path"
	chmod "$mode" "$path"
done <"$here/before.list"
for one in "$here"/before.*.tar; do
	[ ! -e "$one" ] || tar -xpf "$one" || exit 1
done
rm -rf "$here"
unlock
"""
)

FORGET: Final = _STATE + '[ -z "$1" ] || rm -rf "$state/$1"\nunlock\n'

KEEP: Final = (
    _STATE
    + r"""
# $1: release, $2: what is told of it, $3: how many releases to keep.
printf '%s\n' "$2" >"$state/$1/told"
echo done >"$state/$1/state"
unlock
cd "$state" && ls -1 | sort -r | tail -n +$(($3 + 1)) | while IFS= read -r old; do rm -rf "$old"; done
"""
)

HISTORY: Final = (
    _STATE
    + r"""
# Each release that can be undone, the newest first: what was told of it, a line each.
cd "$state" 2>/dev/null || exit 0
for one in $(ls -1 | sort -r); do
	[ "$(cat "$one/state" 2>/dev/null)" = done ] && cat "$one/told"
done
exit 0
"""
)

RESTART: Final = (
    _STATE
    + _BUSY
    + r"""
# $1: release, $2: unit, $3: seconds. For that long the end of hawser-app is not the container's: a release that does
# not start is to be undone, and a container that ends would be made anew of its image.
case $2 in
hawser-app | hawser-app.service)
	place=/run/systemd/system/hawser-app.service.d
	until=$(($(date +%s) + $3))
	mkdir -p $place
	# A container of an earlier hawser-runtime has a script that would end it all the same.
	tried='exit 0'
	grep -q released /dev/hawser/ended && tried='exec /bin/sh /dev/hawser/ended released'
	cat >$place/99-hawser-release.conf <<EOF
[Service]
Restart=no
ExecStopPost=
ExecStopPost=/bin/sh -c '[ \$\$(date +%%s) -ge $until ] || $tried; exec /bin/sh /dev/hawser/ended'
EOF
	systemctl daemon-reload
	;;
esac
if [ -d /run/systemd/system ]; then
	systemctl reset-failed "$2" 2>/dev/null
	systemctl restart "$2"
	exit
fi
name=${2%.service}
if command -v rc-service >/dev/null; then
	rc-service "$name" restart
	exit
fi
"/etc/init.d/$name" restart
"""
)

COMMAND: Final = _STATE + _BUSY + 'sh -c "$2"\n'

LET_GO: Final = (
    _STATE
    + r"""
place=/run/systemd/system/hawser-app.service.d
[ -e $place/99-hawser-release.conf ] || exit 0
rm -f $place/99-hawser-release.conf
rmdir $place 2>/dev/null
exec systemctl daemon-reload
"""
)

UNIT: Final = (
    _STATE
    + r"""
# $1: release, $2: unit. Its state, as systemctl(1) shows it.
beat "$1"
if [ -d /run/systemd/system ]; then
	exec systemctl show -p LoadState -p ActiveState -p SubState -p Result -p NRestarts -p MainPID -p ExecMainStatus \
		-p Type "$2"
fi
name=${2%.service}
if command -v rc-service >/dev/null; then
	check="rc-service $name"
	rc-service --exists "$name" || echo LoadState=not-found
else
	check=/etc/init.d/$name
	[ -x "$check" ] || echo LoadState=not-found
fi
if $check status >/dev/null 2>&1; then echo ActiveState=active; else echo ActiveState=failed; fi
"""
)

JOURNAL: Final = (
    _STATE
    + r"""
journalctl --no-pager -q -o cat -n 10 -u "$1" 2>/dev/null
exit 0
"""
)
