"""``hawser rich agent``: what another cluster's node needs beside hawser-runtime, run there by a DaemonSet.

It answers hawser-runtime for RichProfiles, and makes Events and conditions of what happens in rich containers. An
engine's node agent does both by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

from hawser.api.kinds import POD
from hawser.client.client import Client
from hawser.client.informer import Informer
from hawser.rich.profiles.resolver import Resolver
from hawser.rich.profiles.server import Server
from hawser.rich.reporter import Reporter


async def run(client: Client, node: str, socket: Path, root: Path = Path("/")) -> None:
    """Answers and reports until SIGTERM or SIGINT. Raises OSError where it cannot listen.

    root: where the node's root directory is. Images of agents are not mounted here: that takes rights on the node which
    this agent is not given.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    informer = Informer(client, POD, field_selector=f"spec.nodeName={node}")
    server = Server(socket, lambda: Resolver(client, node, None, root))
    socket.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    await server.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(informer.run(), name="informer pods"),
                tasks.create_task(Reporter(client, informer, node).run(), name="reporter"),
            ]
            await stop.wait()
            for task in running:
                task.cancel()
    finally:
        with contextlib.suppress(OSError):
            await server.close()
