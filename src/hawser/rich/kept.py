"""Clears up the root file systems that hawser-runtime keeps on this node, and tells of those that hold too much.

Who decides: this node. What is kept for a pod goes when no pod of that namespace and name has been here for a day: a
StatefulSet's pod finds it again however long an update takes, and nothing of what was deleted stays for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hawser.api.types import Obj
from hawser.client.clock import Clock, SystemClock
from hawser.client.events import EventRecorder
from hawser.client.informer import Informer
from hawser.runtime import trees

log = logging.getLogger(__name__)

GONE_SECONDS = 24 * 3600.0
LOOK_SECONDS = 60.0
REASON = "RootfsOverLimit"


class Step(StrEnum):
    """What is done about one kept root file system."""

    MARK = "mark"
    UNMARK = "unmark"
    REMOVE = "remove"


@dataclass(frozen=True)
class Kept:
    """What is kept for one container.

    limit: bytes to be measured, 0 for none. gone: since when there is no pod; since 1970, in s.
    """

    path: Path
    namespace: str
    pod: str
    container: str
    limit: int = 0
    gone: float | None = None
    mounted: bool = False


def plan(
    found: Iterable[Kept], present: Callable[[str, str], bool], now: float, patience: float = GONE_SECONDS
) -> list[tuple[Step, Kept]]:
    """What is to be done now. Pure. present: whether a pod of a namespace and name is on this node."""
    steps = []
    for kept in found:
        if kept.mounted or present(kept.namespace, kept.pod):
            if kept.gone is not None:
                steps.append((Step.UNMARK, kept))
        elif kept.gone is None:
            steps.append((Step.MARK, kept))
        elif now - kept.gone >= patience:
            steps.append((Step.REMOVE, kept))
    return steps


def find(root: Path) -> list[Kept]:
    """All that is kept below a directory."""
    return [_read(path, root) for path in sorted(root.glob("*/*/*")) if path.is_dir() and not path.is_symlink()]


def apply(step: Step, kept: Kept, now: float) -> None:
    """Does one step; fine to repeat. Raises OSError."""
    mark = kept.path / "gone"
    if step is Step.MARK:
        mark.touch()
        os.utime(mark, (now, now))
    elif step is Step.UNMARK:
        mark.unlink(missing_ok=True)
    else:
        trees.remove(kept.path)
        for parent in kept.path.parents[:2]:
            with contextlib.suppress(OSError):
                parent.rmdir()


class KeptRoots:
    """Looks after a node's kept root file systems while `run` runs.

    informer: the pods of this node.
    """

    def __init__(self, root: Path, informer: Informer, recorder: EventRecorder, clock: Clock | None = None) -> None:
        self._root = root
        self._informer = informer
        self._recorder = recorder
        self._clock = clock or SystemClock()

    async def run(self) -> None:
        """Looks every minute until it is cancelled; with nothing kept that is one question to the file system."""
        await self._informer.synced()
        while True:
            if self._root.is_dir():
                try:
                    await self._look()
                except OSError as error:
                    log.warning("kept root file systems are looked at later: %s", error)
            await self._clock.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        found = await asyncio.to_thread(find, self._root)
        now = self._clock.now().timestamp()
        for step, kept in plan(found, lambda *key: self._informer.get(*key) is not None, now):
            if step is Step.REMOVE:
                log.info("what was kept of %s/%s %s is removed", kept.namespace, kept.pod, kept.container)
            await asyncio.to_thread(apply, step, kept, now)
        for kept in found:
            pod = self._informer.get(kept.namespace, kept.pod)
            if kept.limit and pod is not None:
                self._tell(pod, kept, await asyncio.to_thread(trees.size, kept.path / "upper"))

    def _tell(self, pod: Obj, kept: Kept, used: int) -> None:
        if used > kept.limit:
            text = f"container {kept.container} keeps {used} bytes in its root file system and rootfs-size allows "
            text += f"{kept.limit}: it will not be started again"
            self._recorder.event({"apiVersion": "v1", "kind": "Pod", **pod}, "Warning", REASON, text)


def _read(path: Path, root: Path) -> Kept:
    namespace, pod, container = path.relative_to(root).parts
    told: Obj = {}
    with contextlib.suppress(OSError, ValueError):
        told = json.loads((path / "kept.json").read_text())
    gone = None
    with contextlib.suppress(OSError):
        gone = (path / "gone").stat().st_mtime
    mounted = any(os.path.ismount(place) for place in (str(told.get("mounted") or ""), path / "space") if place)
    limit = 0 if told.get("enforced") else int(told.get("limit") or 0)  # the kernel's, or ours to look after
    return Kept(path, namespace, pod, container, limit, gone, mounted)
