"""``hawser rich agent``: what another cluster's node needs beside hawser-runtime, run there by a DaemonSet.

It answers hawser-runtime for RichProfiles, makes Events and conditions of what happens in rich containers, and clears
up the root file systems that are kept. An engine's node agent does all that by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from pathlib import Path

from hawser.api.kinds import POD
from hawser.api.status import has_ended
from hawser.client.client import Client
from hawser.client.events import EventRecorder
from hawser.client.informer import Informer
from hawser.node.agentlayers import AgentLayers
from hawser.node.cri.client import Runtime
from hawser.node.cri.endpoint import usual_endpoint
from hawser.node.cri.errors import CRIError
from hawser.node.rich import HANDLER, RichPods
from hawser.rich.kept import KeptRoots
from hawser.rich.profiles.resolver import Resolver
from hawser.rich.profiles.server import Server
from hawser.rich.reporter import COMPONENT, Reporter
from hawser.runtime.install import ROOTS, STATE

log = logging.getLogger(__name__)

_LOOK_SECONDS = 15.0
_TIDY_SECONDS = 300.0


async def run(client: Client, node: str, socket: Path, root: Path = Path("/"), view: Path | None = None) -> None:
    """Answers and reports until SIGTERM or SIGINT. Raises OSError where it cannot listen.

    root: where the node's root directory is. view: the directory in which lxcfs is kept, None for no lxcfs.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    informer = Informer(client, POD, field_selector=f"spec.nodeName={node}")
    recorder = EventRecorder(client, COMPONENT, host=node)
    layers = AgentLayers(Runtime(usual_endpoint()))
    server = Server(socket, lambda: Resolver(client, node, layers, root))
    socket.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    await server.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(informer.run(), name="informer pods"),
                tasks.create_task(Reporter(client, informer, node).run(), name="reporter"),
                tasks.create_task(recorder.run(), name="events"),
                tasks.create_task(KeptRoots(Path(ROOTS), informer, recorder).run(), name="kept root file systems"),
                tasks.create_task(_tidy(layers), name="images of agents"),
            ]
            if view is not None:
                running.append(
                    tasks.create_task(_keep_view(RichPods(view, Path(STATE, "view"), recorder), informer), name="view")
                )
            await stop.wait()
            for task in running:
                task.cancel()
    finally:
        with contextlib.suppress(OSError):
            await server.close()
        await layers.close()


async def _tidy(layers: AgentLayers) -> None:
    while True:
        try:
            await layers.tidy()
        except (CRIError, OSError) as error:
            log.warning("images of agents are looked at later: %s", error)
        await asyncio.sleep(_TIDY_SECONDS)


async def _keep_view(pods: RichPods, informer: Informer) -> None:
    """Has lxcfs serve as long as there are rich pods; without a container runtime to ask, by the pods themselves."""
    changed, prepared = asyncio.Event(), set[str]()
    informer.on_change(lambda _old, _new: changed.set())
    try:
        while True:
            changed.clear()
            rich = [pod for pod in informer.list() if pod["spec"].get("runtimeClassName") == HANDLER]
            lively = [pod for pod in rich if not has_ended(pod)]
            for pod in lively:
                if pod["metadata"]["uid"] not in prepared:
                    await pods.prepare(pod, HANDLER)
            prepared = {pod["metadata"]["uid"] for pod in lively}
            if lively:
                pods.started(HANDLER)
            pods.listed(bool(lively))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), _LOOK_SECONDS)
    finally:
        await pods.close()
