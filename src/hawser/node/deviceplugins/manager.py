"""Device plugins: what they advertise becomes the node's, and containers that ask for it get devices.

Source: Kubernetes documentation, "Device Plugins"; words are kubelet's.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hawser.api.quantity import to_bytes
from hawser.api.types import Obj
from hawser.node.cri.errors import CRIError
from hawser.node.deviceplugins import tables
from hawser.node.deviceplugins.resource import GRACE_SECONDS, Resource
from hawser.node.deviceplugins.state import Allocation, State
from hawser.node.metrics.devices import DeviceCounters
from hawser.node.pod import view
from hawser.node.rpc.channel import Code, RPCError

log = logging.getLogger(__name__)

CHECKPOINT = "kubelet_internal_checkpoint"
_NAME = re.compile(
    r"(?!.*\bkubernetes\.io/)(?!requests\.)[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-\w.]*[A-Za-z0-9])?"
)
_LONGEST_NAME = 63


class NotAllocated(CRIError):
    """Devices cannot be had; the message says why."""


class DevicePlugins:
    """The plugins of a node. folder: of their sockets; changed: told capacity and allocatable when they are others.

    pods: the uids of all pods of the node, None before they are known. grace: seconds that a resource is known without
    its plugin.
    """

    def __init__(
        self,
        folder: Path,
        changed: Callable[[dict[str, str], dict[str, str]], None],
        pods: Callable[[], set[str] | None],
        counters: DeviceCounters,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._pods = pods
        self._counters = counters
        self._grace = grace
        self.state = State(folder / CHECKPOINT)
        self._folder = folder
        self._tell = changed
        self._alone = asyncio.Lock()
        # Until a plugin is back there is nothing to be had of its resource.
        self.resources = {name: Resource(name, self._changed, self._grace) for name in sorted(self.state.resources)}
        self._removed: set[str] = set()
        if self.resources:
            self._changed()

    def close(self) -> None:
        """Leaves all plugins."""
        for resource in self.resources.values():
            resource.detach()

    # Registration

    async def register_request(self, request: Any) -> Mapping[str, Any]:
        """The Registration service. Raises RPCError."""
        name = request.resource_name
        self._counters.registrations[name] += 1
        if request.version != tables.VERSION:
            text = f'requested API version "{request.version}" is not supported by kubelet. Supported version is '
            raise RPCError(Code.UNKNOWN, f'{text}["{tables.VERSION}"]')
        if problem := _name_problem(name):
            raise RPCError(Code.UNKNOWN, problem)
        self._attach(name, str(self._folder / request.endpoint))
        return {}

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> str:
        """Takes a plugin in that the plugin watcher has found; why it is not taken, "" when it is."""
        if tables.VERSION not in versions:
            theirs = " ".join(versions)
            return f"manager version, {tables.VERSION}, is not among plugin supported versions [{theirs}]"
        if problem := _name_problem(name):
            return f"invalid name of device plugin socket: {problem}"
        self._attach(name, endpoint)
        return ""

    async def deregister(self, name: str, endpoint: str) -> None:
        """A plugin's registration is gone; its devices are until it closes its stream of them."""

    def _attach(self, name: str, endpoint: str) -> None:
        resource = self.resources.get(name)
        if resource is None:
            resource = self.resources[name] = Resource(name, self._changed, self._grace)
        self._removed.discard(name)
        resource.attach(endpoint)

    def _changed(self) -> None:
        for name in [name for name, resource in self.resources.items() if resource.gone]:
            self.resources.pop(name).detach()
            self._removed.add(name)
        capacity = {name: str(len(resource.devices)) for name, resource in self.resources.items()}
        allocatable = {name: str(len(resource.healthy)) for name, resource in self.resources.items()}
        # The scheduler is to know that there is none any more.
        none = dict.fromkeys(self._removed, "0")
        if self.state.resources != set(self.resources):
            self.state.resources = set(self.resources)
            try:
                self.state.save()
            except OSError as err:
                # Whoever is told of devices goes on; it is written with the next allocation.
                log.error("the state of device plugins is not written: %s", err)
        self._tell({**capacity, **none}, {**allocatable, **none})

    # Containers

    def wanted(self, spec: Obj) -> dict[str, int]:
        """The devices of plugins that a container asks for."""
        limits = (spec.get("resources") or {}).get("limits") or {}
        return {name: to_bytes(amount) for name, amount in limits.items() if name in self.resources}

    async def allocate(self, pod: Obj) -> None:
        """Gives devices to the containers of a pod that the node is about to take. Raises NotAllocated, OSError.

        What an init container had, containers after it have again.
        """
        if not any(self.wanted(spec) for _, spec in view.every_container(pod)):
            return
        uid = view.uid(pod)
        async with self._alone:
            # Pods that went while no agent ran hold nothing.
            active = self._pods()
            if active is not None:
                for gone in set(self.state.pods) - active:
                    del self.state.pods[gone]
            reusable: dict[str, set[str]] = {}
            try:
                for spec, passing in _in_order(pod):
                    for name, amount in self.wanted(spec).items():
                        given = await self._give(uid, spec["name"], name, amount, reusable.get(name, set()))
                        kept = reusable.setdefault(name, set())
                        kept.update(given) if passing else kept.difference_update(given)
            except CRIError as err:
                self.state.pods.pop(uid, None)
                raise NotAllocated(err.message) from err
            self.state.save()

    async def _give(self, uid: str, container: str, name: str, amount: int, reusable: set[str]) -> list[str]:
        """Devices of one resource to one container; those that it has."""
        known = self.state.of(uid, container).get(name)
        if known is not None and len(known.devices) != amount:
            text = f'pod "{uid}" container "{container}" changed request for resource "{name}"'
            raise NotAllocated(f"{text} from {len(known.devices)} to {amount}")
        resource = self.resources.get(name)
        if resource is None:
            raise NotAllocated(f"cannot allocate unregistered device {name}")
        healthy = resource.healthy
        if amount and not healthy:
            raise NotAllocated(f"no healthy devices present; cannot allocate unhealthy devices {name}")
        if known is not None:
            if not healthy.issuperset(known.devices):
                text = "previously allocated devices are no longer healthy; cannot allocate unhealthy devices"
                raise NotAllocated(f"{text} {name}")
            return known.devices
        if not amount:
            return []
        chosen = sorted(reusable)[:amount]
        needed = amount - len(chosen)
        if needed:
            free = healthy - self.state.used(name)
            if len(free) < needed:
                text = f"requested number of devices unavailable for {name}. Requested: {needed}"
                raise NotAllocated(f"{text}, Available: {len(free)}")
            liked = await resource.preferred(free | set(chosen), chosen, amount)
            order = [*(device for device in dict.fromkeys(liked) if device in free), *sorted(free - set(liked))]
            chosen += order[:needed]
        rows = self.state.pods.setdefault(uid, {}).setdefault(container, {})
        began = time.perf_counter()
        try:
            rows[name] = await resource.allocate(chosen)
        finally:
            self._counters.allocated(name, time.perf_counter() - began)
        return chosen

    async def starting(self, pod: Obj, spec: Obj) -> list[Allocation]:
        """What a container that is about to start has. Raises NotAllocated, OSError."""
        uid, wanted = view.uid(pod), self.wanted(spec)
        if any(name not in self.state.of(uid, spec["name"]) for name in wanted):
            # An agent of before took the pod without having written down what it has.
            await self.allocate(pod)
        found = self.state.of(uid, spec["name"])
        for name, allocation in found.items():
            resource = self.resources.get(name)
            if resource is not None:
                try:
                    await resource.pre_start(allocation.devices)
                except CRIError as err:
                    raise NotAllocated(err.message) from err
        return list(found.values())

    def health(self, uid: str, container: str) -> Iterator[tuple[str, str, str]]:
        """The devices of a container: the resource, the device's name, and its health."""
        for name, allocation in self.state.of(uid, container).items():
            resource = self.resources.get(name)
            for device in allocation.devices:
                yield name, device, resource.health(device) if resource is not None else "Unknown"

    def release(self, uid: str) -> None:
        """Takes back what a pod had. Raises OSError."""
        if self.state.pods.pop(uid, None) is not None:
            self.state.save()


def _in_order(pod: Obj) -> Iterator[tuple[Obj, bool]]:
    """The containers as they get devices, and whether they leave them to those that follow."""
    for spec in view.init_containers(pod):
        yield spec, not view.is_sidecar(spec)
    for spec in view.containers(pod):
        yield spec, False


def _name_problem(name: str) -> str:
    """Why a name is none of an extended resource, "" when it is one."""
    fits = _NAME.fullmatch(name) and len(name.partition("/")[2]) <= _LONGEST_NAME
    return "" if fits else f'the ResourceName "{name}" is invalid'
