"""Keeping containers' logs small: a log that has grown too long is renamed, and the oldest of its kind removed.

Logs of instances that the runtime does not have any more go, too. Source: kubelet's containerLogMaxSize (10Mi) and
containerLogMaxFiles (5), its garbage collection of dead containers; CRI's ReopenContainerLog.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError

log = logging.getLogger(__name__)

MAX_BYTES = 10 << 20
MAX_FILES = 5
CHECK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a log grows in bytes, and how many files of it there are at most."""

    most: int = MAX_BYTES
    files: int = MAX_FILES


USUAL = Sizes()


async def run(runtime: Runtime, logs: Callable[[], Iterable[tuple[str, Path, bool]]], sizes: Sizes = USUAL) -> None:
    """Looks after logs until cancelled. logs: id, log and whether it runs of every container in the runtime."""
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        known = list(logs())
        for container_id, path, running in known:
            try:
                if running:
                    await rotate(runtime, container_id, path, sizes)
            except (CRIError, OSError) as err:
                log.warning("log %s is rotated later: %s", path, err)
        # The first instances have no logs of earlier ones beside theirs.
        for folder in {path.parent for _, path, running in known if running and path.name not in ("0.log", "1.log")}:
            forget(folder, {path.name for _, path, _ in known if path.parent == folder})


def forget(folder: Path, kept: set[str]) -> None:
    """Removes the logs of a container's instances that are older than all whose logs are kept, by their names."""
    oldest = min((number(name) for name in kept), default=0)
    for path in folder.iterdir():
        if number(path.name) < oldest:
            path.unlink(missing_ok=True)


def number(name: str) -> int:
    """Which instance a log is of: ``3.log`` and what was renamed to ``3.log.TIME`` are the fourth one's."""
    text = name.partition(".")[0]
    return int(text) if text.isdigit() else 0


async def rotate(runtime: Runtime, container_id: str, path: Path, sizes: Sizes = USUAL) -> bool:
    """Begins a new log when the one at ``path`` has reached the limit; whether it did. Raises CRIError, OSError."""
    try:
        if path.stat().st_size < sizes.most:
            return False
    except FileNotFoundError:
        return False
    aside = path.with_name(f"{path.name}.{datetime.now(UTC).strftime('%Y%m%d-%H%M%S.%f')}")
    path.rename(aside)
    try:
        await runtime.reopen_container_log(container_id)
    except BaseException:
        # The runtime goes on writing into the file that it has open: it keeps its name.
        if not path.exists():
            aside.rename(path)
        raise
    for old in sorted(path.parent.glob(f"{path.name}.*"))[: -(sizes.files - 1)]:
        old.unlink(missing_ok=True)
    return True
