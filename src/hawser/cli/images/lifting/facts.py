"""Facts that a running machine tells by its own tools, and the tar command that its version of tar understands.

One shell script asks everything; each part that a machine can not answer stays empty.
"""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hawser.cli.images.lifting import ports
from hawser.cli.images.lifting.report import Running
from hawser.cli.images.lifting.selection import Rule

_MARK = "@@hawser:"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SCRIPT = f"""\
PATH=$PATH:{_PATH}; export PATH; LC_ALL=C; export LC_ALL
part() {{ echo "{_MARK}$1"; }}
part id; id -u
part architecture; uname -m
part mountinfo; cat /proc/self/mountinfo
part swaps; cat /proc/swaps
part addresses; ip -o address show 2>/dev/null || ifconfig -a
part ports; ss -lntup 2>/dev/null || netstat -lntup
part systemd; systemctl --version
part tar; tar --help
part sizes; [ -z "$SIZES" ] || du -xk /etc /usr /opt /srv /home /root /var | awk -F/ 'NF <= 4'
part end
"""
_ADDRESS = re.compile(r"\binet6? (?:addr:)?\s*([0-9a-fA-F:.]+)")


@dataclass(frozen=True)
class Facts:
    """What a machine told."""

    uid: int = 0
    mountinfo: str = ""
    swaps: tuple[Rule, ...] = ()
    tar_help: str = ""
    sizes: dict[str, int] = field(default_factory=dict)  # bytes by directory, when they were asked for
    complete: bool = False
    running: Running = field(default_factory=Running)


def parse(text: str) -> Facts:
    """The facts in what the script prints."""
    parts: dict[str, str] = {}
    for part in text.split(_MARK)[1:]:
        name, _, content = part.partition("\n")
        parts[name.strip()] = content
    found = re.search(r"systemd (\d+)", parts.get("systemd", ""))
    own = {address for address in _ADDRESS.findall(parts.get("addresses", "")) if not _everywhere(address)}
    machine = parts.get("architecture", "").strip()
    notes = []
    if machine and machine != platform.machine():
        notes.append(
            f"the machine's processor is {machine}, this node's {platform.machine()}: the image does not run here"
        )
    return Facts(
        uid=int(parts.get("id", "").strip() or 0),
        mountinfo=parts.get("mountinfo", ""),
        swaps=_swap_files(line.split()[0] for line in parts.get("swaps", "").splitlines()[1:] if line.split()),
        tar_help=parts.get("tar", ""),
        sizes=_sizes(parts.get("sizes", "")),
        complete="end" in parts,
        running=Running(
            addresses=frozenset(own),
            ports=tuple(ports.running(parts.get("ports", ""))),
            systemd=int(found[1]) if found else 0,
            notes=tuple(notes),
        ),
    )


def of_this_machine() -> Facts:
    """The facts of the machine this runs on."""
    return parse(subprocess.run(["sh", "-s"], input=SCRIPT, capture_output=True, text=True, errors="replace").stdout)


def tar_help() -> str:
    """What this machine's tar says of itself; empty without one."""
    try:
        return subprocess.run(["tar", "--help"], capture_output=True, text=True).stdout
    except FileNotFoundError:
        return ""


def fstab_swap(fstab: str) -> tuple[Rule, ...]:
    """Swap files that fstab(5) names."""
    rows = (line.split() for line in fstab.splitlines() if not line.lstrip().startswith("#"))
    return _swap_files(row[0] for row in rows if len(row) > 2 and row[2] == "swap")


def tar_command(understood: str, root: str, left_out: Sequence[str], members: Sequence[str] = (".",)) -> list[str]:
    """The words that make tar write a root to its standard output.

    `understood` is the help text of the tar that is to run, `left_out` are patterns as in selection.py.
    """
    wanted = (
        *("--numeric-owner", "--sparse", "--xattrs", "--xattrs-include=*", "--sort=name", "--warning=no-file-ignored"),
        *("--anchored", "--wildcards", "--no-wildcards-match-slash"),
    )
    known = [option for option in wanted if option.partition("=")[0] in understood]
    # What tar would read otherwise is left to the selection, which sees all that tar gives.
    plain = [pattern for pattern in left_out if not set("[\\") & set(pattern) and "**/" not in pattern]
    patterns = [f"--exclude=./{pattern.replace('**', '*')}" for pattern in plain]
    return ["tar", "--create", "--file=-", "--format=posix", *known, *patterns, f"--directory={root}", *members]


def quoted(command: Sequence[str]) -> str:
    """A command for a remote shell."""
    return f"PATH=$PATH:{_PATH} LC_ALL=C {shlex.join(command)}"


def _everywhere(address: str) -> bool:
    return address.startswith(("127.", "fe80:", "0.")) or address == "::1"


def _swap_files(names: Iterable[str]) -> tuple[Rule, ...]:
    return tuple(
        Rule(name.strip("/"), "swap is the node's")
        for name in names
        if name.startswith("/") and not name.startswith("/dev/")
    )


def _sizes(text: str) -> dict[str, int]:
    rows = (line.partition("\t") for line in text.splitlines())
    return {path.strip("/"): int(size) * 1024 for size, tab, path in rows if tab and size.strip().isdigit()}
