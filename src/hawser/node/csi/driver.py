"""One CSI driver of this node, over its socket.

Source: the CSI specification, "Node Service RPC".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from hawser.node.csi import tables
from hawser.node.plugins.service import Service


class Ability(IntEnum):
    """NodeServiceCapability.RPC.Type."""

    STAGE = 1
    EXPAND = 3
    MULTI_WRITER = 5
    MOUNT_GROUP = 6


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a driver says of the node. limit: volumes of it that a node may have; 0 for any number."""

    node_id: str
    limit: int
    topology: dict[str, str]


class Driver(Service):
    """A registered driver. Every call raises CRIError."""

    def __init__(self, name: str, socket: str) -> None:
        super().__init__(tables.csi(), "Node", socket)
        self.name = name
        self.socket = socket
        self._abilities: frozenset[int] | None = None

    async def info(self) -> NodeInfo:
        """Which node this is to the driver."""
        row = await self.call("NodeGetInfo")
        return NodeInfo(row.node_id, row.max_volumes_per_node, dict(row.accessible_topology.segments))

    async def can(self, ability: Ability) -> bool:
        """Whether the driver's node service has an ability; asked for once."""
        if self._abilities is None:
            row = await self.call("NodeGetCapabilities")
            self._abilities = frozenset(capability.rpc.type for capability in row.capabilities)
        return ability in self._abilities


# AccessMode of the specification, by Kubernetes' names; with and without the ability MULTI_WRITER.
_PLAIN = {"ReadWriteOnce": 1, "ReadWriteOncePod": 1, "ReadOnlyMany": 3, "ReadWriteMany": 5}
_PRECISE = {**_PLAIN, "ReadWriteOncePod": 6, "ReadWriteOnce": 7}


def access_mode(modes: Sequence[str], *, precise: bool) -> int:
    """The access mode that a volume is asked for with, the widest that it has."""
    table = _PRECISE if precise else _PLAIN
    for mode in ("ReadWriteMany", "ReadOnlyMany", "ReadWriteOnce", "ReadWriteOncePod"):
        if mode in modes:
            return table[mode]
    return table["ReadWriteOnce"]
