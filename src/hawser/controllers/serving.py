"""The HTTPS endpoint of the controllers' and scheduler's process: what kube-controller-manager has on port 10257 and
kube-scheduler on 10259.

What answers (``answering``) is imported with the first connection: an endpoint that nobody uses costs a socket.

Source: kube-controller-manager's and kube-scheduler's references.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hawser.controllers import serving_flags

if TYPE_CHECKING:
    from hawser.client.client import Client
    from hawser.controllers.answering import Answers
    from hawser.health import Check

log = logging.getLogger(__name__)

Page = tuple[str, Callable[[], bytes]]
"""Content type, and what makes the body."""


class CannotListen(Exception):
    """The address is taken, or certificates cannot be used."""


class Endpoint:
    """Serves health and pages. checks: by root, then by name; pages: by path."""

    def __init__(
        self,
        client: Client,
        options: Mapping[str, Any],
        checks: Callable[[str], Mapping[str, Check]],
        pages: Mapping[str, Page],
    ) -> None:
        self._client = client
        self._options = options
        self._checks = checks
        self._pages = pages
        self._answers: Answers | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens, if a port is wanted. Raises CannotListen."""
        host, port = self._options["bind_address"], self._options["secure_port"]
        if not port:
            return
        loop = asyncio.get_running_loop()
        try:
            tls = serving_flags.tls(self._options)
            self._server = await loop.create_server(self._protocol, host, port, ssl=tls)
        except OSError as err:
            told = f"failed to create listener: failed to listen on {host}:{port}: {err}"
            raise CannotListen(f"{told}; --secure-port names another port, 0 none") from err
        log.info("health and metrics at https://%s:%s", f"[{host}]" if ":" in host else host, port)

    def stop(self) -> None:
        """Ends all connections."""
        if self._server is not None:
            self._server.close()
        if self._answers is not None:
            self._answers.stop()

    def _protocol(self) -> asyncio.BaseProtocol:
        if self._answers is None:
            from hawser.controllers.answering import Answers

            free = self._options["authorization_always_allow_paths"].split(",")
            self._answers = Answers(self._client, free, self._checks, self._pages)
        return self._answers.protocol()
