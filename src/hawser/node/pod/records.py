"""What the runtime last said of one pod, kept with as few questions as possible."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError, NotFound
from hawser.node.cri.model import Container, ContainerState, Sandbox
from hawser.node.pod.observed import Observed

_SETTLE_SECONDS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


class Records:
    """The sandboxes and containers of one pod.

    A container's details are asked for once in each of its states; a sandbox's addresses once.
    """

    def __init__(self, runtime: Runtime, uid: str) -> None:
        self._runtime = runtime
        self._uid = uid
        self.sandboxes: dict[str, Sandbox] = {}
        self.containers: dict[str, Container] = {}

    def observed(self) -> Observed:
        return Observed.of(self.sandboxes.values(), self.containers.values())

    def knows(self, object_id: str) -> bool:
        """Whether a container or sandbox is this pod's."""
        return object_id in self.containers or object_id in self.sandboxes

    def differs(self, sandboxes: Iterable[Sandbox], containers: Iterable[Container]) -> bool:
        """Whether lists of this pod's sandboxes and containers say something else than what is known."""
        ours = {s.id: s.ready for s in self.sandboxes.values()}, {c.id: c.state for c in self.containers.values()}
        return ours != ({s.id: s.ready for s in sandboxes}, {c.id: c.state for c in containers})

    async def relist(self) -> None:
        """Reads everything of the pod from the runtime. Raises CRIError."""
        sandboxes, containers = await asyncio.gather(
            self._runtime.list_pod_sandboxes(self._uid), self._runtime.list_containers(self._uid)
        )
        self.sandboxes = {s.id: self._known_sandbox(s) for s in sandboxes}
        self.containers = {c.id: self._known(c) for c in containers}
        await asyncio.gather(*(self.sandbox(s.id) for s in self.sandboxes.values() if s.host_network is None))
        await asyncio.gather(*(self.container(c.id) for c in list(self.containers.values()) if not c.detailed))

    async def sandbox(self, sandbox_id: str) -> None:
        """Reads one sandbox."""
        try:
            self.sandboxes[sandbox_id] = await self._runtime.pod_sandbox_status(sandbox_id)
        except NotFound:
            self.sandboxes.pop(sandbox_id, None)

    async def container(self, container_id: str, sandbox_id: str = "") -> None:
        """Reads one container. sandbox_id: for one that is not known yet."""
        known = self.containers.get(container_id)
        try:
            self.containers[container_id] = await self._runtime.container_status(
                container_id, known.sandbox_id if known else sandbox_id
            )
        except NotFound:
            self.containers.pop(container_id, None)

    async def settle(self, object_id: str) -> None:
        """Reads what is said to have exited until the runtime agrees: it hears of the exit when we do."""
        for pause in (0.0, *_SETTLE_SECONDS):
            await asyncio.sleep(pause)
            if object_id in self.sandboxes:
                await self.sandbox(object_id)
                still = self.sandboxes.get(object_id)
                if still is None or not still.ready:
                    return
            elif object_id in self.containers:
                await self.container(object_id)
                container = self.containers.get(object_id)
                if container is None or not container.running:
                    return
            else:
                return

    async def remove_container(self, container_id: str) -> None:
        """Removes a container from the runtime."""
        await self._runtime.remove_container(container_id)
        self.containers.pop(container_id, None)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Removes a sandbox with its containers, whatever still runs: CRI's RemovePodSandbox stops it first.

        A StopPodSandbox before it would only run the network plugins once more.
        """
        await self._runtime.remove_pod_sandbox(sandbox_id)
        self.sandboxes.pop(sandbox_id, None)
        for container in [c for c in self.containers.values() if c.sandbox_id == sandbox_id]:
            self.containers.pop(container.id, None)

    async def remove_all(self) -> None:
        """Removes everything of the pod, one failure not keeping the rest."""
        failure: CRIError | None = None
        for sandbox_id in list(self.sandboxes):
            try:
                await self.remove_sandbox(sandbox_id)
            except CRIError as err:
                failure = err
        for container_id in list(self.containers):
            try:
                await self.remove_container(container_id)
            except CRIError as err:
                failure = err
        if failure:
            raise failure

    def _known_sandbox(self, listed: Sandbox) -> Sandbox:
        known = self.sandboxes.get(listed.id)
        return replace(known, ready=listed.ready) if known is not None else listed

    def _known(self, listed: Container) -> Container:
        known = self.containers.get(listed.id)
        if known is not None and known.state == listed.state and known.state != ContainerState.CREATED:
            return known
        return listed
