"""The node's part in the cluster's network, put together: pod network, Services, network policies, cluster DNS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path

from hawser.api.kinds import ENDPOINT_SLICE, NAMESPACE, NETWORK_POLICY, POD, SERVICE
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.client.events import EventRecorder
from hawser.client.informer import Informer
from hawser.node.network.agent import NetworkAgent
from hawser.node.network.config import NetworkConfig
from hawser.node.network.endpoints import ZONE, Place
from hawser.node.network.healthchecks import HealthChecks
from hawser.node.network.policy.enforcer import Enforcer
from hawser.node.network.proxy import BY_SERVICE, ServiceProxy, service_of
from hawser.node.network.proxystatus import ProxyStatus
from hawser.node.network.uplink import Uplink
from hawser.node.options import Options

_TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"


class Networking:
    """See the module. Without a pod range the network is somebody else's, and only Services are followed.

    pods: the node's own. node: the Node as the API last had it. reference: whom events about the node name.
    """

    def __init__(
        self,
        options: Options,
        client: Client,
        recorder: EventRecorder,
        pods: Informer,
        resolv_conf: Path,
        node: Callable[[], Obj],
        reference: Obj,
    ) -> None:
        self._options = options
        self._client = client
        self._recorder = recorder
        self._pods = pods
        self._resolv_conf = resolv_conf
        self._node = node
        self._reference = reference
        self._slices = Informer(client, ENDPOINT_SLICE)
        self._policies = Informer(client, NETWORK_POLICY)
        self._status = ProxyStatus(self._eligible)
        self._enforcer: Enforcer
        self.services = Informer(client, SERVICE)
        self.agent: NetworkAgent | None = None

    async def start(self) -> None:
        """Makes or adopts the pod network, with its policies. Raises OSError, NftError."""
        options = self._options
        if options.pod_cidr is None or options.cni_conf_dir is None or options.cni_bin_dir is None:
            return
        config = NetworkConfig(
            instance=options.instance,
            pod_cidr=options.pod_cidr,
            service_cidr=options.service_cidr,
            state_dir=options.run_dir / "network",
            socket=options.run_dir / "cni.sock",
            cni_bin_dir=options.cni_bin_dir,
            cni_conf_dir=options.cni_conf_dir,
            namespaces=options.run_dir,
            cluster_cidrs=options.cluster_cidrs,
            node=options.node_name,
            ledger=options.address_ledger,
            uplink=_uplink(options),
            pod_cidr6=options.pod_cidr6,
            service_cidr6=options.service_cidr6,
            balancers=options.balancers,
            pools=options.ip_pools,
        )
        self.agent = NetworkAgent(config, self._pods)
        self.agent.guard = self._enforcer = self._guard(self.agent)
        await self.agent.start()

    def follow(self, tasks: asyncio.TaskGroup) -> None:
        """Begins with all that needs no API server to go on."""
        tasks.create_task(self.services.run(), name="informer services")
        if self.agent is None:
            return
        tasks.create_task(self._slices.run(), name="informer slices")
        tasks.create_task(self._policies.run(), name="informer policies")
        tasks.create_task(self._enforcer.run(), name="policies")
        if self._options.cluster_dns:
            tasks.create_task(self._serve_dns(self.agent.config), name="dns")

    async def serve(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to translate Services' addresses, once the node is registered."""
        if self.agent is not None:
            tasks.create_task(self._proxy(self.agent).run(), name="services")
            await self._status.start(self._options.proxy_healthz_listen, self._options.proxy_metrics_listen)

    async def gc(self, live: Iterable[str]) -> None:
        """Frees what sandboxes that are gone still hold. live: ids of those that run. Raises OSError."""
        if self.agent is not None:
            await self.agent.gc(live)

    async def stop(self) -> None:
        """Stops answering; pods keep their network."""
        self._status.close()
        if self.agent is not None:
            await self.agent.stop()

    def _guard(self, network: NetworkAgent) -> Enforcer:
        node, config = self._options.node_name, network.config
        self._slices.add_index(BY_SERVICE, service_of)

        def further() -> tuple[Informer, Informer]:
            from hawser.node.network.policy.model import reduced

            elsewhere = Informer(self._client, POD, field_selector=f"spec.nodeName!={node}", keep=reduced)
            return elsewhere, Informer(self._client, NAMESPACE, metadata_only=True)

        def servers() -> Iterator[str]:
            if not self._options.cluster_dns:
                return
            yield str(config.gateway)
            for one in self._slices.by_index(BY_SERVICE, "kube-system/kube-dns"):
                yield from (a for e in one.get("endpoints") or () if not e.get("targetRef") for a in e["addresses"])

        def report(text: str) -> None:
            self._recorder.event(self._reference, "Warning", "NetworkPolicyFailed", text)

        return Enforcer(
            config.policies_table,
            config.link_prefix,
            network.transact,
            self._policies,
            self._pods,
            further,
            network.records,
            servers,
            report,
        )

    def _proxy(self, network: NetworkAgent) -> ServiceProxy:
        def place() -> Place:
            labels = self._node()["metadata"].get("labels") or {}
            return Place(self._options.node_name, labels.get(ZONE, ""))

        def refused(key: str, port: int, error: OSError) -> None:
            namespace, _, name = key.partition("/")
            if (service := self.services.get(namespace, name)) is not None:
                text = f'node {self._options.node_name} failed to start healthcheck "{key}" on port {port}: {error}'
                self._recorder.event(service, "Warning", "FailedToStartServiceHealthcheck", text)

        status, tables = self._status, network.config.service_tables
        checks = HealthChecks(refused, lambda: status.healthy)
        return ServiceProxy(tables, network, self.services, self._slices, place, checks, status)

    def _eligible(self) -> bool:
        """Whether load balancers may go on sending traffic to this node."""
        node = self._node()
        taints = node["spec"].get("taints") or ()
        return not node["metadata"].get("deletionTimestamp") and not any(t["key"] == _TO_BE_DELETED for t in taints)

    async def _serve_dns(self, network: NetworkConfig) -> None:
        """The cluster's DNS server, at the address that pods have for their node."""
        from hawser.node.dns import cluster

        options, listen = self._options, str(network.gateway)
        own = (*network.cluster_cidrs, *network.routed)
        server = cluster.build(
            options.cluster_domain, self.services, self._slices, own, options.cluster_dns, listen, self._resolv_conf
        )
        await server.run(listen)


def _uplink(options: Options) -> Uplink | None:
    return options.uplink and Uplink(*options.uplink, tuple(map(ip_address, options.node_ips)))
