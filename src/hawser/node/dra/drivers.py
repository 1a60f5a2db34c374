"""The drivers of dynamic resources that have registered with this node, and the slices of those that are gone.

Source: kubelet's registration of DRA plugins: a driver may have several plugins while it is updated, the newest that is
connected serves; ResourceSlices go 30 s after the last one did.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from hawser.client.client import Client
from hawser.node.cri.errors import CRIError
from hawser.node.devices.slices import wipe
from hawser.node.dra import tables
from hawser.node.dra.claims import NotPrepared
from hawser.node.dra.health import Health
from hawser.node.metrics.devices import DeviceCounters
from hawser.node.plugins.service import Service

_CALL_SECONDS = 45.0
_CONNECT_SECONDS = 20.0
_RECONNECT_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 300.0
WIPE_SECONDS = 30.0


class Driver(Service):
    """One plugin of a driver. connected: whether its socket answers."""

    def __init__(self, endpoint: str, service: str) -> None:
        self._lost = asyncio.Event()
        super().__init__(tables.dra(service), "DRAPlugin", endpoint, lost=self._lost.set)
        self.endpoint = endpoint
        self.connected = False
        self.tasks: tuple[asyncio.Task[None], ...] = ()

    async def wait_lost(self) -> None:
        """Returns when the connection has ended."""
        await self._lost.wait()
        self._lost.clear()


class Drivers:
    """All of them, by name. node: this node's name; changed: called when the health of a device is another.

    wipe_after: seconds until slices of a driver that is gone go.
    """

    def __init__(
        self,
        client: Client,
        node: str,
        changed: Callable[[], None],
        counters: DeviceCounters,
        wipe_after: float = WIPE_SECONDS,
    ) -> None:
        self._counters = counters
        self.health = Health(changed)
        self._client = client
        self._node = node
        self._wipe_after = wipe_after
        self._plugins: dict[str, list[Driver]] = {}
        self._wipes: dict[str, asyncio.Task[None]] = {}

    def find(self, name: str) -> Driver:
        """The plugin that serves for a driver. Raises NotPrepared."""
        plugins = self._plugins.get(name)
        if not plugins:
            raise NotPrepared(f"DRA driver {name} is not registered")
        return next((plugin for plugin in reversed(plugins) if plugin.connected), plugins[-1])

    async def call(self, driver: str, name: str, claims: list[dict[str, str]]) -> dict[str, object]:
        """One RPC of a driver for some claims; its answer for each, by the claims' uids. Raises NotPrepared."""
        plugin = self.find(driver)
        began, status = time.perf_counter(), "OK"
        try:
            answer = await plugin.call(name, seconds=_CALL_SECONDS, claims=claims)
        except CRIError as err:
            status = err.text.partition("code = ")[2].partition(" ")[0]
            raise NotPrepared(f"{name}: {err.text}") from err
        finally:
            self._counters.call(driver, plugin.path(name), status, time.perf_counter() - began)
        named = {claim["uid"]: claim["name"] for claim in claims}
        found: dict[str, object] = {}
        for row in answer.claims:
            if row.key not in named:
                raise NotPrepared(f"{name} returned result for unknown claim UID {row.key}")
            if row.value.error:
                raise NotPrepared(f"{name} failed for ResourceClaim {named[row.key]}: {row.value.error}")
            found[row.key] = row.value
        if missing := len(named) - len(found):
            raise NotPrepared(f"{name} skipped {missing} ResourceClaims")
        return found

    # Registration

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> str:
        """Takes a plugin in; why it is not taken, "" when it is."""
        service = next((version for version in versions if version in tables.SERVICES), "")
        if not service:
            where = f"invalid supported gRPC versions of DRA driver plugin {name} at endpoint {endpoint}: "
            if not versions:
                return f"{where}empty list of supported gRPC services (aka supported versions)"
            theirs, ours = (" ".join(f'"{word}"' for word in words) for words in (versions, tables.SERVICES))
            why = f"none of services supported by the plugin ([{theirs}]) are supported by the kubelet ([{ours}])"
            return where + why
        plugins = self._plugins.setdefault(name, [])
        if any(plugin.endpoint == endpoint for plugin in plugins):
            return f"endpoint {endpoint} already registered for DRA driver plugin {name}"
        plugin = Driver(endpoint, service)
        plugins.append(plugin)
        plugin.tasks = (
            asyncio.create_task(self._watch(name, plugin), name=f"driver {name}"),
            asyncio.create_task(self.health.follow(name, endpoint), name=f"health of {name}"),
        )
        return ""

    async def deregister(self, name: str, endpoint: str) -> None:
        """A plugin is gone."""
        for plugin in [plugin for plugin in self._plugins.get(name, ()) if plugin.endpoint == endpoint]:
            self._plugins[name].remove(plugin)
            await self._end(plugin)
        self._look(name)

    async def close(self) -> None:
        """Ends everything."""
        for task in self._wipes.values():
            task.cancel()
        for plugins in self._plugins.values():
            for plugin in plugins:
                await self._end(plugin)

    async def _end(self, plugin: Driver) -> None:
        for task in plugin.tasks:
            task.cancel()
        await plugin.close()

    async def _watch(self, name: str, plugin: Driver) -> None:
        """Keeps a connection to a plugin, to know whether it lives."""
        pause = _RECONNECT_SECONDS
        while True:
            try:
                await plugin.connect(_CONNECT_SECONDS)
            except CRIError:
                self._look(name)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            pause = _RECONNECT_SECONDS
            plugin.connected = True
            self._look(name)
            await plugin.wait_lost()
            plugin.connected = False

    # Slices

    def _look(self, name: str) -> None:
        """Sees to it that the slices of a driver go when nobody serves it any more."""
        if any(plugin.connected for plugin in self._plugins.get(name, ())):
            if task := self._wipes.pop(name, None):
                task.cancel()
        elif name not in self._wipes:
            self._wipes[name] = asyncio.create_task(self._wipe(name), name=f"slices of {name}")

    async def _wipe(self, name: str) -> None:
        await asyncio.sleep(self._wipe_after)
        await wipe(self._client, self._node, name)
        del self._wipes[name]
