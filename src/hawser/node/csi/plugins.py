"""The CSI drivers of this node and its CSINode object.

Source: Kubernetes documentation, "CSI drivers", "CSINode".
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
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

_SETTLE_SECONDS = 60.0


class CSIDrivers:
    """The drivers that have registered. node: the Node as the API has it."""

    def __init__(self, client: Client, node: Callable[[], Obj]) -> None:
        self._client = client
        self._node = node
        self._drivers: dict[str, Driver] = {}
        self._alone = asyncio.Lock()
        self._since = time.monotonic()

    def settled(self) -> bool:
        """Whether drivers that are there have had the time to register."""
        return time.monotonic() - self._since > _SETTLE_SECONDS

    def driver(self, name: str) -> Driver | None:
        """A registered driver."""
        return self._drivers.get(name)

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> str:
        """Takes a driver in; why it is not taken, "" when it is."""
        from hawser.node.csi.driver import Driver

        if not any(version.startswith(("v1.", "1.")) or version == "v1" for version in versions):
            return "none of the CSI versions reported by this driver are supported"
        driver = Driver(name, endpoint)
        try:
            await self._publish(name, await driver.info())
        except (CRIError, APIError) as err:
            await driver.close()
            return f"error updating CSINode: {err}"
        before, self._drivers[name] = self._drivers.get(name), driver
        if before is not None:
            await before.close()
        return ""

    async def deregister(self, name: str, endpoint: str) -> None:
        """A driver is gone, unless another one of the name has taken its place."""
        driver = self._drivers.get(name)
        if driver is None or driver.socket != endpoint:
            return
        del self._drivers[name]
        await driver.close()
        try:
            await self._publish(name, None)
        except APIError as err:
            log.warning("the CSI driver %s stays in the CSINode: %s", name, err.message)

    async def close(self) -> None:
        """Closes the connections."""
        for driver in self._drivers.values():
            await driver.close()

    async def _publish(self, name: str, info: NodeInfo | None) -> None:
        """Writes a driver into the node's CSINode, or takes it out, one at a time. Raises APIError."""
        async with self._alone:
            await self._write(name, info)

    async def _write(self, name: str, info: NodeInfo | None) -> None:
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
