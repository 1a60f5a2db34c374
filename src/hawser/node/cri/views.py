"""An image's files outside of any container, by containerd's snapshots."""

from __future__ import annotations

import json
import time

from hawser.node.cri.client import Runtime
from hawser.node.cri.snapshots import MountStep, Snapshots


class ImageViews:
    """Read-only views of images. The snapshot service is asked for when it is first needed.

    Methods raise CRIError (Unimplemented where there is no such service), KeyError and ValueError for answers that are
    not containerd's.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._snapshots: Snapshots | None = None

    async def view(self, key: str, image_id: str) -> list[MountStep]:
        """How to mount an image's files; the view of this key stays until it is removed."""
        request = {"image": {"image": image_id}, "verbose": True}
        answer = await self._runtime.call("ImageStatus", request, images=True)
        chain = json.loads(answer.info["info"])["chainID"]
        return await (await self._service()).view(key, chain, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    async def remove(self, key: str) -> None:
        """Gives a view up; quiet when it is gone."""
        await (await self._service()).remove(key)

    async def _service(self) -> Snapshots:
        if self._snapshots is None:
            answer = await self._runtime.call("Status", {"verbose": True})
            name = "overlayfs"
            try:
                name = json.loads(answer.info["config"])["containerd"]["snapshotter"] or name
            except (KeyError, ValueError, TypeError):
                pass
            self._snapshots = Snapshots(self._runtime.channel, name)
        return self._snapshots
