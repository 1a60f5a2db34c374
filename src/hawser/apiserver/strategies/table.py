"""Which strategy a kind has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from hawser.api import kinds
from hawser.api.kinds import Kind
from hawser.api.lazily import load
from hawser.apiserver.strategies.base import Lookup, Strategy
from hawser.apiserver.strategies.definitions import DefinitionStrategy, Names
from hawser.apiserver.strategies.services import Allocator, ServiceStrategy

_PACKAGE = "hawser.apiserver.strategies"
_STRATEGIES: dict[Kind, str] = {
    kinds.NAMESPACE: "namespaces.NamespaceStrategy",
    kinds.NODE: "core.NodeStrategy",
    kinds.POD: "pods.PodStrategy",
    kinds.SECRET: "core.SecretStrategy",
    kinds.EVENT: "core.EventStrategy",
    kinds.EVENTS_EVENT: "core.EventStrategy",
    kinds.LEASE: "core.LeaseStrategy",
    kinds.RUNTIME_CLASS: "core.RuntimeClassStrategy",
    kinds.CRON_JOB: "workloads.CronJobStrategy",
    kinds.DAEMON_SET: "workloads.DaemonSetStrategy",
    kinds.DEPLOYMENT: "workloads.TemplateStrategy",
    kinds.JOB: "workloads.JobStrategy",
    kinds.LIMIT_RANGE: "workloads.LimitRangeStrategy",
    kinds.POD_DISRUPTION_BUDGET: "workloads.DisruptionBudgetStrategy",
    kinds.POD_TEMPLATE: "workloads.PodTemplateStrategy",
    kinds.REPLICA_SET: "workloads.ReplicaSetStrategy",
    kinds.REPLICATION_CONTROLLER: "workloads.ReplicationControllerStrategy",
    kinds.RESOURCE_QUOTA: "workloads.ReturningStrategy",
    kinds.SERVICE_ACCOUNT: "workloads.ReturningStrategy",
    kinds.STATEFUL_SET: "workloads.StatefulSetStrategy",
    kinds.CLUSTER_ROLE: "cluster.UpsertStrategy",
    kinds.CLUSTER_ROLE_BINDING: "cluster.UpsertStrategy",
    kinds.CSI_DRIVER: "storage.DriverStrategy",
    kinds.CSI_NODE: "storage.DriverStrategy",
    kinds.CSI_STORAGE_CAPACITY: "storage.CapacityStrategy",
    kinds.ENDPOINTS: "cluster.UpsertStrategy",
    kinds.HORIZONTAL_POD_AUTOSCALER: "workloads.AutoscalerStrategy",
    kinds.FLOW_SCHEMA: "cluster.StatusOnlyStrategy",
    kinds.INGRESS: "networking.IngressStrategy",
    kinds.NETWORK_POLICY: "networking.PolicyStrategy",
    kinds.MUTATING_WEBHOOK_CONFIGURATION: "cluster.VersionedStrategy",
    kinds.PERSISTENT_VOLUME_CLAIM: "storage.ClaimStrategy",
    kinds.PRIORITY_LEVEL_CONFIGURATION: "cluster.StatusOnlyStrategy",
    kinds.RESOURCE_CLAIM: "cluster.ClaimStrategy",
    kinds.RESOURCE_CLAIM_TEMPLATE: "cluster.TemplateStrategy",
    kinds.ROLE: "cluster.UpsertStrategy",
    kinds.ROLE_BINDING: "cluster.UpsertStrategy",
    kinds.SERVICE_CIDR: "cluster.StatusOnlyStrategy",
    kinds.STORAGE_CLASS: "storage.StorageClassStrategy",
    kinds.VALIDATING_WEBHOOK_CONFIGURATION: "cluster.VersionedStrategy",
    kinds.VOLUME_ATTACHMENT: "storage.AttachmentStrategy",
    kinds.VOLUME_ATTRIBUTES_CLASS: "storage.ClassStrategy",
}
_WITH_CLOCK: dict[Kind, str] = {
    kinds.CERTIFICATE_SIGNING_REQUEST: "certificates.SigningRequestStrategy",
    kinds.PERSISTENT_VOLUME: "storage.VolumeStrategy",
    kinds.RESOURCE_SLICE: "cluster.SliceStrategy",
}


def strategy(kind: Kind, lookup: Lookup, allocator: Allocator, names: Names, now: Callable[[], datetime]) -> Strategy:
    """The strategy of a kind; the generic one for kinds without a row."""
    if kind is kinds.CUSTOM_RESOURCE_DEFINITION:
        return DefinitionStrategy(kind, lookup, names, now)
    if kind is kinds.SERVICE:
        return ServiceStrategy(kind, lookup, allocator)
    found: Strategy
    if kind in _WITH_CLOCK:
        found = load(_PACKAGE, _WITH_CLOCK[kind])(kind, lookup, now)
    elif kind in _STRATEGIES:
        found = load(_PACKAGE, _STRATEGIES[kind])(kind, lookup)
    else:
        found = Strategy(kind, lookup)
    return found
