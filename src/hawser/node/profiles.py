"""RichProfiles on this node: the agent answers hawser-runtime, which asks for every rich container that it makes.

Nothing of it is loaded before the first rich container.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from hawser.client.client import Client
from hawser.node.cri.client import Runtime
from hawser.node.images.manager import Images
from hawser.rich.profiles.server import Server

if TYPE_CHECKING:
    from hawser.node.agentimages import AgentImages
    from hawser.rich.profiles.resolver import Resolver

log = logging.getLogger(__name__)

SOCKET = "rich.sock"
"""In the run directory."""


class Profiles:
    """The node's answers. folder: where images of agents are mounted."""

    def __init__(
        self, run_dir: Path, folder: Path, client: Client, node: str, runtime: Runtime, images: Images
    ) -> None:
        self._server = Server(run_dir / SOCKET, self._resolver)
        self._folder = folder
        self._client = client
        self._node = node
        self._runtime = runtime
        self._images = images
        self._roots: AgentImages | None = None

    async def start(self) -> None:
        """Listens. Where it cannot, rich containers fail, and nothing else does."""
        try:
            await self._server.start()
        except OSError as err:
            log.warning("nobody answers for RichProfiles: %s", err)

    async def close(self) -> None:
        """Ends."""
        await self._server.close()
        if self._roots is not None:
            await self._roots.close()

    async def held(self) -> set[str]:
        """Ids of the images whose files agents in containers use; those that no container has are unmounted.

        Raises CRIError and OSError.
        """
        return await self._agents().held() if self._folder.is_dir() else set()

    def _resolver(self) -> Resolver:
        from hawser.rich.profiles.resolver import Resolver

        return Resolver(self._client, self._node, self._agents())

    def _agents(self) -> AgentImages:
        if self._roots is None:
            from hawser.node.agentimages import AgentImages

            self._roots = AgentImages(self._runtime, self._images, self._folder)
        return self._roots
