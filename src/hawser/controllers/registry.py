"""The controllers that ``python -m hawser.controllers`` can run.

A row names a factory as ``module:callable``; it is called without arguments and returns a ``Controller``. A controller
that works for certain kinds is imported and started when the first object of one of them is there: a process pays for
what it is used for. Adding a controller is adding a row.

Names and short names are kube-controller-manager's ("--controllers" in its reference); those that Kubernetes has
elsewhere are the engine's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from hawser.api import kinds
from hawser.api.kinds import Kind
from hawser.client.controller import Controller


@dataclass(frozen=True, slots=True)
class Row:
    """One controller.

    factory: ``module:callable``, the module below ``hawser``. kinds: it starts with the first object of one of them;
    none: at once. alias: its older name. by_default: whether ``*`` means it too.
    """

    factory: str
    kinds: tuple[Kind, ...] = ()
    alias: str = ""
    by_default: bool = True


_SIGNING = "certificatesigningrequest"
_REQUESTS = (kinds.CERTIFICATE_SIGNING_REQUEST,)
_CLAIMS = (kinds.PERSISTENT_VOLUME_CLAIM,)
_VOLUMES = (kinds.PERSISTENT_VOLUME,)
_ATTRIBUTES = (kinds.VOLUME_ATTRIBUTES_CLASS,)
_SECRETS = (kinds.SECRET,)

CONTROLLERS: dict[str, Row] = {
    "scheduler": Row("scheduler.scheduler:Scheduler"),
    "node-lifecycle-controller": Row("controllers.node_lifecycle:NodeLifecycleController", alias="nodelifecycle"),
    "ttl-controller": Row("controllers.node_ttl:NodeTTLController", alias="ttl"),
    "taint-eviction-controller": Row("controllers.taint_eviction:TaintEvictionController"),
    "pod-garbage-collector-controller": Row(
        "controllers.pod_garbage:PodGarbageCollector", kinds=(kinds.POD,), alias="podgc"
    ),
    "namespace-controller": Row("controllers.namespace:NamespaceController", alias="namespace"),
    "serviceaccount-controller": Row("controllers.serviceaccount:ServiceAccountController", alias="serviceaccount"),
    "clusterrole-aggregation-controller": Row(
        "controllers.clusterrole_aggregation:ClusterRoleAggregationController", alias="clusterrole-aggregation"
    ),
    "serviceaccount-token-controller": Row(
        "controllers.token_secrets:TokenSecretController", _SECRETS, alias="serviceaccount-token"
    ),
    "token-cleaner-controller": Row(
        "controllers.token_cleaner:TokenCleaner", _SECRETS, alias="tokencleaner", by_default=False
    ),
    "bootstrap-signer-controller": Row(
        "controllers.bootstrap_signer:BootstrapSigner", alias="bootstrapsigner", by_default=False
    ),
    "root-ca-certificate-publisher-controller": Row(
        "controllers.root_ca:RootCaController", alias="root-ca-cert-publisher"
    ),
    f"{_SIGNING}-approving-controller": Row("controllers.csr_approver:ApproverController", _REQUESTS, "csrapproving"),
    f"{_SIGNING}-signing-controller": Row("controllers.csr_signer:SignerController", _REQUESTS, "csrsigning"),
    f"{_SIGNING}-cleaner-controller": Row("controllers.csr_cleaner:CleanerController", _REQUESTS, "csrcleaner"),
    "garbage-collector-controller": Row("controllers.garbagecollector:GarbageCollector", alias="garbagecollector"),
    "replicaset-controller": Row("controllers.replicaset:ReplicaSetController", (kinds.REPLICA_SET,), "replicaset"),
    "replicationcontroller-controller": Row(
        "controllers.replicationcontroller:ReplicationControllerController",
        (kinds.REPLICATION_CONTROLLER,),
        "replicationcontroller",
    ),
    "job-controller": Row("controllers.job.controller:JobController", (kinds.JOB,), "job"),
    "ttl-after-finished-controller": Row(
        "controllers.ttl_after_finished:TTLAfterFinishedController", (kinds.JOB,), "ttl-after-finished"
    ),
    "cronjob-controller": Row("controllers.cronjob:CronJobController", (kinds.CRON_JOB,), "cronjob"),
    "deployment-controller": Row("controllers.deployment:DeploymentController", (kinds.DEPLOYMENT,), "deployment"),
    "daemonset-controller": Row("controllers.daemonset:DaemonSetController", (kinds.DAEMON_SET,), "daemonset"),
    "statefulset-controller": Row(
        "controllers.statefulset:StatefulSetController", (kinds.STATEFUL_SET,), "statefulset"
    ),
    "endpointslice-controller": Row("controllers.endpointslice:EndpointSliceController", alias="endpointslice"),
    "cluster-dns": Row("controllers.cluster_dns:ClusterDNSController"),
    "endpoints-controller": Row("controllers.legacy_endpoints:EndpointsController", alias="endpoint"),
    "endpointslice-mirroring-controller": Row(
        "controllers.endpointslice_mirroring:MirroringController", alias="endpointslicemirroring"
    ),
    "service-lb-controller": Row("controllers.service_lb:ServiceLBController", alias="service"),
    "horizontal-pod-autoscaler-controller": Row(
        "controllers.autoscaler.controller:AutoscalerController",
        (kinds.HORIZONTAL_POD_AUTOSCALER,),
        "horizontalpodautoscaling",
    ),
    # Pods, too, since those that were to go and stay are its business.
    "disruption-controller": Row(
        "controllers.disruption:DisruptionController", (kinds.POD_DISRUPTION_BUDGET, kinds.POD), "disruption"
    ),
    "resourceclaim-controller": Row(
        "controllers.resource_claims:ResourceClaimController",
        (kinds.RESOURCE_CLAIM, kinds.RESOURCE_CLAIM_TEMPLATE),
        "resource-claim-controller",
    ),
    # Without devices, nothing is tainted.
    "device-taint-eviction-controller": Row(
        "controllers.device_taints:DeviceTaintEvictionController", (kinds.RESOURCE_SLICE,)
    ),
    "resourcequota-controller": Row(
        "controllers.resourcequota:ResourceQuotaController", (kinds.RESOURCE_QUOTA,), "resourcequota"
    ),
    "persistentvolume-binder-controller": Row(
        "controllers.storage.binder:PersistentVolumeBinder", (*_CLAIMS, *_VOLUMES), "persistentvolume-binder"
    ),
    "local-volume-provisioner": Row("controllers.storage.local:LocalProvisioner", (*_CLAIMS, *_VOLUMES)),
    "persistentvolume-attach-detach-controller": Row(
        "controllers.storage.attachments:AttachDetachController", _VOLUMES, "attachdetach"
    ),
    "persistentvolume-expander-controller": Row(
        "controllers.storage.expansion:ExpansionController", _VOLUMES, "persistentvolume-expander"
    ),
    "ephemeral-volume-controller": Row(
        "controllers.storage.ephemeral:EphemeralVolumeController", (kinds.POD,), "ephemeral-volume"
    ),
    "persistentvolumeclaim-protection-controller": Row(
        "controllers.storage_protection:ClaimProtection", _CLAIMS, "pvc-protection"
    ),
    "persistentvolume-protection-controller": Row(
        "controllers.storage_protection:VolumeProtection", _VOLUMES, "pv-protection"
    ),
    "volumeattributesclass-protection-controller": Row(
        "controllers.storage_protection:AttributesClassProtection", _ATTRIBUTES
    ),
}


class UnknownController(Exception):
    """A name that is not in the table."""


def chosen(names: str) -> list[str]:
    """The controllers that a comma-separated list asks for: ``*`` is all that run by default, ``-name`` is without it.

    Raises UnknownController.
    """
    listed = [name.strip() for name in names.split(",") if name.strip()]
    without = {_canonical(name[1:]) for name in listed if name.startswith("-")}
    wanted = {_canonical(name) for name in listed if name != "*" and not name.startswith("-")}
    everything = "*" in listed or not wanted
    return [
        name
        for name, row in CONTROLLERS.items()
        if (name in wanted or (everything and row.by_default)) and name not in without
    ]


def _canonical(name: str) -> str:
    if name in CONTROLLERS:
        return name
    for canonical, row in CONTROLLERS.items():
        if name and name == row.alias:
            return canonical
    raise UnknownController(f'"{name}" is no controller; there are: {", ".join(CONTROLLERS)}')


def make(name: str) -> Controller:
    """A controller by its name in the table."""
    module, _, factory = CONTROLLERS[name].factory.partition(":")
    made = getattr(import_module(f"hawser.{module}"), factory)()
    assert isinstance(made, Controller)
    return made
