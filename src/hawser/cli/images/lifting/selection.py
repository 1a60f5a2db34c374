"""Which files of a machine make sense in an image. Pure.

Patterns are paths from the root without a leading slash: `*` and `?` stay within one name, `**` crosses directories, so
`tmp/**` is a directory's content and `tmp` the directory with its content. What the user includes prevails.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LOCAL_FILE_SYSTEMS = frozenset("bcachefs btrfs erofs ext2 ext3 ext4 f2fs jfs nilfs2 reiserfs xfs zfs".split())  # noqa: SIM905


@dataclass(frozen=True)
class Rule:
    """What is left out, and why."""

    pattern: str
    reason: str


_TABLE = (
    ("the kernel's, made anew in every container", "proc/** sys/** dev/**"),
    ("lives until the next boot", "run/** tmp/** var/run/** var/lock/**"),
    ("mount points of removable media", "media/** mnt/** lost+found cdrom/**"),
    ("swap is the node's", "swapfile swap.img swap.file swap"),
    ("kernels and boot loaders are the node's", "boot/** lib/modules/** usr/lib/modules/**"),
    ("kernels and boot loaders are the node's", "lib/firmware usr/lib/firmware"),
    ("caches that package managers fill again", "var/cache/apt/** var/lib/apt/lists/** var/cache/dnf/**"),
    ("caches that package managers fill again", "var/cache/yum/** var/cache/zypp/** var/cache/apk/**"),
    ("caches that package managers fill again", "var/cache/pacman/pkg/** var/cache/PackageKit/**"),
    ("containers of the machine, not of the image", "var/lib/docker var/lib/containerd var/lib/containers/storage"),
    ("containers of the machine, not of the image", "var/lib/kubelet var/lib/lxc/** var/lib/lxd"),
    ("containers of the machine, not of the image", "var/lib/lxcfs/** var/lib/machines/**"),
    ("the machine's identity", "var/lib/dbus/machine-id var/lib/systemd/random-seed var/lib/systemd/credential.secret"),
    ("the machine's identity", "var/lib/dhcp/*.leases var/lib/dhclient/*.leases var/lib/NetworkManager/*.lease"),
    ("the journal of another machine id", "var/log/journal/**"),
    ("sparse by user id, as large as the largest id once unpacked", "var/log/lastlog"),
    ("the pod's own is mounted there", "etc/hostname etc/resolv.conf"),
)  # fmt: skip
DEFAULTS = tuple(Rule(pattern, reason) for reason, patterns in _TABLE for pattern in patterns.split())
HOST_KEYS = Rule("etc/ssh/ssh_host_*_key*", "host keys, as asked; new ones are made at the first boot")


class Selection:
    """Decides path by path."""

    def __init__(self, rules: Iterable[Rule], include: Sequence[str] = ()) -> None:
        self.include = tuple(_clean(pattern) for pattern in include)
        self.rules = tuple(Rule(_clean(rule.pattern), rule.reason) for rule in rules)
        self._included = [re.compile(_expression(pattern), re.DOTALL) for pattern in self.include]
        self._rules = [(re.compile(_expression(rule.pattern), re.DOTALL), rule) for rule in self.rules]
        # One expression for the usual answer: nothing matches.
        self._any = re.compile("|".join(_expression(rule.pattern) for rule in self.rules) or r"(?!)", re.DOTALL)

    def left_out(self, path: str) -> Rule | None:
        """The rule that leaves a path (from the root, no leading slash) out; None for what is kept."""
        if not self._any.fullmatch(path) or any(included.fullmatch(path) for included in self._included):
            return None
        return next(rule for expression, rule in self._rules if expression.fullmatch(path))

    def early(self) -> tuple[str, ...]:
        """Patterns that the reader at the source may leave out already: those that no inclusion reaches into."""
        stems = [_stem(pattern) for pattern in self.include]
        return tuple(
            rule.pattern for rule in self.rules if not any(_overlap(_stem(rule.pattern), stem) for stem in stems)
        )


def rules(exclude: Sequence[str] = (), mounts: Iterable[Rule] = (), drop_host_keys: bool = False) -> tuple[Rule, ...]:
    """The rules of one lift: the user's first, so that theirs is the reason told."""
    asked = tuple(Rule(pattern, "as asked") for pattern in exclude)
    return (*asked, *mounts, *DEFAULTS, *((HOST_KEYS,) if drop_host_keys else ()))


def foreign_mounts(mountinfo: str, root: str = "/") -> tuple[Rule, ...]:
    """What is mounted below `root` and is no part of the machine's own disks; `mountinfo` as in proc(5).

    Local disks mounted below (/var, /home) belong to the machine; network, memory and pseudo file systems, loop images
    and a second view of what is there already (bind mounts) do not.
    """
    found: list[Rule] = []
    seen: set[tuple[str, str]] = set()
    prefix = root.rstrip("/")
    for line in mountinfo.split("\n"):
        left, separator, right = line.partition(" - ")
        fields, kinds = left.split(" "), right.split(" ")
        if not separator or len(fields) < 5 or not kinds:
            continue
        device, below, place, kind = fields[2], _unescaped(fields[3]), _unescaped(fields[4]), kinds[0]
        if place == (prefix or "/") or not place.startswith(prefix + "/"):
            seen.add((device, below))
            continue
        pattern = place[len(prefix) :].strip("/") + "/**"
        if kind not in LOCAL_FILE_SYSTEMS:
            found.append(Rule(_literal(pattern), f"another file system is mounted there ({kind})"))
        elif (device, below) in seen or (below != "/" and kind != "btrfs"):
            found.append(Rule(_literal(pattern), "a second view of files that lie elsewhere"))
        seen.add((device, below))
    return tuple(found)


def _literal(pattern: str) -> str:
    stem = pattern.removesuffix("/**")
    return "".join("?" if character in "*?" else character for character in stem) + "/**"


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _clean(pattern: str) -> str:
    return pattern.removeprefix(".").strip("/") if pattern.startswith("./") else pattern.strip("/")


def _expression(pattern: str) -> str:
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    named = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    whole = "".join(named.get(part, re.escape(part)) for part in parts)
    return f"(?:{whole})(?:/.*)?"


def _stem(pattern: str) -> str:
    return re.split(r"[*?]", pattern)[0].rstrip("/")


def _overlap(one: str, other: str) -> bool:
    return not one or not other or (one + "/").startswith(other + "/") or (other + "/").startswith(one + "/")
