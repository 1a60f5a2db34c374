"""The socket at which hawser-runtime asks for a container's RichProfiles; nothing is loaded before the first time."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hawser.api.types import Obj

if TYPE_CHECKING:
    from hawser.rich.profiles.resolver import Resolver

log = logging.getLogger(__name__)

SOCKET = Path("/run/hawser-rich/profiles.sock")
"""Where a cluster's node listens; an engine's nodes have places of their own."""
_ASKING_SECONDS = 5.0


class Server:
    """Listens for root only. make: makes the resolver when the first question comes."""

    def __init__(self, path: Path, make: Callable[[], Resolver]) -> None:
        self._path = path
        self._make = make
        self._resolver: Resolver | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens. Raises OSError."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Ends; the socket's file goes."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        if self._resolver is not None:
            await self._resolver.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_ASKING_SECONDS):
                line = await reader.readline()
            if self._resolver is None:
                self._resolver = self._make()
            asked = json.loads(line)
            writer.write(json.dumps(await self._answer(self._resolver, asked)).encode() + b"\n")
            await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:
            log.info("a question for profiles is not answered: %s", error)
        finally:
            writer.close()

    async def _answer(self, resolver: Resolver, asked: Obj) -> Obj:
        try:
            return await resolver.answer(asked)
        except Exception as error:
            # Whoever asks waits for a word; what is wrong here is a container's failure, not the node's.
            log.exception("a question for profiles")
            return {"error": f"{type(error).__name__}: {error}"}
