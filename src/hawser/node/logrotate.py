"""Keeping containers' logs small: a log that has grown too long is renamed, and the oldest of its kind removed.

Source: kubelet's containerLogMaxSize (10Mi) and containerLogMaxFiles (5); CRI's ReopenContainerLog.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError

log = logging.getLogger(__name__)

MAX_BYTES = 10 << 20
MAX_FILES = 5
CHECK_SECONDS = 10.0


async def run(runtime: Runtime, logs: Callable[[], Iterable[tuple[str, Path]]]) -> None:
    """Looks after logs until cancelled. logs: container id and log of every running container."""
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        for container_id, path in list(logs()):
            try:
                await rotate(runtime, container_id, path)
            except (CRIError, OSError) as err:
                log.warning("log %s is rotated later: %s", path, err)


async def rotate(runtime: Runtime, container_id: str, path: Path, limit: int = MAX_BYTES) -> bool:
    """Begins a new log when the one at ``path`` has reached the limit; whether it did. Raises CRIError, OSError."""
    try:
        if path.stat().st_size < limit:
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
    for old in sorted(path.parent.glob(f"{path.name}.*"))[: -(MAX_FILES - 1)]:
        old.unlink(missing_ok=True)
    return True
