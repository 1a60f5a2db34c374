# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH103, PTH108, PTH118, PTH208
"""The journal of a pod's containers: what happened inside that nobody saw, for the one who tells the pod's owner.

A file of JSON lines for each container in `.journal`, beside the runtime's notes of the same containerd; it outlives
the container. Every line has `time` (seconds since 1970), `kind`, and `namespace`, `pod`, `uid`, `container`.
Nothing is written for a container that is in no pod.
"""

from __future__ import annotations

import os
import time

from .light import Any, dumps

_SIZE = 64 * 1024  # bytes of one container's journal; what happens later is left out
_FILES = 1000  # journals that are kept where nobody collects them


def append(records: str, container_id: str, names: dict[str, str], kind: str, **fields: Any) -> None:
    """Adds a line. `names`: the pod's, as hooks see them (HAWSER_POD …). Never fails: the container goes first."""
    if "HAWSER_POD" not in names:
        return
    directory = os.path.join(records, ".journal")
    row: dict[str, Any] = {"time": round(time.time(), 3), "kind": kind}
    row |= {name.removeprefix("HAWSER_").removeprefix("POD_").lower(): value for name, value in names.items()}
    line = dumps({**row, **fields}).encode() + b"\n"
    make_room(directory)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        path = os.path.join(directory, container_id + ".jsonl")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        if os.fstat(descriptor).st_size + len(line) <= _SIZE:
            os.write(descriptor, line)  # one write: lines of two writers do not mix
    except OSError:
        pass  # no room on the node
    finally:
        os.close(descriptor)


def make_room(directory: str) -> None:
    """Removes the oldest journals when there are too many, as far as that works."""
    try:
        names = os.listdir(directory)
        if len(names) >= _FILES:
            paths = sorted((os.path.join(directory, name) for name in names), key=os.path.getmtime)
            for path in paths[: _FILES // 10]:
                os.unlink(path)
    except OSError:
        pass  # there is none yet, or another process is at it
