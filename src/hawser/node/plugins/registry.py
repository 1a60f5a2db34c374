"""Plugins that register with this node: sockets in a folder, each asked what it is, and handed to who knows its type.

Source: kubelet's plugin watcher (pluginregistration/v1); Kubernetes documentation, "CSI drivers"
(node-driver-registrar), "Dynamic Resource Allocation", "Device Plugins".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from hawser.api.errors import APIError
from hawser.node.cri.errors import CRIError
from hawser.notices import CREATE, DELETE, MOVED_TO, Notices

log = logging.getLogger(__name__)

_TELL = "NotifyRegistrationStatus"
_ASK_SECONDS = 10.0
_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 120.0
_EARLY_SECONDS = 0.01  # what a timer may be ahead of its time

Identity = tuple[str, int, int]
"""A socket's path, inode and time of change: one that is made anew is another one."""


class Handler(Protocol):
    """Who knows plugins of one type. Several may come at once. Raises CRIError and APIError: then it is tried again."""

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> str:
        """Takes a plugin in; why it is not taken, "" when it is."""

    async def deregister(self, name: str, endpoint: str) -> None:
        """A plugin is gone."""


Handlers = Mapping[str, Callable[[], Handler]]
"""By the plugins' type; made when the first one of it comes."""


class _Plugin(NamedTuple):
    type: str
    name: str
    endpoint: str


class _Failure(NamedTuple):
    """pause: seconds until the next attempt; due: when that is, by the event loop's clock."""

    pause: float
    due: float


class Registry:
    """The plugins of a node. folder: where their sockets appear; watching: whether changes of it are noticed."""

    def __init__(self, folder: Path, handlers: Handlers) -> None:
        self.folder = folder
        self._handlers = handlers
        self._sockets: dict[Identity, _Plugin | None] = {}
        self._failures: dict[Identity, _Failure] = {}
        self._task: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._notices: Notices | None = None
        self.watching = False

    def start(self) -> None:
        """Begins to watch the folder; without a watch, ``watching`` stays False and somebody else has to ``look``."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        try:
            notices = self._notices = Notices(CREATE | DELETE | MOVED_TO)
            notices.watch(self.folder)
            asyncio.get_running_loop().add_reader(notices.descriptor, self._changed, notices)
            self.watching = True
        except OSError as err:
            log.warning("%s is not watched: %s", self.folder, err)
        self.look()

    def _changed(self, notices: Notices) -> None:
        notices.read()
        self.look()

    def look(self) -> None:
        """Takes in sockets that have come and forgets those that are gone."""
        if self._task is not None and not self._task.done():
            # What changed meanwhile is looked at then.
            self._task.add_done_callback(lambda task: None if task.cancelled() else self.look())
            return
        there = set()
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            with contextlib.suppress(OSError):
                seen = path.stat()
                if stat.S_ISSOCK(seen.st_mode):
                    there.add((str(path), seen.st_ino, seen.st_ctime_ns))
        if there != set(self._sockets):
            self._task = asyncio.create_task(self._update(there), name="plugins")

    async def close(self) -> None:
        """Ends the watch."""
        if self._notices is not None:
            asyncio.get_running_loop().remove_reader(self._notices.descriptor)
            self._notices.close()
        if self._again is not None:
            self._again.cancel()
        if self._task is not None:
            self._task.cancel()

    async def _update(self, there: set[Identity]) -> None:
        for identity in set(self._sockets) - there:
            plugin = self._sockets.pop(identity)
            if plugin is not None:
                log.info("the plugin %s (%s) is gone", plugin.name, plugin.type)
                await self._handlers[plugin.type]().deregister(plugin.name, plugin.endpoint)
        self._failures = {identity: failure for identity, failure in self._failures.items() if identity in there}
        loop = asyncio.get_running_loop()
        late = loop.time() + _EARLY_SECONDS
        waiting = {identity for identity, failure in self._failures.items() if failure.due > late}
        # One that does not answer holds up none of the others.
        await asyncio.gather(*map(self._attempt, sorted(there - set(self._sockets) - waiting)))
        if self._again is not None:
            self._again.cancel()
        if self._failures:
            self._again = loop.call_at(min(failure.due for failure in self._failures.values()), self.look)

    async def _attempt(self, identity: Identity) -> None:
        try:
            problem = await self._register(identity)
        except (CRIError, APIError, OSError) as err:
            problem = str(err)
        except Exception as err:
            # Whatever one has brought about is none of the others' business.
            log.exception("the plugin at %s is not understood", identity[0])
            problem = str(err) or type(err).__name__
        failed = self._failures.pop(identity, None)
        if problem:
            pause = min(2 * failed.pause, _LONGEST_RETRY_SECONDS) if failed is not None else _RETRY_SECONDS
            self._failures[identity] = _Failure(pause, asyncio.get_running_loop().time() + pause)
            log.info("the plugin at %s is asked again: %s", identity[0], problem)

    async def _register(self, identity: Identity) -> str:
        """Takes in what is behind a socket; why it is to be tried again, "" when it is not. Raises CRIError."""
        from hawser.node.plugins import tables
        from hawser.node.plugins.service import Service

        socket = identity[0]
        registrar = Service(tables.registration(), "Registration", socket)
        try:
            told = await registrar.call("GetInfo", _ASK_SECONDS)
            plugin = _Plugin(told.type, told.name, told.endpoint or socket)
            if told.type not in self._handlers:
                problem = f"no handler registered for plugin type: {told.type} at socket {socket}"
                self._sockets[identity] = None
                await registrar.call(_TELL, _ASK_SECONDS, plugin_registered=False, error=problem)
                return ""
            versions = list(told.supported_versions)
            try:
                problem = await self._handlers[told.type]().register(plugin.name, plugin.endpoint, versions)
            except (CRIError, APIError) as err:
                problem = err.message
            if not problem:
                self._sockets[identity] = plugin
                log.info("the plugin %s (%s) is registered", plugin.name, plugin.type)
            await registrar.call(_TELL, _ASK_SECONDS, plugin_registered=not problem, error=problem)
            return problem
        finally:
            await registrar.close()
