"""hostPath: a file or folder of the node, checked or made by its type.

Source: Kubernetes documentation, "hostPath"; the words are kubelet's.
"""

from __future__ import annotations

import stat
from pathlib import Path

from hawser.node.volumes.errors import VolumeError

_CHECKS = {
    "Directory": ("a directory", stat.S_ISDIR),
    "File": ("a file", stat.S_ISREG),
    "Socket": ("a socket file", stat.S_ISSOCK),
    "CharDevice": ("a character device", stat.S_ISCHR),
    "BlockDevice": ("a block device", stat.S_ISBLK),
}


def check(path: Path, kind: str) -> None:
    """Checks or makes what is at ``path``. Raises VolumeError, OSError."""
    if kind == "DirectoryOrCreate" and not path.exists():
        path.mkdir(parents=True, mode=0o755)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    wanted = _CHECKS.get(kind.removesuffix("OrCreate"))
    if wanted and not (path.exists() and wanted[1](path.stat().st_mode)):
        raise VolumeError(f"hostPath type check failed: {path} is not {wanted[0]}")
