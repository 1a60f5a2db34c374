"""Defaulting: the values that the API server writes where a client left a field out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from hawser.api.crd import objects
from hawser.api.crd.kinds import CustomKind
from hawser.api.definitions import definition
from hawser.api.kinds import Kind
from hawser.api.lazily import load
from hawser.api.types import Obj

_BY_GVK = {
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"): "extensions.custom_resource_definition",
    ("", "v1", "LimitRange"): "policies.limit_range",
    ("", "v1", "Namespace"): "core.namespace",
    ("", "v1", "Node"): "core.node",
    ("", "v1", "Pod"): "pod.pod",
    ("", "v1", "PodTemplate"): "apps.pod_template",
    ("", "v1", "ReplicationController"): "apps.replication_controller",
    ("", "v1", "ResourceQuota"): "policies.resource_quota",
    ("", "v1", "Secret"): "core.secret",
    ("", "v1", "Service"): "service.service",
    ("apps", "v1", "DaemonSet"): "apps.daemon_set",
    ("apps", "v1", "Deployment"): "apps.deployment",
    ("apps", "v1", "ReplicaSet"): "apps.replica_set",
    ("apps", "v1", "StatefulSet"): "apps.stateful_set",
    ("autoscaling", "v1", "HorizontalPodAutoscaler"): "autoscaling.horizontal_pod_autoscaler_v1",
    ("autoscaling", "v2", "HorizontalPodAutoscaler"): "autoscaling.horizontal_pod_autoscaler",
    ("batch", "v1", "CronJob"): "batch.cron_job",
    ("batch", "v1", "Job"): "batch.job",
    ("discovery.k8s.io", "v1", "EndpointSlice"): "core.endpoint_slice",
    ("scheduling.k8s.io", "v1", "PriorityClass"): "policies.priority_class",
    ("", "v1", "Endpoints"): "networking.endpoints",
    ("", "v1", "PersistentVolume"): "storage.persistent_volume",
    ("", "v1", "PersistentVolumeClaim"): "storage.persistent_volume_claim",
    ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy"): "admission.mutating_policy",
    ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding"): "admission.binding",
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy"): "admission.policy",
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding"): "admission.binding",
    ("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration"): "cluster.mutating_webhooks",
    ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration"): "cluster.validating_webhooks",
    ("apiregistration.k8s.io", "v1", "APIService"): "cluster.api_service",
    ("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"): "cluster.flow_schema",
    ("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration"): "cluster.priority_level",
    ("networking.k8s.io", "v1", "IngressClass"): "networking.ingress_class",
    ("networking.k8s.io", "v1", "NetworkPolicy"): "networking.network_policy",
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"): "cluster.binding",
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"): "cluster.binding",
    ("resource.k8s.io", "v1", "ResourceClaim"): "devices.claim",
    ("resource.k8s.io", "v1", "ResourceClaimTemplate"): "devices.claim_template",
    ("storage.k8s.io", "v1", "CSIDriver"): "storage.csi_driver",
    ("storage.k8s.io", "v1", "StorageClass"): "storage.storage_class",
}


@cache
def _default(gvk: tuple[str, str, str]) -> Callable[[Obj], None] | None:
    """What fills in a kind's defaults; its module is imported when it is first asked for.

    A spec is there even when nothing is in it, as kube-apiserver writes them: whoever reads one may rely on that.
    """
    name = _BY_GVK.get(gvk)
    found: Callable[[Obj], None] | None = load(__name__, name) if name is not None else None
    if "spec" not in definition(gvk).get("properties", {}):
        return found

    def specified(obj: Obj) -> None:
        if obj.get("spec") is None:
            obj["spec"] = {}
        if found is not None:
            found(obj)

    return specified


def apply_defaults(kind: Kind, obj: Obj) -> None:
    """Fills obj in place with the API reference's defaults of its kind; kinds without defaults are left alone.

    obj has passed ``schema.decode``. Applying defaults again changes nothing.
    """
    if isinstance(kind, CustomKind):
        objects.complete(kind, obj)
        return
    default = _default(kind.gvk)
    if default is not None:
        default(obj)
