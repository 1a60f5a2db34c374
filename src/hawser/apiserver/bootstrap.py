"""What exists before the first client comes: system namespaces and priority classes, the ``kubernetes`` Service."""

from __future__ import annotations

import logging
from ipaddress import ip_address

import orjson

from hawser.api.errors import APIError
from hawser.api.kinds import CONFIG_MAP, ENDPOINT_SLICE, ENDPOINTS, NAMESPACE, PRIORITY_CLASS, SERVICE, Kind
from hawser.api.types import Obj
from hawser.apiserver.authorization import reconcile
from hawser.apiserver.resources import Resources
from hawser.apiserver.strategies.namespaces import SYSTEM
from hawser.apiserver.writes import Options

log = logging.getLogger(__name__)

_NO_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
_LABELS = {"component": "apiserver", "provider": "kubernetes"}
_PRIORITIES = (
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
)


async def run(resources: Resources, address: str, port: int, cluster_dns: str = "") -> None:
    """Create what is missing; address and port: where this server is reached. cluster_dns: kube-dns' address."""
    for name in SYSTEM:
        await _ensure(resources, NAMESPACE, "", {"metadata": {"name": name}})
    for name, value, description in _PRIORITIES:
        wanted: Obj = {"metadata": {"name": name}, "value": value, "description": description}
        await _ensure(resources, PRIORITY_CLASS, "", wanted)
    await reconcile.run(resources)
    await _ensure(resources, SERVICE, "default", _service(resources.allocator.first_address, port))
    await _endpoints(resources, address, port)
    if cluster_dns:
        try:
            await _ensure(resources, SERVICE, "kube-system", _dns_service(cluster_dns))
        except APIError as error:
            # A store from before this Service may have given its address to another one: that one stays.
            log.error("pods have no cluster DNS: %s", error.message)


async def publish(resources: Resources, wanted: Obj) -> None:
    """Make a ConfigMap, or set its data."""
    metadata = wanted["metadata"]
    await _ensure(resources, CONFIG_MAP, metadata["namespace"], orjson.loads(orjson.dumps(wanted)))

    def change(old: Obj) -> Obj:
        return {**old, "data": wanted["data"]}

    await resources[CONFIG_MAP].update(metadata["namespace"], metadata["name"], change, Options())


async def _ensure(resources: Resources, kind: Kind, namespace: str, obj: Obj) -> None:
    resource = resources[kind]
    if resource.store.get(resource.key(namespace, obj["metadata"]["name"])) is not None:
        return
    try:
        await resource.create(namespace, obj, Options())
    except APIError as error:
        if error.reason != "AlreadyExists":
            raise


def _service(address: str, port: int) -> Obj:
    return {
        "metadata": {"name": "kubernetes", "labels": dict(_LABELS)},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
        },
    }


def _dns_service(address: str) -> Obj:
    """The Service as kubeadm makes it, but without a selector: node agents serve it (controllers/cluster_dns.py)."""
    ports = (("dns", "UDP", 53), ("dns-tcp", "TCP", 53), ("metrics", "TCP", 9153))
    return {
        "metadata": {
            "name": "kube-dns",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true"},
            "annotations": {"prometheus.io/port": "9153", "prometheus.io/scrape": "true"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "ports": [{"name": n, "protocol": p, "port": port, "targetPort": port} for n, p, port in ports],
        },
    }


async def _endpoints(resources: Resources, address: str, port: int) -> None:
    """The slice follows the server's address, which may change from one start to the next."""
    # An EndpointSlice may not hold a loopback address: such a server is not there for pods.
    if ip_address(address).is_loopback or ip_address(address).is_unspecified:
        return
    wanted: Obj = {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": f"IPv{ip_address(address).version}",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    await _keep(resources, ENDPOINT_SLICE, wanted, ("endpoints", "ports"))
    old_form: Obj = {
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {_NO_MIRROR: "true"}},
        "subsets": [{"addresses": [{"ip": address}], "ports": wanted["ports"]}],
    }
    await _keep(resources, ENDPOINTS, old_form, ("subsets",))


async def _keep(resources: Resources, kind: Kind, wanted: Obj, fields: tuple[str, ...]) -> None:
    """Make the object, or set these fields of it."""
    await _ensure(resources, kind, "default", orjson.loads(orjson.dumps(wanted)))

    def change(old: Obj) -> Obj:
        return {**old, **{field: wanted[field] for field in fields}}

    await resources[kind].update("default", "kubernetes", change, Options())
