"""What a lifted machine needs changed to boot as a container: the small layer on top of its files. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hawser.cli.images.lifting.masking import Decision
from hawser.cli.images.lifting.survey import Captured, Survey
from hawser.cli.images.oci import Entry
from hawser.cli.images.rich import HOST_KEY_UNIT

FOLLOW = "usr/lib/hawser/follow"
# An application of the container that is a service of the machine: shows its journal, ends when it ends, with its code.
_FOLLOW = """\
#!/bin/sh
# The container's application is the service $1: it is started, its journal shown, and its end is the container's.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
unit=$1
show() { systemctl show -p "$1" "$unit" | sed 's/^[^=]*=//'; }
journalctl --boot --follow --no-tail --output=cat --unit="$unit" &
journal=$!
pause=
# Nothing is left behind: on cgroup v1, systemd in a container is not told when what it kills has gone.
end() {
	trap '' TERM
	kill "$journal" $pause 2>/dev/null
	wait
	exit "$1"
}
trap 'systemctl stop "$unit"; end 0' TERM
systemctl start "$unit" || end 1
# Asked for, not waited for: `systemctl start --wait` would start again what someone has stopped.
while :; do
	sleep 2 &
	pause=$!
	wait "$pause"
	# Restarts, by hand or by the service's own Restart=, are no end: there is a job, or the state is activating.
	case $(systemctl show -p ActiveState -p Job "$unit" | grep -v '^Job=0\\?$' | tr '\\n' ' ') in
	"ActiveState=inactive " | "ActiveState=failed ") break ;;
	esac
done
code=$(show ExecMainStatus)
case $(show ExecMainCode) in
2 | 3) code=$((128 + code)) ;;
esac
[ "$code" != 0 ] || [ "$(show ActiveState)" != failed ] || code=1
end "${code:-0}"
"""
_IMKLOG = re.compile(r'^(?=module\(load="imklog"|\$ModLoad\s+imklog)', re.MULTILINE)
_LOGINUID = re.compile(r"^(\s*-?session\s+)required(\s+pam_loginuid\.so)", re.MULTILINE)
_ACTIVE_LINE = re.compile(r"^(?=\s*[^#\s])", re.MULTILINE)


@dataclass(frozen=True)
class Change:
    """A file that is not as it was on the machine."""

    path: str
    reason: str


def _comment(text: str) -> str:
    return _ACTIVE_LINE.sub("# lifted: ", text)


_EDITS: tuple[tuple[re.Pattern[str], Callable[[str], str], str], ...] = (
    (re.compile(r"etc/fstab|etc/crypttab"), _comment, "mounts are volumes of the pod; its lines are comments now"),
    (re.compile(r"etc/rsyslog\.(conf|d/.*)"), lambda t: _IMKLOG.sub("#", t), "a container has no kernel log"),
    (
        re.compile(r"etc/pam\.d/.*"),
        lambda t: _LOGINUID.sub(r"\1optional\2", t),
        "the login id may be set already, which only CAP_AUDIT_CONTROL may change",
    ),
)


def adapt(
    survey: Survey, decisions: Iterable[Decision], follow: bool, new_host_keys: bool
) -> tuple[list[Entry], list[Change]]:
    """The upper layer's entries, sorted by path, and what they change beside the masks."""
    entries = {entry.path: entry for entry in _masks(survey, [d.unit for d in decisions if d.masked])}
    changes = [Change("etc/machine-id", "every container has one of its own")]
    entries["etc/machine-id"] = Entry("etc/machine-id", content=b"", mode=0o444)
    for path, captured in survey.files.items():
        for pattern, edit, why in _EDITS:
            if pattern.fullmatch(path) and (edited := _edited(captured, edit)) is not None:
                entries[path] = Entry(path, edited, mode=captured.mode, uid=captured.uid, gid=captured.gid)
                changes.append(Change(path, why))
    if follow:
        entries[FOLLOW.rpartition("/")[0]] = Entry(FOLLOW.rpartition("/")[0])
        entries[FOLLOW] = Entry(FOLLOW, _FOLLOW.encode())
        changes.append(Change(FOLLOW, "follows the service that is the application"))
    if new_host_keys:
        unit = "etc/systemd/system/ssh-host-key.service"
        wants = "etc/systemd/system/multi-user.target.wants/ssh-host-key.service"
        entries[unit] = Entry(
            unit, HOST_KEY_UNIT.replace("ssh.service", "ssh.service sshd.service").encode(), mode=0o644
        )
        entries[wants] = Entry(wants, link="../ssh-host-key.service")
        changes.append(Change(unit, "makes a host key at the first boot"))
    return [entries[path] for path in sorted(entries)], sorted(changes, key=lambda change: change.path)


def _masks(survey: Survey, units: Iterable[str]) -> Iterable[Entry]:
    """What keeps services from starting: masked units, or without systemd scripts that no link starts any more."""
    if survey.init() != "init":
        return [Entry(f"etc/systemd/system/{unit}", link="/dev/null") for unit in units]
    starts = survey.starts()
    links = [link.rpartition("/") for unit in units for link in starts.get(unit, ())]
    return [Entry(f"{folder}/.wh.{name}", b"", mode=0o644) for folder, _, name in links]


def _edited(captured: Captured, edit: Callable[[str], str]) -> bytes | None:
    text = captured.content.decode(errors="surrogateescape")
    changed = edit(text)
    return changed.encode(errors="surrogateescape") if changed != text else None
