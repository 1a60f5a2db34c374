# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH112, PTH116, PTH118, PTH123, PTH208
"""What is left of containers whose `create` or `delete` was killed: mounts and notes that nobody asks for any more.

containerd does not call `delete` again once the real runtime has done its part, and may not call it at all for what it
never heard of. So whoever makes a container has what is left of others deleted. One whose `delete` was killed before
the real runtime was through is told by the launcher's mark; without that nobody can know that a container that has
stopped is wanted no more: CRI-O keeps such ones.
"""

from __future__ import annotations

import os
import time

from . import spawn

_CALM_SECONDS = 300.0  # so long the real runtime may not know yet of a container that is being made
_AT_ONCE = 5


def found(records: str, root: str, now: float) -> list[str]:
    """Ids of containers that the real runtime does not know and nobody makes just now, some of them.

    root: the real runtime's directory, where each container has one of its own.
    """
    ids = []
    for container_id in {*_names(records), *_names(os.path.join(records, ".inside"))}:
        if container_id[0] == "." or os.path.lexists(os.path.join(root, container_id)):
            continue
        places = (os.path.join(records, container_id), os.path.join(records, ".inside", container_id))
        if now - max(map(_made, places)) > _CALM_SECONDS:
            ids.append(container_id)
    return ids[:_AT_ONCE]


def interrupted(records: str) -> list[tuple[str, str]]:
    """Ids of containers whose `delete` was begun by a process that is gone, some of them, and its flag."""
    marks = []
    for container_id in _names(os.path.join(records, ".deleting")):
        pid, _, flag = _content(os.path.join(records, ".deleting", container_id)).decode().strip().partition(" ")
        # It is empty for a moment.
        if pid and not {b"delete", container_id.encode()} <= set(_content(f"/proc/{pid}/cmdline").split(b"\0")):
            marks.append((container_id, flag))
    return marks[:_AT_ONCE]


def clear(launcher: str, records: str, root: str) -> None:
    """Has the launcher delete them, which nobody waits for: poststop hooks may have to run.

    Without a directory of the real runtime nobody can tell what it does not know.
    """
    left = dict(interrupted(records))
    for container_id in found(records, root, time.time()) if root and os.path.isdir(root) else ():
        left.setdefault(container_id, "--force")
    for container_id, flag in left.items():
        words = [launcher, *(["--root", root] if root else []), "delete", *([flag] if flag else []), container_id]
        spawn.start(words, {0: -1, 1: -1, 2: -1}, session=True)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _made(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
