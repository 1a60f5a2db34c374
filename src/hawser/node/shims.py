"""Shims that containerd has lost: it was killed after it had started one and before it had recorded the container.

containerd (1.6, 1.7) then drops the bundle and leaves the process running for good. A shim's command line names its
containerd's socket (``-address``) and its sandbox (``-id``); that is how they are found, and CRI has no word for them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

# Starting a sandbox takes this long at the very most before the runtime lists it.
_LOST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Shim:
    """A shim's process. id: of the sandbox that it was started for."""

    pid: int
    id: str


def running(socket: str, proc: Path = Path("/proc")) -> list[Shim]:
    """The shims of CRI's containers of the containerd at a socket."""
    found = []
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if Path(arguments[0]).name.startswith("containerd-shim-"):
            options = dict(pairwise(arguments))
            if (options.get("-address"), options.get("-namespace")) == (socket, "k8s.io") and options.get("-id"):
                found.append(Shim(int(entry.name), options["-id"]))
    return found


class LostShims:
    """Ends the shims of one containerd that it does not know any more.

    Only for a containerd that serves this engine alone. endpoint: ``unix://PATH``.
    """

    def __init__(self, endpoint: str, now: Callable[[], float] = time.monotonic) -> None:
        self._socket = endpoint.removeprefix("unix://")
        self._now = now
        self._suspects: dict[Shim, float] = {}

    async def sweep(self, known: Iterable[str]) -> list[Shim]:
        """Ends those that were unknown for a minute. known: ids of all sandboxes and containers of the runtime."""
        listed = await asyncio.to_thread(running, self._socket)
        now = self._now()
        ids = set(known)
        self._suspects = {shim: self._suspects.get(shim, now) for shim in listed if shim.id not in ids}
        lost = [shim for shim, since in self._suspects.items() if now - since >= _LOST_SECONDS]
        for shim in lost:
            _end(shim)
        return lost


def _end(shim: Shim) -> None:
    """Kills a shim with the container that it may have begun; nobody will ever ask for either."""
    try:
        children = Path(f"/proc/{shim.pid}/task/{shim.pid}/children").read_text().split()
    except OSError:
        children = []
    for pid in (*map(int, children), shim.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
