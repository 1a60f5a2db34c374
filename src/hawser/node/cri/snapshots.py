"""containerd's snapshots: an image's files, mounted read-only beside any container.

Before containerd 2.1, CRI cannot mount an image; its snapshot service, on the same socket, can. Source: containerd's
api/services/snapshots/v1 and api/types/mount.proto (field numbers); its documentation of garbage collection labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from hawser.node.cri.errors import AlreadyExists, NotFound, from_status
from hawser.node.rpc.channel import Channel, RPCError
from hawser.node.rpc.schema import Schema, Table

_TABLE: Table = {
    "package": "containerd.services.snapshots.v1",
    "enums": {},
    "messages": {
        "Mount": {
            "type": [1, "string"],
            "source": [2, "string"],
            "target": [3, "string"],
            "options": [4, "repeated string"],
        },
        "ViewSnapshotRequest": {
            "snapshotter": [1, "string"],
            "key": [2, "string"],
            "parent": [3, "string"],
            "labels": [4, "map<string,string>"],
        },
        "ViewSnapshotResponse": {"mounts": [1, "repeated Mount"]},
        "MountsRequest": {"snapshotter": [1, "string"], "key": [2, "string"]},
        "MountsResponse": {"mounts": [1, "repeated Mount"]},
        "RemoveSnapshotRequest": {"snapshotter": [1, "string"], "key": [2, "string"]},
        "Empty": {},
    },
    "services": {
        "Snapshots": {
            "View": ["ViewSnapshotRequest", "ViewSnapshotResponse"],
            "Mounts": ["MountsRequest", "MountsResponse"],
            "Remove": ["RemoveSnapshotRequest", "Empty"],
        }
    },
}
_CALL_SECONDS = 30.0
# CRI's namespace of containerd; what is a root there is not collected as garbage.
_NAMESPACE = (("containerd-namespace", "k8s.io"),)
_ROOT = "containerd.io/gc.root"


@dataclass(frozen=True, slots=True)
class MountStep:
    """One mount(2) of a snapshot. kind: ``overlay`` or ``bind``."""

    kind: str
    source: str
    options: tuple[str, ...]


class Snapshots:
    """The snapshots of one snapshotter. Every method raises CRIError: Unimplemented where there are none."""

    def __init__(self, channel: Channel, snapshotter: str) -> None:
        self._channel = channel
        self._snapshotter = snapshotter

    async def view(self, key: str, chain: str, made_at: str) -> list[MountStep]:
        """How to mount the files of an image's chain of layers, read-only; the snapshot stays until it is removed.

        made_at: the time, RFC 3339.
        """
        try:
            answer = await self._call("View", key=key, parent=chain, labels={_ROOT: made_at})
        except AlreadyExists:
            answer = await self._call("Mounts", key=key)
        return [MountStep(row.type, row.source, tuple(row.options)) for row in answer.mounts]

    async def remove(self, key: str) -> None:
        """Removes a snapshot; quiet when it is gone."""
        try:
            await self._call("Remove", key=key)
        except NotFound:
            pass

    async def _call(self, name: str, **fields: Any) -> Any:
        method = _schema().method("Snapshots", name)
        request = {"snapshotter": self._snapshotter, **fields}
        try:
            return await self._channel.call(method, request, seconds=_CALL_SECONDS, metadata=_NAMESPACE)
        except RPCError as err:
            raise from_status(err) from None


@cache
def _schema() -> Schema:
    return Schema(_TABLE)
