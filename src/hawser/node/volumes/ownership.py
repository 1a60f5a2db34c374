"""fsGroup: a volume belongs to a group, whose members may use it.

Source: Kubernetes documentation, "Configure volume permission and ownership change policy for Pods"; kubelet's rules.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hawser.runtime import trees

_WRITE, _READ, _FOLDER = 0o660, 0o440, 0o2110


def own(folder: Path, group: int, *, readonly: bool = False) -> None:
    """Gives everything below ``folder`` to a group: it may read and, unless readonly, write; folders are setgid.

    Other pods may change what is there meanwhile. Raises the first OSError that kept something from it.
    """
    files = _READ if readonly else _WRITE
    problems: list[OSError] = []

    def each(base: int, name: str, _info: os.stat_result) -> None:
        try:
            _give(name, base, group, files)
        except FileNotFoundError:
            pass
        except OSError as error:
            problems.append(error)

    trees.visit(folder, each, lambda _base, _name: None)
    if problems:
        raise problems[0]
    _give(str(folder), None, group, files)


def is_owned(folder: Path, group: int) -> bool:
    """Whether the folder itself is as ``own`` leaves it (fsGroupChangePolicy OnRootMismatch asks no more)."""
    seen = folder.stat()
    wanted = _WRITE | _FOLDER
    return seen.st_gid == group and seen.st_mode & wanted == wanted


def _give(name: str, base: int | None, group: int, files: int) -> None:
    # By descriptor: between two calls a name may have become a link to something of the node's.
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=base)
    try:
        this = Path(f"/proc/self/fd/{found}")
        os.chown(this, -1, group)
        mode = os.fstat(found).st_mode
        if not stat.S_ISLNK(mode):
            more = files | (_FOLDER if stat.S_ISDIR(mode) else 0)
            this.chmod(stat.S_IMODE(mode) | more)
    finally:
        os.close(found)
