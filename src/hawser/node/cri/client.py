"""The container runtime: CRI's RuntimeService and ImageService (runtime.v1) over a unix socket.

Requests are plain dicts shaped as the messages of ``fields.json``. Source: the CRI API of Kubernetes 1.36.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

from hawser.node.cri import model, schema
from hawser.node.cri.errors import CRIError, NotFound, from_status
from hawser.node.cri.model import (
    Condition,
    Container,
    ExecResult,
    Features,
    Image,
    ImageDisk,
    Sandbox,
    Stats,
    Version,
)
from hawser.node.cri.operations import Operations
from hawser.node.rpc.channel import Channel, RPCError

CALL_SECONDS = 120.0
CREATE_SECONDS = 240.0


class Runtime:
    """A connection to a container runtime; connects on first use and again whenever the runtime returns.

    endpoint: ``unix:///run/containerd/containerd.sock``. Every method raises CRIError or one of its kinds.
    instance: only sandboxes and containers made for this engine are listed, since a runtime may serve others, too.
    """

    def __init__(self, endpoint: str, instance: str = "") -> None:
        self.endpoint = endpoint
        self._own = {model.Labels.INSTANCE.value: instance} if instance else {}
        self._schema = schema.cri()
        self.channel = Channel(endpoint)
        self.operations = Operations()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; running calls fail."""
        await self.channel.close()

    async def call(
        self,
        name: str,
        request: Mapping[str, Any] | None = None,
        *,
        seconds: float = CALL_SECONDS,
        images: bool = False,
    ) -> Any:
        """One RPC by name; the response message."""
        method = self._schema.method("ImageService" if images else "RuntimeService", name)
        counted = self.operations.of(name)
        started = time.perf_counter()
        try:
            return await self.channel.call(method, request or {}, seconds=seconds)
        except RPCError as err:
            counted.errors += 1
            raise from_status(err) from None
        finally:
            counted.durations.observe(time.perf_counter() - started)

    async def ready(self, seconds: float = 30.0, *, interval: float = 0.02) -> Version:
        """Waits until the runtime answers. Raises CRIError when it does not within the time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            try:
                return await self.version()
            except CRIError:
                if loop.time() > end:
                    raise
            await asyncio.sleep(interval)

    # The runtime

    async def version(self) -> Version:
        row = await self.call("Version", {"version": "v1"}, seconds=5)
        return Version(row.runtime_name, row.runtime_version, row.runtime_api_version)

    async def status(self) -> list[Condition]:
        """RuntimeReady and NetworkReady."""
        row = await self.call("Status", seconds=10)
        return [Condition(c.type, c.status, c.reason, c.message) for c in row.status.conditions]

    async def features(self) -> Features:
        """What it can do beyond the oldest CRI v1."""
        return model.features_of(await self.call("Status", seconds=10))

    async def config(self) -> dict[str, Any]:
        """The runtime's configuration of CRI, as far as it tells."""
        row = await self.call("Status", {"verbose": True}, seconds=10)
        try:
            return dict(json.loads(row.info["config"]))
        except (KeyError, ValueError, TypeError):
            return {}

    async def cni_dirs(self) -> tuple[str, str]:
        """The runtime's CNI folders, configurations and plugins; the usual ones when it does not tell."""
        cni = (await self.config()).get("cni") or {}
        return str(cni.get("confDir") or "/etc/cni/net.d"), str(cni.get("binDir") or "/opt/cni/bin")

    def _selector(self, uid: str = "") -> dict[str, str]:
        return {**self._own, **({model.Labels.POD_UID.value: uid} if uid else {})}

    def _labelled(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**config, "labels": {**config.get("labels", {}), **self._own}} if self._own else config

    # Sandboxes

    async def run_pod_sandbox(self, config: Mapping[str, Any], runtime_handler: str = "") -> str:
        """Creates and starts a sandbox; its id."""
        request = {"config": self._labelled(config), "runtime_handler": runtime_handler}
        row = await self.call("RunPodSandbox", request, seconds=CREATE_SECONDS)
        return str(row.pod_sandbox_id)

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        """Stops the sandbox and kills what still runs in it; quiet when it is gone."""
        await self._quiet("StopPodSandbox", {"pod_sandbox_id": sandbox_id})

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        """Removes the sandbox and its containers; quiet when it is gone."""
        await self._quiet("RemovePodSandbox", {"pod_sandbox_id": sandbox_id})

    async def list_pod_sandboxes(self, uid: str = "") -> list[Sandbox]:
        """All sandboxes of pods, or one pod's."""
        row = await self.call("ListPodSandbox", {"filter": {"label_selector": self._selector(uid)}})
        return [model.sandbox_of(item) for item in row.items]

    async def pod_sandbox_status(self, sandbox_id: str) -> Sandbox:
        """One sandbox with its addresses."""
        row = await self.call("PodSandboxStatus", {"pod_sandbox_id": sandbox_id})
        return model.sandbox_of(row.status)

    # Containers

    async def create_container(
        self, sandbox_id: str, config: Mapping[str, Any], sandbox_config: Mapping[str, Any]
    ) -> str:
        """Creates a container in a sandbox; its id."""
        request = {
            "pod_sandbox_id": sandbox_id,
            "config": self._labelled(config),
            "sandbox_config": self._labelled(sandbox_config),
        }
        row = await self.call("CreateContainer", request, seconds=CREATE_SECONDS)
        return str(row.container_id)

    async def start_container(self, container_id: str) -> None:
        await self.call("StartContainer", {"container_id": container_id}, seconds=CREATE_SECONDS)

    async def stop_container(self, container_id: str, grace: float) -> None:
        """Sends the stop signal, and SIGKILL after ``grace`` seconds; returns when it has stopped. Quiet when gone."""
        request = {"container_id": container_id, "timeout": max(0, int(grace))}
        await self._quiet("StopContainer", request, seconds=grace + CALL_SECONDS)

    async def remove_container(self, container_id: str) -> None:
        """Removes a container; quiet when it is gone."""
        await self._quiet("RemoveContainer", {"container_id": container_id})

    async def list_containers(
        self, uid: str = "", sandbox_id: str = "", *, everybodys: bool = False
    ) -> list[Container]:
        """All containers, one pod's or one sandbox's, without details. everybodys: other engines', too."""
        wanted: dict[str, Any] = {} if everybodys else {"label_selector": self._selector(uid)}
        if sandbox_id:
            wanted["pod_sandbox_id"] = sandbox_id
        row = await self.call("ListContainers", {"filter": wanted})
        return [model.container_of(item) for item in row.containers]

    async def container_status(self, container_id: str, sandbox_id: str = "") -> Container:
        """One container with all details. Raises NotFound."""
        row = await self.call("ContainerStatus", {"container_id": container_id})
        return model.status_of(row.status, sandbox_id)

    async def pid(self, container_id: str) -> int:
        """The container's first process as this machine sees it; 0 when the runtime does not tell."""
        row = await self.call("ContainerStatus", {"container_id": container_id, "verbose": True})
        try:
            return int(json.loads(row.info["info"])["pid"])
        except (KeyError, ValueError, TypeError):
            return 0

    async def update_container_resources(self, container_id: str, linux: Mapping[str, Any]) -> None:
        await self.call("UpdateContainerResources", {"container_id": container_id, "linux": linux})

    async def reopen_container_log(self, container_id: str) -> None:
        """Makes the runtime open the log file anew, after it was renamed."""
        await self.call("ReopenContainerLog", {"container_id": container_id})

    async def checkpoint_container(self, container_id: str, location: str) -> None:
        """Writes a running container's state into an archive. Raises Unimplemented where the runtime cannot."""
        await self.call("CheckpointContainer", {"container_id": container_id, "location": location})

    async def exec_sync(self, container_id: str, command: Sequence[str], seconds: int) -> ExecResult:
        """Runs a command and waits for it. seconds: the runtime kills it then (DeadlineExceeded); 0 for no limit."""
        request = {"container_id": container_id, "cmd": list(command), "timeout": seconds}
        row = await self.call("ExecSync", request, seconds=seconds + 10 if seconds else CALL_SECONDS)
        return ExecResult(row.stdout, row.stderr, row.exit_code)

    # Streams: URLs of the runtime's own streaming server

    async def exec(
        self,
        container_id: str,
        command: Sequence[str],
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        tty: bool = False,
    ) -> str:
        """The URL at which to run a command with streams attached."""
        request = {
            "container_id": container_id,
            "cmd": list(command),
            "stdin": stdin,
            "stdout": stdout,
            "stderr": stderr and not tty,
            "tty": tty,
        }
        return str((await self.call("Exec", request)).url)

    async def attach(
        self, container_id: str, *, stdin: bool = False, stdout: bool = True, stderr: bool = True, tty: bool = False
    ) -> str:
        """The URL at which to attach to the container's own streams."""
        request = {
            "container_id": container_id,
            "stdin": stdin,
            "stdout": stdout,
            "stderr": stderr and not tty,
            "tty": tty,
        }
        return str((await self.call("Attach", request)).url)

    async def port_forward(self, sandbox_id: str, ports: Sequence[int]) -> str:
        """The URL at which to forward ports of a sandbox."""
        return str((await self.call("PortForward", {"pod_sandbox_id": sandbox_id, "port": list(ports)})).url)

    # Statistics

    async def list_container_stats(self, uid: str = "") -> list[Stats]:
        """Resource use of all containers, or one pod's."""
        row = await self.call("ListContainerStats", {"filter": {"label_selector": self._selector(uid)}})
        return [model.stats_of(item) for item in row.stats]

    # Images

    async def pull_image(self, image: str, auth: Mapping[str, str] | None = None) -> str:
        """Pulls an image; its reference in the runtime. auth: fields of AuthConfig."""
        request: dict[str, Any] = {"image": {"image": image}}
        if auth:
            request["auth"] = auth
        return str((await self.call("PullImage", request, seconds=3600, images=True)).image_ref)

    async def image_status(self, image: str) -> Image | None:
        """An image by name or id, or None when it is not here."""
        row = await self.call("ImageStatus", {"image": {"image": image}}, images=True)
        return model.image_of(row.image) if row.has("image") else None

    async def list_images(self) -> list[Image]:
        row = await self.call("ListImages", images=True)
        return [model.image_of(image) for image in row.images]

    async def remove_image(self, image: str) -> None:
        await self.call("RemoveImage", {"image": {"image": image}}, images=True)

    async def image_fs(self) -> ImageDisk:
        """Where the runtime keeps its images, and what they take there."""
        row = await self.call("ImageFsInfo", images=True)
        rows = row.image_filesystems or row.container_filesystems
        if not rows:
            raise CRIError("the runtime does not tell where its images lie")
        found = rows[0]
        return ImageDisk(found.fs_id.mountpoint, found.used_bytes.value, found.inodes_used.value)

    async def _quiet(self, name: str, request: Mapping[str, Any], *, seconds: float = CALL_SECONDS) -> None:
        try:
            await self.call(name, request, seconds=seconds)
        except NotFound:
            pass

    # Events

    async def exits(self) -> AsyncIterator[str]:
        """Ids of containers (and sandboxes) whose first process ended, as it happens, from containerd's event service.

        Raises Unimplemented or Unavailable where there is no such service: then only listing tells.
        """
        method = schema.events().method("Events", "Subscribe")
        exits = schema.events().message("TaskExit")
        wanted = {"filters": ['topic=="/tasks/exit"']}
        try:
            async with aclosing(self.channel.stream(method, wanted)) as envelopes:
                async for envelope in envelopes:
                    event = exits.decode(envelope.event.value)
                    if event.id == event.container_id:
                        yield event.container_id
        except RPCError as err:
            raise from_status(err) from None
