"""The devices of pods: claimed ones (DRA) and those of device plugins, as pod workers see them.

Nothing of it is loaded before a driver or plugin is there, or a pod that wants one; a pod that wants none costs a look
into its spec.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError
from hawser.node.cri.model import Version
from hawser.node.deviceplugins.tables import deviceplugin
from hawser.node.devices import slices
from hawser.node.devices.podresources import PodResources, podresources
from hawser.node.dra.claims import uses_any
from hawser.node.metrics.devices import DeviceCounters, render
from hawser.node.pod import view
from hawser.node.pod.env import ConfigError
from hawser.node.pod.observed import Waiting
from hawser.node.rpc.server import Server

if TYPE_CHECKING:
    from hawser.node.deviceplugins.manager import DevicePlugins
    from hawser.node.deviceplugins.state import Allocation
    from hawser.node.dra.manager import ClaimManager

log = logging.getLogger(__name__)

Advertise = Callable[[dict[str, str], dict[str, str]], None]
_PLUGINS = "device-plugins"
_RESOURCES = "pod-resources"
_SOCKET = "kubelet.sock"
_PLUGINS_STATE = "kubelet_internal_checkpoint"
_CLAIMS = "dra_manager_state"
_CDI_FROM = (1, 7)
_CDI_ALWAYS = (2, 0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where devices are. root: the agent's folder; cdi: folders of CDI specs, a later one goes first."""

    root: Path
    node: str
    cdi: tuple[Path, ...]


class Devices:
    """See the module. version: of the container runtime, once it is known.

    advertise: told capacity and allocatable of the node's devices when they are others. pods: all pods of the node;
    known: the uids of those that it is to have, None before all are known. wake: has a pod (its uid) looked at, whose
    devices may be well or ill now.
    """

    def __init__(
        self,
        place: Place,
        client: Client,
        runtime: Runtime,
        version: Callable[[], Version],
        advertise: Advertise,
        pods: Callable[[], Iterable[Obj]],
        known: Callable[[], set[str] | None],
        wake: Callable[[str], None],
    ) -> None:
        self._place = place
        self._client = client
        self._runtime = runtime
        self._version = version
        self._advertise = advertise
        self._pods = pods
        self._known = known
        self._wake = wake
        self.counters = DeviceCounters()
        self._claims: ClaimManager | None = None
        self._plugins: DevicePlugins | None = None
        self._servers: tuple[Server, ...] = ()
        self._cdi: bool | None = None
        self._wiping: asyncio.Task[None] | None = None

    def claims(self) -> ClaimManager:
        """Who prepares claims."""
        if self._claims is None:
            from hawser.node.dra.manager import ClaimManager

            file = self._place.root / _CLAIMS
            self._claims = ClaimManager(file, self._client, self._place.node, self._changed, self.counters)
        return self._claims

    def plugins(self) -> DevicePlugins:
        """Who knows the device plugins."""
        if self._plugins is None:
            from hawser.node.deviceplugins.manager import DevicePlugins

            self._plugins = DevicePlugins(self._place.root / _PLUGINS, self._advertised, self._known, self.counters)
        return self._plugins

    async def start(self) -> None:
        """Takes up what an earlier agent has left.

        No driver has registered yet, so none of the devices that the API knows of this node can be had: drivers publish
        them anew, as under a kubelet. Device plugins find their sockets gone, which tells them to register again.
        Raises OSError.
        """
        if (self._place.root / _CLAIMS).exists():
            self.claims()
        folder, resources = self._place.root / _PLUGINS, self._place.root / _RESOURCES
        for path in (folder, resources):
            path.mkdir(parents=True, exist_ok=True, mode=0o750)
        for path in folder.iterdir():
            if path.is_socket():
                path.unlink()
        if (folder / _PLUGINS_STATE).exists():
            self.plugins()
        self._servers = Server(folder / _SOCKET), Server(resources / _SOCKET)
        self._servers[0].add(deviceplugin(), "Registration", {"Register": self._register})
        lister = PodResources(self._pods, lambda: self._plugins, lambda: self._claims)
        self._servers[1].add(podresources(), "PodResourcesLister", lister.works)
        for server in self._servers:
            try:
                await server.start()
            except OSError as err:
                # All else goes on without it.
                log.warning("%s is not served: %s", server.path, err)
        self._wiping = asyncio.create_task(slices.wipe(self._client, self._place.node), name="slices of before")

    async def _register(self, request: Any) -> Mapping[str, Any]:
        return await self.plugins().register_request(request)

    async def close(self) -> None:
        """Leaves all as it is and ends."""
        for server in self._servers:
            await server.stop()
        if self._plugins is not None:
            self._plugins.close()
        if self._wiping is not None:
            self._wiping.cancel()
        if self._claims is not None:
            await self._claims.close()

    # Of pods

    async def prepare(self, pod: Obj) -> str:
        """Has a pod's claims prepared, before its sandbox is made; what is wrong, "" when all are. Raises OSError."""
        if not uses_any(pod):
            return ""
        try:
            await self.claims().prepare(pod)
        except CRIError as err:
            return f"Failed to prepare dynamic resources: prepare dynamic resources: {err.text}"
        return ""

    async def admit(self, pod: Obj) -> Waiting | None:
        """Gives devices of plugins to a pod that the node is about to take; why it gets none. Raises OSError."""
        if self._plugins is None:
            return None
        try:
            await self._plugins.allocate(pod)
        except CRIError as err:
            text = f"Allocate failed due to {err.message}, which is unexpected"
            return Waiting("UnexpectedAdmissionError", text)
        return None

    async def add(self, pod: Obj, spec: Obj, config: Obj) -> None:
        """Adds a container's devices to its ContainerConfig. Raises ConfigError, OSError."""
        names: list[str] = []
        if self._plugins is not None:
            try:
                allocations = await self._plugins.starting(pod, spec)
            except CRIError as err:
                raise ConfigError(err.message) from err
            for allocation in allocations:
                _include(config, allocation)
                names += allocation.cdi
        if uses_any(pod):
            names += await self._claimed(pod, spec)
        if not names:
            return
        if await self._resolves_cdi():
            config["CDI_devices"] = [{"name": name} for name in dict.fromkeys(names)]
            return
        from hawser.node.devices import cdi

        cdi.inject(config, list(dict.fromkeys(names)), self._place.cdi)

    def show(self, pod: Obj, rows: Iterable[Obj]) -> None:
        """Adds the health of their devices to the statuses of a pod's containers (KEP-4680)."""
        uid = view.uid(pod)
        if not self.holds(uid):
            return
        for row in rows:
            spec = view.find(pod, row["name"]) or {}
            found: dict[str, dict[str, str]] = {}
            given = self._plugins.health(uid, row["name"]) if self._plugins is not None else ()
            claimed = self._claims.health(pod, spec) if self._claims is not None else ()
            for name, device, health in (*given, *claimed):
                found.setdefault(name, {})[device] = health
            if found:
                row["allocatedResourcesStatus"] = [
                    {
                        "name": name,
                        "resources": [{"resourceID": key, "health": devices[key]} for key in sorted(devices)],
                    }
                    for name, devices in sorted(found.items())
                ]

    def metrics(self) -> Iterator[str]:
        """The lines of ``/metrics`` on devices."""
        return render(self.counters, self._claims.in_use() if self._claims is not None else {"<any>": 0})

    def _advertised(self, capacity: dict[str, str], allocatable: dict[str, str]) -> None:
        self._advertise(capacity, allocatable)
        self._changed()

    def _changed(self) -> None:
        for uid in self.uids():
            self._wake(uid)

    def holds(self, uid: str) -> bool:
        """Whether a pod has something to give back."""
        if self._plugins is not None and uid in self._plugins.state.pods:
            return True
        return self._claims is not None and bool(self._claims.state.of(uid))

    def uids(self) -> set[str]:
        """The pods that have something to give back."""
        found = set() if self._plugins is None else set(self._plugins.state.pods)
        if self._claims is not None:
            found |= {uid for row in self._claims.state.claims.values() for uid in row.pods}
        return found

    async def release(self, uid: str) -> None:
        """Gives back what a pod had. Raises CRIError, OSError."""
        if not self.holds(uid):
            return
        if self._claims is not None:
            await self._claims.release(uid)
        if self._plugins is not None:
            self._plugins.release(uid)

    async def _claimed(self, pod: Obj, spec: Obj) -> list[str]:
        try:
            found = self.claims().devices(pod, spec)
            if found is None:
                # What an agent of before had prepared is written down nowhere: drivers are asked again.
                await self.claims().prepare(pod)
                found = self.claims().devices(pod, spec)
        except CRIError as err:
            raise ConfigError(f"prepare dynamic resources: {err.text}") from err
        return found or []

    async def _resolves_cdi(self) -> bool:
        """Whether the runtime knows devices by their CDI names; one that does not passes them over without a word."""
        if self._cdi is None:
            version = self._version()
            parts = tuple(int(part) for part in version.version.lstrip("v").split(".")[:2] if part.isdigit())
            if version.name != "containerd" or parts >= _CDI_ALWAYS:
                self._cdi = True
            else:
                self._cdi = parts >= _CDI_FROM and bool((await self._runtime.config()).get("enableCDI"))
        return self._cdi


def _include(config: Obj, allocation: Allocation) -> None:
    """Adds what comes with a plugin's devices; what the pod says itself goes before."""
    known = {row["key"] for row in config["envs"]}
    for key, value in allocation.envs.items():
        if key not in known:
            config["envs"].append({"key": key, "value": value.encode()})
    mounted = {row["container_path"] for row in config["mounts"]}
    for host, path, readonly in allocation.mounts:
        if path not in mounted:
            config["mounts"].append({"host_path": host, "container_path": path, "readonly": readonly})
    there = {row["container_path"] for row in config["devices"]}
    for host, path, permissions in allocation.nodes:
        if path not in there:
            row = {"host_path": host, "container_path": path, "permissions": permissions}
            config["devices"].append(row)
    config["annotations"] = {**allocation.annotations, **config["annotations"]}
