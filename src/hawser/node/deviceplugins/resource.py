"""One resource of a device plugin: the devices that it says there are, for as long as it can be reached."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from hawser.node.cri.errors import CRIError, Unimplemented
from hawser.node.deviceplugins import tables
from hawser.node.deviceplugins.state import Allocation
from hawser.node.plugins.service import Service

log = logging.getLogger(__name__)

_HEALTHY = "Healthy"
GRACE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Device:
    """A device. numa: its NUMA nodes."""

    healthy: bool
    numa: tuple[int, ...] = ()


class Resource:
    """See the module. A fresh one has no devices and no plugin.

    changed: called when the devices are others. grace: after so many seconds without its plugin it counts as none.
    """

    def __init__(self, name: str, changed: Callable[[], None], grace: float = GRACE_SECONDS) -> None:
        self.name = name
        self._grace = grace
        self.devices: dict[str, Device] = {}
        self._changed = changed
        self._plugin: Service | None = None
        self.endpoint = ""
        self._pre_start = self._prefers = False
        self._stopped: float | None = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wait()

    @property
    def healthy(self) -> set[str]:
        """The devices that can be had."""
        return {name for name, device in self.devices.items() if device.healthy}

    def health(self, device: str) -> str:
        """Healthy, Unhealthy, or Unknown when the plugin does not say."""
        known = self.devices.get(device)
        if known is None or self._stopped is not None:
            return "Unknown"
        return "Healthy" if known.healthy else "Unhealthy"

    @property
    def gone(self) -> bool:
        """Whether the plugin has been away for too long."""
        return self._stopped is not None and time.monotonic() - self._stopped >= self._grace

    def attach(self, endpoint: str) -> None:
        """Takes a plugin's devices from now on; the one before is left."""
        self.detach()
        self.endpoint = endpoint
        plugin = self._plugin = Service(tables.deviceplugin(), "DevicePlugin", endpoint)
        self._task = asyncio.create_task(self._follow(plugin), name=f"device plugin {self.name}")

    def detach(self) -> None:
        """Leaves the plugin."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._timer is not None:
            self._timer.cancel()

    async def _follow(self, plugin: Service) -> None:
        try:
            try:
                options = await plugin.call("GetDevicePluginOptions")
                self._pre_start, self._prefers = options.pre_start_required, options.get_preferred_allocation_available
            except Unimplemented:
                self._pre_start = self._prefers = False
            async for row in plugin.stream("ListAndWatch"):
                self._stopped = None
                self.devices = {
                    device.ID: Device(device.health == _HEALTHY, tuple(node.ID for node in device.topology.nodes))
                    for device in row.devices
                }
                self._changed()
        except CRIError as err:
            log.warning("listAndWatch ended unexpectedly for device plugin %s with error %s", self.name, err.text)
        finally:
            await plugin.close()
        self._task = self._plugin = None
        self.devices = {name: Device(False, device.numa) for name, device in self.devices.items()}
        self._stopped = time.monotonic()
        self._wait()
        self._changed()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._grace + 0.1, self._changed)

    # Calls. All raise CRIError.

    async def preferred(self, available: Collection[str], taken: Collection[str], size: int) -> list[str]:
        """The devices that the plugin would take; none when it does not mind."""
        if self._plugin is None or not self._prefers:
            return []
        request = {"available_deviceIDs": sorted(available), "must_include_deviceIDs": sorted(taken)}
        rows = [{**request, "allocation_size": size}]
        try:
            answer = await self._plugin.call("GetPreferredAllocation", container_requests=rows)
        except CRIError as err:
            text = f"device plugin GetPreferredAllocation rpc failed with err: {err.text}"
            raise CRIError(text) from err
        return [device for row in answer.container_responses[:1] for device in row.deviceIDs]

    async def allocate(self, devices: Sequence[str]) -> Allocation:
        """Has the plugin give devices to a container."""
        if self._plugin is None:
            raise CRIError(f"endpoint {self.name} has been stopped")
        try:
            answer = await self._plugin.call("Allocate", container_requests=[{"devices_ids": list(devices)}])
        except CRIError as err:
            raise CRIError(err.text) from err
        if not answer.container_responses:
            raise CRIError("no containers return in allocation response")
        return _allocation(devices, answer.container_responses[0])

    async def pre_start(self, devices: Sequence[str]) -> None:
        """Tells the plugin that a container with these devices is about to start, if it wants to know."""
        if self._plugin is None or not self._pre_start:
            return
        try:
            await self._plugin.call("PreStartContainer", devices_ids=list(devices))
        except CRIError as err:
            raise CRIError(f"device plugin PreStartContainer rpc failed with err: {err.text}") from err


def _allocation(devices: Sequence[str], row: Any) -> Allocation:
    return Allocation(
        list(devices),
        dict(row.envs),
        [(mount.host_path, mount.container_path, mount.read_only) for mount in row.mounts],
        [(node.host_path, node.container_path, node.permissions) for node in row.devices],
        dict(row.annotations),
        [device.name for device in row.cdi_devices],
    )
