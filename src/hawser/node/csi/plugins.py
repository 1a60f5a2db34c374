"""CSI drivers that register with this node: sockets in a folder, and the node's CSINode object.

Source: Kubernetes documentation, "CSI drivers" (node-driver-registrar), "CSINode"; kubelet's plugin watcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hawser.api.errors import APIError
from hawser.api.kinds import CSI_NODE, NODE
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.node.cri.errors import CRIError

if TYPE_CHECKING:
    # Loaded when a driver is there: most nodes never have one.
    from hawser.node.csi.driver import Driver, NodeInfo

log = logging.getLogger(__name__)


# inotify(7)
_CREATE, _DELETE, _MOVED_TO = 0x100, 0x200, 0x80
_RETRY_SECONDS = 1.0
_SETTLE_SECONDS = 60.0

Identity = tuple[str, int, int]
"""A socket's path, inode and time of change: one that is made anew is another one."""


class Plugins:
    """The drivers of a node. folder: where their sockets appear. node: the Node as the API has it."""

    def __init__(self, folder: Path, client: Client, node: Callable[[], Obj]) -> None:
        self.folder = folder
        self._client = client
        self._node = node
        self._drivers: dict[str, Driver] = {}
        self._sockets: dict[Identity, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._events = -1
        self._since = time.monotonic()

    def driver(self, name: str) -> Driver | None:
        """A registered driver."""
        return self._drivers.get(name)

    def settled(self) -> bool:
        """Whether drivers that are there have had the time to register."""
        return time.monotonic() - self._since > _SETTLE_SECONDS

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
            self._task = asyncio.create_task(self._update(there), name="csi drivers")

    async def close(self) -> None:
        """Ends the watch and closes the connections."""
        if self._events >= 0:
            asyncio.get_running_loop().remove_reader(self._events)
            os.close(self._events)
        if self._task is not None:
            self._task.cancel()
        for driver in self._drivers.values():
            await driver.close()

    async def _update(self, there: set[Identity]) -> None:
        for identity in set(self._sockets) - there:
            driver = self._drivers.pop(self._sockets.pop(identity), None)
            if driver is not None:
                log.info("the CSI driver %s is gone", driver.name)
                await driver.close()
                try:
                    await self._publish(driver.name, None)
                except APIError as err:
                    log.warning("the CSI driver %s stays in the CSINode: %s", driver.name, err.message)
        for identity in sorted(there - set(self._sockets)):
            try:
                await self._register(identity)
            except (CRIError, APIError) as err:
                log.info("the plugin at %s is asked again: %s", identity[0], err)
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, self.look)

    async def _register(self, identity: Identity) -> None:
        socket = identity[0]
        from hawser.node.csi import tables
        from hawser.node.csi.driver import Driver, Plugin

        registrar = Plugin(tables.registration(), "Registration", socket)
        try:
            told = await registrar.call("GetInfo")
            problem = ""
            if told.type != "CSIPlugin":
                problem = f"no handler registered for plugin type: {told.type} at socket {socket}"
            elif not any(version.startswith(("v1.", "1.")) or version == "v1" for version in told.supported_versions):
                problem = "none of the CSI versions reported by this driver are supported"
            if not problem:
                driver = Driver(told.name, told.endpoint or socket)
                try:
                    await self._publish(told.name, await driver.info())
                except (CRIError, APIError) as err:
                    problem = f"error updating CSINode: {err}"
                    await driver.close()
                else:
                    self._drivers[told.name] = driver
                    log.info("the CSI driver %s is registered", told.name)
            await registrar.call("NotifyRegistrationStatus", plugin_registered=not problem, error=problem)
            if not problem or told.type != "CSIPlugin":
                self._sockets[identity] = told.name
        finally:
            await registrar.close()

    async def _publish(self, name: str, info: NodeInfo | None) -> None:
        """Writes a driver into the node's CSINode, or takes it out. Raises APIError."""
        node = self._node()["metadata"]
        try:
            known = await self._client.get(CSI_NODE, node["name"])
        except APIError as err:
            if err.code != 404:
                raise
            known = None
        rows = [row for row in ((known or {}).get("spec") or {}).get("drivers") or () if row["name"] != name]
        if info is not None:
            row: Obj = {"name": name, "nodeID": info.node_id, "topologyKeys": sorted(info.topology)}
            if info.limit > 0:
                row["allocatable"] = {"count": info.limit}
            rows.append(row)
            if info.topology:
                await self._client.patch(NODE, node["name"], None, {"metadata": {"labels": info.topology}})
        if known is not None:
            await self._client.patch(CSI_NODE, node["name"], None, {"spec": {"drivers": rows}})
        elif rows:
            owner = {"apiVersion": "v1", "kind": "Node", "name": node["name"], "uid": node.get("uid")}
            metadata = {"name": node["name"], "ownerReferences": [owner]}
            made = {"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": metadata}
            await self._client.create(CSI_NODE, {**made, "spec": {"drivers": rows}})
