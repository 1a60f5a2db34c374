"""Which container has which devices, for monitoring agents of the node: kubelet's PodResources API.

Source: kubelet's podresources/v1 api.proto; KEP-606, KEP-2403, KEP-3695. Neither CPUs nor memory are given exclusively.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.node.pod import view
from hawser.node.rpc.channel import Code, RPCError
from hawser.node.rpc.schema import Schema, Table

if TYPE_CHECKING:
    from hawser.node.deviceplugins.manager import DevicePlugins
    from hawser.node.dra.manager import ClaimManager

_TABLE: Table = {
    "package": "v1",
    "enums": {},
    "messages": {
        "AllocatableResourcesRequest": {},
        "AllocatableResourcesResponse": {
            "devices": [1, "repeated ContainerDevices"],
            "cpu_ids": [2, "repeated int64"],
            "memory": [3, "repeated ContainerMemory"],
        },
        "ListPodResourcesRequest": {},
        "ListPodResourcesResponse": {"pod_resources": [1, "repeated PodResources"]},
        "PodResources": {
            "name": [1, "string"],
            "namespace": [2, "string"],
            "containers": [3, "repeated ContainerResources"],
        },
        "ContainerResources": {
            "name": [1, "string"],
            "devices": [2, "repeated ContainerDevices"],
            "cpu_ids": [3, "repeated int64"],
            "memory": [4, "repeated ContainerMemory"],
            "dynamic_resources": [5, "repeated DynamicResource"],
        },
        "ContainerMemory": {"memory_type": [1, "string"], "size": [2, "uint64"], "topology": [3, "TopologyInfo"]},
        "ContainerDevices": {
            "resource_name": [1, "string"],
            "device_ids": [2, "repeated string"],
            "topology": [3, "TopologyInfo"],
        },
        "TopologyInfo": {"nodes": [1, "repeated NUMANode"]},
        "NUMANode": {"ID": [1, "int64"]},
        "DynamicResource": {
            "claim_name": [2, "string"],
            "claim_namespace": [3, "string"],
            "claim_resources": [4, "repeated ClaimResource"],
        },
        "ClaimResource": {
            "cdi_devices": [1, "repeated CDIDevice"],
            "driver_name": [2, "string"],
            "pool_name": [3, "string"],
            "device_name": [4, "string"],
        },
        "CDIDevice": {"name": [1, "string"]},
        "GetPodResourcesRequest": {"pod_name": [1, "string"], "pod_namespace": [2, "string"]},
        "GetPodResourcesResponse": {"pod_resources": [1, "PodResources"]},
    },
    "services": {
        "PodResourcesLister": {
            "List": ["ListPodResourcesRequest", "ListPodResourcesResponse"],
            "GetAllocatableResources": ["AllocatableResourcesRequest", "AllocatableResourcesResponse"],
            "Get": ["GetPodResourcesRequest", "GetPodResourcesResponse"],
        }
    },
}


@cache
def podresources() -> Schema:
    """The PodResources API."""
    return Schema(_TABLE)


class PodResources:
    """Answers it. pods: all of the node; plugins, claims: who knows their devices, None while there are none."""

    def __init__(
        self,
        pods: Callable[[], Iterable[Obj]],
        plugins: Callable[[], DevicePlugins | None],
        claims: Callable[[], ClaimManager | None],
    ) -> None:
        self._pods = pods
        self._plugins = plugins
        self._claims = claims
        self.works = {"List": self._list, "Get": self._get, "GetAllocatableResources": self._allocatable}

    async def _list(self, request: Any) -> Mapping[str, Any]:
        return {"pod_resources": [self._pod(pod) for pod in self._pods() if not has_ended(pod)]}

    async def _get(self, request: Any) -> Mapping[str, Any]:
        for pod in self._pods():
            if view.key(pod) == (request.pod_namespace, request.pod_name):
                return {"pod_resources": self._pod(pod)}
        text = f"pod {request.pod_name} in namespace {request.pod_namespace} not found"
        raise RPCError(Code.UNKNOWN, text)

    async def _allocatable(self, request: Any) -> Mapping[str, Any]:
        plugins = self._plugins()
        resources = plugins.resources.values() if plugins is not None else ()
        return {"devices": [row for resource in resources for row in self._rows(resource.name, resource.healthy)]}

    def _pod(self, pod: Obj) -> Obj:
        namespace, name = view.key(pod)
        sidecars = [spec for spec in view.init_containers(pod) if view.is_sidecar(spec)]
        containers = [self._container(pod, spec) for spec in (*sidecars, *view.containers(pod))]
        return {"name": name, "namespace": namespace, "containers": containers}

    def _container(self, pod: Obj, spec: Obj) -> Obj:
        plugins = self._plugins()
        given = plugins.state.of(view.uid(pod), spec["name"]) if plugins is not None else {}
        devices = [row for name, allocation in given.items() for row in self._rows(name, allocation.devices)]
        return {"name": spec["name"], "devices": devices, "dynamic_resources": list(self._claimed(pod, spec))}

    def _rows(self, name: str, devices: Iterable[str]) -> Iterator[Obj]:
        """A row for each device, and for each NUMA node of it."""
        plugins = self._plugins()
        resource = plugins.resources.get(name) if plugins is not None else None
        for device in sorted(devices):
            row = {"resource_name": name, "device_ids": [device]}
            known = resource.devices.get(device) if resource is not None else None
            if known is None or not known.numa:
                yield row
            else:
                yield from ({**row, "topology": {"nodes": [{"ID": node}]}} for node in known.numa)

    def _claimed(self, pod: Obj, spec: Obj) -> Iterator[Obj]:
        manager = self._claims()
        if manager is None:
            return
        namespace = view.key(pod)[0]
        for claim in manager.of(pod, spec):
            resources = [
                {
                    "cdi_devices": [{"name": name} for name in device.cdi],
                    "driver_name": driver,
                    "pool_name": device.pool,
                    "device_name": device.device,
                }
                for driver, devices in claim.devices.items()
                for device in devices
            ]
            yield {"claim_name": claim.name, "claim_namespace": namespace, "claim_resources": resources}
