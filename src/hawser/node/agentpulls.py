"""Images of operation agents are pulled once for all who wait, and go on being pulled when nobody waits any more."""

from __future__ import annotations

import asyncio

from hawser.node.cri.errors import CRIError
from hawser.node.cri.model import Image
from hawser.node.images.manager import ImageError, Images
from hawser.rich.profiles.merge import ProfileError


class AgentPulls:
    """Pulls that are under way."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._pulls: dict[tuple[str, str], asyncio.Task[Image]] = {}

    async def get(self, image: str, policy: str) -> Image:
        """The image, once it is on this node. Raises ProfileError."""
        key = (image, policy)
        if key not in self._pulls:
            self._pulls[key] = asyncio.create_task(self._ensure(image, policy), name=f"agent image {image}")
            self._pulls[key].add_done_callback(lambda task: self._done(key, task))
        return await asyncio.shield(self._pulls[key])

    async def close(self) -> None:
        """Ends what is under way."""
        tasks = list(self._pulls.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, key: tuple[str, str], task: asyncio.Task[Image]) -> None:
        del self._pulls[key]
        if not task.cancelled():
            task.exception()  # whoever waits has it; when nobody does, it is not unheard of

    async def _ensure(self, image: str, policy: str) -> Image:
        try:
            return await self._images.ensure(image, policy, (), lambda *_: None)
        except ImageError as error:
            raise ProfileError(f"{error.reason}: {error.message}") from error
        except CRIError as error:
            raise ProfileError(error.text) from error
