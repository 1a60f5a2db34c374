"""The endpoints of the Service kube-dns: the node agents themselves, each of which serves DNS to its node's pods.

They are there while the Service has no selector. Whoever gives it one (by installing CoreDNS, say) has its pods asked
instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from hawser.api.errors import ignoring
from hawser.api.kinds import ENDPOINT_SLICE, NODE, SERVICE
from hawser.api.status import is_ready
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.client.informer import Handler
from hawser.controllers import pods
from hawser.controllers.endpoints import MANAGED_BY, SERVICE_LABEL

NAMESPACE, NAME = "kube-system", "kube-dns"
SLICE = "kube-dns-nodes"
MANAGER = "cluster-dns-controller.hawser.io"


def wanted(service: Obj | None, nodes: Iterable[Obj]) -> Obj | None:
    """The EndpointSlice as it should be; None when the Service is not served by nodes."""
    if service is None or service["metadata"].get("deletionTimestamp") or service["spec"].get("selector"):
        return None
    ports = [
        {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP"), "port": port.get("targetPort")}
        for port in service["spec"].get("ports") or ()
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": SLICE,
            "namespace": NAMESPACE,
            "labels": {"k8s-app": NAME, SERVICE_LABEL: NAME, MANAGED_BY: MANAGER},
            "ownerReferences": [pods.owner_reference(service)],
        },
        "addressType": "IPv4",
        "ports": [port for port in ports if isinstance(port["port"], int)],
        "endpoints": [made for node in sorted(nodes, key=_name) if (made := _endpoint(node)) is not None],
    }


def _name(node: Obj) -> str:
    return str(node["metadata"]["name"])


def _endpoint(node: Obj) -> Obj | None:
    """A node's DNS server: it listens at the node's address towards its pods, the first of their range."""
    cidr = node["spec"].get("podCIDR")
    if not cidr or ":" in cidr:
        return None
    ready = is_ready(node)
    return {
        "addresses": [str(ip_network(cidr)[1])],
        "conditions": {"ready": ready, "serving": ready, "terminating": False},
        "nodeName": _name(node),
        # A node's pods ask their own node while it answers.
        "hints": {"forNodes": [{"name": _name(node)}]},
    }


def _same(found: Obj, made: Obj) -> bool:
    labels = found["metadata"].get("labels") or {}
    return (
        all(found.get(key) == made[key] for key in ("ports", "endpoints"))
        and made["metadata"]["labels"].items() <= labels.items()
        and found["metadata"].get("ownerReferences") == made["metadata"]["ownerReferences"]
    )


class ClusterDNSController(Controller):
    """See the module."""

    name = "cluster-dns"

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._services = manager.informer(SERVICE)
        self._nodes = manager.informer(NODE)
        self._slices = manager.informer(ENDPOINT_SLICE)
        self._services.on_change(self._changed(NAME))
        self._slices.on_change(self._changed(SLICE))
        self._nodes.on_change(self._node_changed)

    def _changed(self, name: str) -> Handler:
        def handler(old: Obj | None, new: Obj | None) -> None:
            metadata = (new or old or {})["metadata"]
            if metadata["name"] == name and metadata["namespace"] == NAMESPACE:
                self.queue.add(NAME)

        return handler

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is None or new is None or _endpoint(old) != _endpoint(new):
            self.queue.add(NAME)

    async def reconcile(self, key: str) -> float | None:
        made = wanted(self._services.get(NAMESPACE, NAME), self._nodes.list())
        found = self._slices.get(NAMESPACE, SLICE)
        if made is None:
            if found is not None:
                await self._delete(found)
        elif found is None:
            self._slices.observe(await self._client.create(ENDPOINT_SLICE, made))
        elif not _same(found, made):
            metadata = {**found["metadata"], **made["metadata"]}
            self._slices.observe(await self._client.update(ENDPOINT_SLICE, {**found, **made, "metadata": metadata}))
        return None

    async def _delete(self, found: Obj) -> None:
        with ignoring(404):
            await self._client.delete(ENDPOINT_SLICE, SLICE, NAMESPACE, uid=found["metadata"]["uid"])
