"""fsGroup: a volume belongs to a group, whose members may use it.

Source: Kubernetes documentation, "Configure volume permission and ownership change policy for Pods"; kubelet's rules.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_WRITE, _READ, _FOLDER = 0o660, 0o440, 0o2110


def own(folder: Path, group: int, *, readonly: bool = False) -> None:
    """Gives everything below ``folder`` to a group: it may read and, unless readonly, write; folders are setgid."""
    files = _READ if readonly else _WRITE
    for _, folders, leaves, descriptor in os.fwalk(folder):
        for name in (*folders, *leaves):
            _give(name, descriptor, group, files)
    _give(str(folder), None, group, files)


def is_owned(folder: Path, group: int) -> bool:
    """Whether the folder itself is as ``own`` leaves it (fsGroupChangePolicy OnRootMismatch asks no more)."""
    seen = folder.stat()
    wanted = _WRITE | _FOLDER
    return seen.st_gid == group and seen.st_mode & wanted == wanted


def _give(name: str, base: int | None, group: int, files: int) -> None:
    os.chown(name, -1, group, dir_fd=base, follow_symlinks=False)
    mode = os.stat(name, dir_fd=base, follow_symlinks=False).st_mode
    if not stat.S_ISLNK(mode):
        os.chmod(name, stat.S_IMODE(mode) | files | (_FOLDER if stat.S_ISDIR(mode) else 0), dir_fd=base)
