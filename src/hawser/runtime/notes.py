# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH103, PTH108, PTH118, PTH123
"""What the node keeps of a rich container while it lives: which init it has, and what its own scripts tell.

The container sees one file of the node, its journal, alone on a tmpfs of 64 KiB: whatever it writes, the node's own
file systems are out of its reach, and there is no name in there that it could make a link of. `delete` moves the
content beside the node's own records of the container (records.py). Nobody trusts it.
"""

from __future__ import annotations

import os

from .light import suppress
from .records import make_room

_SIZE = "size=64k,nr_inodes=4,mode=700,nosuid,nodev,noexec"
_READ = 4096  # bytes at a journal's end: more than a line
_DIGITS = 10
_MOUNT = ("/usr/bin/mount", "/bin/mount")


def note(records: str, container_id: str, init: str, preload: str = "", stop: str = "", group: str = "") -> None:
    """Notes in a file on a tmpfs which init a container has, for `kill`, and for `exec` what is preloaded: a line,
    `INIT[:SIGNAL] [LIBRARY]`; and for `delete` a second one, the control group that counts the container's memory.

    preload: the library that programs get by their environment alone. stop: the signal for a stop, if not the init's.
    """
    os.makedirs(records, mode=0o700, exist_ok=True)
    with open(os.path.join(records, _file_name(container_id)), "w", encoding="utf-8") as file:
        file.write(" ".join(filter(None, (f"{init}:{stop}" if stop else init, preload))) + "\n")
        if group:
            file.write(group + "\n")


def claim(records: str, container_id: str) -> None:
    """Notes when a container was begun to be made, ahead of all that has to be cleared up after it (leftovers.py)."""
    os.makedirs(os.path.join(records, ".inside", _file_name(container_id)), mode=0o700, exist_ok=True)
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(records, ".deleting", container_id))  # that was another one of its name


def open_journal(records: str, container_id: str, root: tuple[int, int]) -> str:
    """Makes the file that the container may write; returns its path, "" where this node can not limit its size.

    root: who root of the container is on the host.
    """
    place = os.path.join(records, ".inside", _file_name(container_id))
    claim(records, container_id)
    make_room(os.path.join(records, ".journal"))
    if not os.path.ismount(place):
        mount = next((path for path in _MOUNT if os.access(path, os.X_OK)), "")
        words = [mount, "-t", "tmpfs", "-o", _SIZE, "hawser-journal", place]
        if not mount or os.waitpid(os.posix_spawn(mount, words, os.environ), 0)[1] != 0:
            return ""
    path = os.path.join(place, "journal")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
    os.chown(path, *root, follow_symlinks=False)
    return path


def oom_kills_before(records: str, container_id: str) -> int:
    """How many of a container were killed for want of memory before its application's last start, as it says; or 0.

    What it says it may have made up: that is about its own end.
    """
    journal = os.path.join(records, ".inside", _file_name(container_id), "journal")
    try:
        file = os.open(journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        end = os.pread(file, _READ, max(0, os.fstat(file).st_size - _READ))
    finally:
        os.close(file)
    told = end.rpartition(b'"oomKills":')[2].partition(b"}")[0]
    return int(told) if told.isdigit() and len(told) < _DIGITS else 0


def _file_name(container_id: str) -> str:
    if container_id in ("", ".", "..") or "/" in container_id:
        raise ValueError(f"container id {container_id!r} is not a file name")
    return container_id
