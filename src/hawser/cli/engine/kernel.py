"""Limits of the host's kernel that a node full of containers meets.

Each systemd, and the node agent's containerd, watches files with several inotify instances of the host's root; Linux
gives a user 128 of them. Source: proc_sys_fs(5), inotify(7); kind and Kubernetes' own nodes raise them likewise.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

LEAST = {"fs/inotify/max_user_instances": 8192, "fs/inotify/max_user_watches": 524288}


def raise_limits(root: Path = Path("/proc/sys")) -> Iterator[str]:
    """Raises what is lower, and says so; where that is not allowed, it is said and left."""
    for name, least in LEAST.items():
        key = name.replace("/", ".")
        try:
            found = int((root / name).read_text())
            if found < least:
                (root / name).write_text(str(least))
                yield f"{key} is {least} now, it was {found}"
        except (OSError, ValueError) as error:
            yield f"{key} stays as it is: {error}"
