"""Plugins that register with this node: sockets in a folder, each asked what it is, and handed to who knows its type.

Source: kubelet's plugin watcher (pluginregistration/v1); Kubernetes documentation, "CSI drivers"
(node-driver-registrar), "Dynamic Resource Allocation", "Device Plugins".
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from hawser.api.errors import APIError
from hawser.node.cri.errors import CRIError

log = logging.getLogger(__name__)

# inotify(7)
_CREATE, _DELETE, _MOVED_TO = 0x100, 0x200, 0x80
_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 120.0

Identity = tuple[str, int, int]
"""A socket's path, inode and time of change: one that is made anew is another one."""


class Handler(Protocol):
    """Who knows plugins of one type. The first two raise CRIError and APIError, too: then it is tried again."""

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


class Registry:
    """The plugins of a node. folder: where their sockets appear."""

    def __init__(self, folder: Path, handlers: Handlers) -> None:
        self.folder = folder
        self._handlers = handlers
        self._sockets: dict[Identity, _Plugin | None] = {}
        self._failures: dict[Identity, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._events = -1

    def start(self) -> None:
        """Begins to watch the folder; without a watch, ``watching`` stays False and somebody else has to ``look``."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        libc = ctypes.CDLL(None, use_errno=True)
        events = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if events < 0 or libc.inotify_add_watch(events, os.fsencode(self.folder), _CREATE | _DELETE | _MOVED_TO) < 0:
            # The machine's users of inotify share a limit.
            log.warning("%s is not watched: %s", self.folder, os.strerror(ctypes.get_errno()))
            if events >= 0:
                os.close(events)
        else:
            self._events = events
            asyncio.get_running_loop().add_reader(events, self._changed)
        self.look()

    @property
    def watching(self) -> bool:
        """Whether changes of the folder are noticed."""
        return self._events >= 0

    def _changed(self) -> None:
        os.read(self._events, 1 << 16)
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
        if self._events >= 0:
            asyncio.get_running_loop().remove_reader(self._events)
            os.close(self._events)
        if self._task is not None:
            self._task.cancel()

    async def _update(self, there: set[Identity]) -> None:
        for identity in set(self._sockets) - there:
            plugin = self._sockets.pop(identity)
            if plugin is not None:
                log.info("the plugin %s (%s) is gone", plugin.name, plugin.type)
                await self._handlers[plugin.type]().deregister(plugin.name, plugin.endpoint)
        self._failures = {identity: pause for identity, pause in self._failures.items() if identity in there}
        for identity in sorted(there - set(self._sockets)):
            try:
                problem = await self._register(identity)
            except (CRIError, APIError, OSError) as err:
                problem = str(err)
            if problem:
                pause = self._failures.get(identity, _RETRY_SECONDS)
                self._failures[identity] = min(2 * pause, _LONGEST_RETRY_SECONDS)
                log.info("the plugin at %s is asked again: %s", identity[0], problem)
                asyncio.get_running_loop().call_later(pause, self.look)

    async def _register(self, identity: Identity) -> str:
        """Takes in what is behind a socket; why it is to be tried again, "" when it is not. Raises CRIError."""
        from hawser.node.plugins import tables
        from hawser.node.plugins.service import Service

        socket = identity[0]
        registrar = Service(tables.registration(), "Registration", socket)
        try:
            told = await registrar.call("GetInfo")
            plugin = _Plugin(told.type, told.name, told.endpoint or socket)
            if told.type not in self._handlers:
                problem = f"no handler registered for plugin type: {told.type} at socket {socket}"
                self._sockets[identity] = None
                await registrar.call("NotifyRegistrationStatus", plugin_registered=False, error=problem)
                return ""
            versions = list(told.supported_versions)
            try:
                problem = await self._handlers[told.type]().register(plugin.name, plugin.endpoint, versions)
            except (CRIError, APIError) as err:
                problem = err.message
            if not problem:
                self._sockets[identity] = plugin
                log.info("the plugin %s (%s) is registered", plugin.name, plugin.type)
            await registrar.call("NotifyRegistrationStatus", plugin_registered=not problem, error=problem)
            return problem
        finally:
            await registrar.close()
