"""The controllers that ``python -m hawser.controllers`` can run.

A row names a factory as ``module:callable``; it is called without arguments and returns a ``Controller``. Modules are
imported only when their controller is asked for: a process pays for what it runs. Adding a controller is adding a row.
"""

from __future__ import annotations

from importlib import import_module

from hawser.client.controller import Controller

CONTROLLERS: dict[str, str] = {
    "scheduler": "hawser.scheduler.scheduler:Scheduler",
    "node-lifecycle": "hawser.controllers.node_lifecycle:NodeLifecycleController",
    "taint-eviction": "hawser.controllers.taint_eviction:TaintEvictionController",
    "pod-garbage-collector": "hawser.controllers.pod_garbage:PodGarbageCollector",
    "namespace": "hawser.controllers.namespace:NamespaceController",
    "serviceaccount": "hawser.controllers.serviceaccount:ServiceAccountController",
    "clusterrole-aggregation": "hawser.controllers.clusterrole_aggregation:ClusterRoleAggregationController",
    "serviceaccount-token": "hawser.controllers.token_secrets:TokenSecretController",
    "token-cleaner": "hawser.controllers.token_cleaner:TokenCleaner",
    "bootstrap-signer": "hawser.controllers.bootstrap_signer:BootstrapSigner",
    "root-ca-certificate-publisher": "hawser.controllers.root_ca:RootCaController",
    "certificatesigningrequest-approving-controller": "hawser.controllers.csr_approver:ApproverController",
    "certificatesigningrequest-signing-controller": "hawser.controllers.csr_signer:SignerController",
    "certificatesigningrequest-cleaner-controller": "hawser.controllers.csr_cleaner:CleanerController",
    "garbage-collector": "hawser.controllers.garbagecollector:GarbageCollector",
    "replicaset": "hawser.controllers.replicaset:ReplicaSetController",
    "deployment": "hawser.controllers.deployment:DeploymentController",
    "endpointslice": "hawser.controllers.endpointslice:EndpointSliceController",
    "cluster-dns": "hawser.controllers.cluster_dns:ClusterDNSController",
    "endpoint": "hawser.controllers.legacy_endpoints:EndpointsController",
    "endpointslice-mirroring": "hawser.controllers.endpointslice_mirroring:MirroringController",
    "service-lb-controller": "hawser.controllers.service_lb:ServiceLBController",
    "resourcequota": "hawser.controllers.resourcequota:ResourceQuotaController",
    "persistentvolumeclaim-protection": "hawser.controllers.storage_protection:ClaimProtection",
    "persistentvolume-protection": "hawser.controllers.storage_protection:VolumeProtection",
    "volumeattributesclass-protection": "hawser.controllers.storage_protection:AttributesClassProtection",
}


class UnknownController(Exception):
    """A name that is not in the table."""


def chosen(names: str) -> list[str]:
    """The controllers that a comma-separated list asks for: ``*`` is all, ``-name`` is all but that one.

    Raises UnknownController.
    """
    listed = [name.strip() for name in names.split(",") if name.strip()]
    for name in listed:
        if name != "*" and name.removeprefix("-") not in CONTROLLERS:
            raise UnknownController(f'"{name}" is no controller; there are: {", ".join(CONTROLLERS)}')
    without = {name[1:] for name in listed if name.startswith("-")}
    wanted = {name for name in listed if not name.startswith("-")}
    everything = "*" in wanted or not wanted
    return [name for name in CONTROLLERS if (everything or name in wanted) and name not in without]


def make(name: str) -> Controller:
    """A controller by its name in the table."""
    module, _, factory = CONTROLLERS[name].partition(":")
    made = getattr(import_module(module), factory)()
    assert isinstance(made, Controller)
    return made
