"""Rich containers, as far as the node agent is concerned: the view of their own that lxcfs gives them.

Nothing of it is loaded before the first rich pod.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from hawser.api.types import Obj
from hawser.client.events import EventRecorder

if TYPE_CHECKING:
    from hawser.rich.view.manager import Manager

HANDLER = "rich"
"""The runtime handler of rich pods."""
_VIEW = "rich.hawser.dev/view"
_REASON = "HostView"
_CALM_LISTINGS = 2
"""After so many listings without rich sandboxes lxcfs ends; the agent lists every 15 s or so."""


def outlived(container_id: str) -> bool:
    """Whether a container that has ended did so for another reason than the one that ran out of memory in it before."""
    from hawser.rich.application import outlived as told
    from hawser.rich.journal import directories, find

    place = find(container_id, list(directories()))
    return place is not None and told(place.last())


class RichPods:
    """The rich pods of a node. home: of the view, which hawser-runtime is installed with; libraries: see Manager."""

    def __init__(self, home: Path, libraries: Path, recorder: EventRecorder) -> None:
        self._home = home
        self._libraries = libraries
        self._recorder = recorder
        self._manager: Manager | None = None
        self._calm = 0
        self._task: asyncio.Task[object] | None = None

    async def prepare(self, pod: Obj, handler: str) -> None:
        """Before the sandbox of a pod is made: has lxcfs serve, or tells that it cannot."""
        if handler != HANDLER:
            return
        self._calm = 0
        manager = self._view()
        # A RichProfile may ask for another time, which the pod's own annotations do not tell.
        await manager.provide()
        if (pod["metadata"].get("annotations") or {}).get(_VIEW) == "host":
            return
        why = await manager.ensure()
        text = "containers see the node's processors and memory, not their own limits"
        if why:
            self._recorder.event(pod, "Warning", _REASON, f"{text}: {why}")
        elif manager.complaint:
            self._recorder.event(pod, "Warning", _REASON, f"{text}, where they ask libc: {manager.complaint}")

    def started(self, handler: str) -> None:
        """After a container has started."""
        if handler == HANDLER and self._manager is not None:
            self._manager.started()

    def listed(self, rich: bool) -> None:
        """From time to time: whether there are rich sandboxes."""
        if self._task is not None and not self._task.done():
            return
        self._calm = 0 if rich else self._calm + 1
        # What an earlier agent had running is looked after, and ended when nobody needs it.
        if self._manager is None and (rich or (self._home / "offers").exists()):
            self._task = asyncio.create_task(self._view().ensure(), name="lxcfs starts")
        elif self._manager is not None and self._manager.active and self._calm > _CALM_LISTINGS:
            self._task = asyncio.create_task(self._manager.retire(), name="lxcfs ends")

    def _view(self) -> Manager:
        if self._manager is None:
            from hawser.rich.view.manager import Manager

            self._manager = Manager(self._home, self._libraries)
        return self._manager

    async def close(self) -> None:
        """Lets go; lxcfs goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._manager is not None:
            await self._manager.close()
