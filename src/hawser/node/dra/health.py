"""What drivers say of the health of their devices, and for how long it counts.

Source: KEP-4680; kubelet's dra-health/v1alpha1 api.proto (30 s, unless the driver says otherwise).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from hawser.node.cri.errors import CRIError, Unimplemented
from hawser.node.plugins.service import Service
from hawser.node.rpc.schema import Schema, Table

_TABLE: Table = {
    "package": "v1alpha1",
    "enums": {"HealthStatus": {"UNKNOWN": 0, "HEALTHY": 1, "UNHEALTHY": 2}},
    "messages": {
        "NodeWatchResourcesRequest": {},
        "DeviceIdentifier": {"pool_name": [1, "string"], "device_name": [2, "string"]},
        "DeviceHealth": {
            "device": [1, "DeviceIdentifier"],
            "health": [2, "HealthStatus"],
            "last_updated_time": [3, "int64"],
            "health_check_timeout_seconds": [4, "int64"],
        },
        "NodeWatchResourcesResponse": {"devices": [1, "repeated DeviceHealth"]},
    },
    "services": {
        "DRAResourceHealth": {"NodeWatchResources": ["NodeWatchResourcesRequest", "stream NodeWatchResourcesResponse"]}
    },
}
_WORDS = {1: "Healthy", 2: "Unhealthy"}
UNKNOWN = "Unknown"
_SECONDS = 30
_AGAIN_SECONDS = 5.0


@cache
def health() -> Schema:
    """The API of drivers that know how their devices are."""
    return Schema(_TABLE)


class Health:
    """By driver, pool and device. changed: called when something is other than it was."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._known: dict[tuple[str, str, str], tuple[str, float]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def of(self, driver: str, pool: str, device: str) -> str:
        """Healthy, Unhealthy, or Unknown when nobody says, or has said so for too long."""
        word, until = self._known.get((driver, pool, device), (UNKNOWN, 0.0))
        return word if time.monotonic() < until else UNKNOWN

    async def follow(self, driver: str, endpoint: str) -> None:
        """Hears of a driver's devices until cancelled, or for a driver that does not tell, not at all."""
        while True:
            service = Service(health(), "DRAResourceHealth", endpoint)
            try:
                async for row in service.stream("NodeWatchResources"):
                    self._take(driver, row.devices)
            except Unimplemented:
                return
            except CRIError:
                pass
            finally:
                await service.close()
                self._clear(driver)
            await asyncio.sleep(_AGAIN_SECONDS)

    def _take(self, driver: str, devices: Iterable[Any]) -> None:
        longest, news = 0, False
        for row in devices:
            seconds = row.health_check_timeout_seconds if row.health_check_timeout_seconds > 0 else _SECONDS
            key = driver, row.device.pool_name, row.device.device_name
            word = _WORDS.get(row.health, UNKNOWN)
            news |= self.of(*key) != word
            self._known[key] = word, time.monotonic() + seconds
            longest = max(longest, seconds)
        if timer := self._timers.pop(driver, None):
            timer.cancel()
        self._timers[driver] = asyncio.get_running_loop().call_later(longest + 0.1, self._changed)
        if news:
            self._changed()

    def _clear(self, driver: str) -> None:
        if timer := self._timers.pop(driver, None):
            timer.cancel()
        gone = [key for key in self._known if key[0] == driver]
        for key in gone:
            del self._known[key]
        if gone:
            self._changed()
