"""Validation: what an object may say, in kube-apiserver's words. All field errors are found, not only the first.

Objects have passed ``schema.decode`` and ``defaults.apply_defaults``; names have been generated.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from hawser.api.crd import objects
from hawser.api.crd.kinds import CustomKind
from hawser.api.errors import FieldError
from hawser.api.kinds import Kind
from hawser.api.lazily import load
from hawser.api.types import Obj
from hawser.api.validation.metadata import metadata, metadata_update
from hawser.api.validation.rules import Errors, NameRule


def _nothing(obj: Obj, old: Obj) -> Errors:
    return
    yield


def _none(obj: Obj) -> Errors:
    return
    yield


class Row(NamedTuple):
    """How one kind is validated beyond its metadata: names of functions of this package, ``module.function``.

    body: rules of the object itself, at creation and at updates. update: what may not change.
    create: rules of creation only. status: rules of a status update (instead of body and update).
    """

    body: str = ""
    update: str = ""
    status: str = ""
    create: str = ""
    name: str = "rules.subdomain_errors"


class Rules(NamedTuple):
    """The functions of a row."""

    body: Callable[[Obj], Errors]
    update: Callable[[Obj, Obj], Errors]
    status: Callable[[Obj, Obj], Errors]
    create: Callable[[Obj], Errors]
    name: NameRule


_RULES: dict[tuple[str, str, str], Row] = {
    ("", "v1", "ConfigMap"): Row("core.config_map", "core.config_map_update"),
    ("", "v1", "Event"): Row("events.event", name="values.path_segment_errors"),
    ("events.k8s.io", "v1", "Event"): Row(update="events.new_event_update", create="events.new_event_create"),
    ("", "v1", "LimitRange"): Row("quota.limit_range"),
    ("", "v1", "Namespace"): Row("core.namespace", status="core.namespace_status_update", name="rules.label_errors"),
    ("", "v1", "Node"): Row("node.node", "node.node_update"),
    ("", "v1", "Pod"): Row("pod.pod", "pod_update.pod_update", "pod_update.pod_status_update", "pod.pod_create"),
    ("", "v1", "PodTemplate"): Row("workloads.pod_template"),
    ("", "v1", "ReplicationController"): Row(
        "workloads.replication_controller", status="workloads.replication_controller_status_update"
    ),
    ("", "v1", "ResourceQuota"): Row(
        "quota.resource_quota", "quota.resource_quota_update", "quota.resource_quota_status_update"
    ),
    ("", "v1", "Secret"): Row("core.secret", "core.secret_update"),
    ("", "v1", "Service"): Row(
        "service.service", "service.service_update", "service.service_status_update", name="rules.label_1035_errors"
    ),
    ("", "v1", "ServiceAccount"): Row("core.service_account"),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"): Row(
        "extensions.definition", "extensions.definition_update", "extensions.definition_status_update"
    ),
    ("apps", "v1", "ControllerRevision"): Row("workloads.controller_revision", "workloads.controller_revision_update"),
    ("apps", "v1", "DaemonSet"): Row(
        "workloads.daemon_set", "workloads.daemon_set_update", "workloads.daemon_set_status_update"
    ),
    ("apps", "v1", "Deployment"): Row("apps.deployment", "apps.workload_update", "apps.deployment_status_update"),
    ("apps", "v1", "ReplicaSet"): Row("apps.replica_set", "apps.workload_update", "apps.replica_set_status_update"),
    ("apps", "v1", "StatefulSet"): Row(
        update="workloads.stateful_set_update",
        status="workloads.stateful_set_status_update",
        create="workloads.stateful_set_create",
        name="rules.label_errors",
    ),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"): Row(
        update="autoscaling.autoscaler_update",
        status="autoscaling.autoscaler_status_update",
        create="autoscaling.autoscaler_create",
    ),
    ("autoscaling", "v1", "HorizontalPodAutoscaler"): Row(
        update="autoscaling_v1.update", status="autoscaling_v1.status", create="autoscaling_v1.create"
    ),
    ("batch", "v1", "CronJob"): Row(update="cron_job.cron_job_update", create="cron_job.cron_job_create"),
    ("batch", "v1", "Job"): Row(
        update="job.job_update", status="job_status.job_status_update", create="job.job_create"
    ),
    ("certificates.k8s.io", "v1", "CertificateSigningRequest"): Row(
        "certificates.request",
        "certificates.update",
        "certificates.status_update",
        name="certificates.any_name",
    ),
    ("coordination.k8s.io", "v1", "Lease"): Row("coordination.lease"),
    ("discovery.k8s.io", "v1", "EndpointSlice"): Row("discovery.endpoint_slice", "discovery.endpoint_slice_update"),
    ("node.k8s.io", "v1", "RuntimeClass"): Row("node.runtime_class", "node.runtime_class_update"),
    ("policy", "v1", "PodDisruptionBudget"): Row(
        "policies.disruption_budget",
        status="policies.disruption_budget_status_update",
        name="values.path_segment_errors",
    ),
    ("scheduling.k8s.io", "v1", "PriorityClass"): Row(
        update="policies.priority_class_update", create="policies.priority_class_create"
    ),
    ("", "v1", "Endpoints"): Row("networking.endpoints"),
    ("", "v1", "PersistentVolume"): Row("persistent.volume", "persistent.volume_update"),
    ("", "v1", "PersistentVolumeClaim"): Row("claims.claim", "claims.claim_update", "claims.claim_status"),
    ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy"): Row("admission_policies.mutating_policy"),
    ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding"): Row(
        "admission_policies.mutating_binding"
    ),
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy"): Row(
        "admission_policies.policy", status="admission_policies.status"
    ),
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding"): Row("admission_policies.binding"),
    ("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration"): Row("webhooks.configuration"),
    ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration"): Row("webhooks.configuration"),
    ("apiregistration.k8s.io", "v1", "APIService"): Row(
        "webhooks.api_service", status="webhooks.api_service_status", name="values.path_segment_errors"
    ),
    ("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"): Row("flowcontrol.schema", status="flowcontrol.status"),
    ("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration"): Row(
        "flowcontrol.level", status="flowcontrol.status"
    ),
    ("networking.k8s.io", "v1", "IPAddress"): Row(
        "values.nothing",
        "networking.ip_address_update",
        create="networking.ip_address",
        name="values.canonical_ip_errors",
    ),
    ("networking.k8s.io", "v1", "Ingress"): Row(
        "ingress.ingress", status="ingress.ingress_status", create="ingress.ingress_create"
    ),
    ("networking.k8s.io", "v1", "IngressClass"): Row("ingress.ingress_class", "ingress.ingress_class_update"),
    ("networking.k8s.io", "v1", "NetworkPolicy"): Row("networking.network_policy"),
    ("networking.k8s.io", "v1", "ServiceCIDR"): Row(
        "values.nothing", "networking.service_cidr_update", create="networking.service_cidr"
    ),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole"): Row("rbac.cluster_role", name="rbac.name_errors"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"): Row(
        "rbac.cluster_role_binding", "rbac.binding_update", name="rbac.name_errors"
    ),
    ("rbac.authorization.k8s.io", "v1", "Role"): Row("rbac.role", name="rbac.name_errors"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"): Row(
        "rbac.role_binding", "rbac.binding_update", name="rbac.name_errors"
    ),
    ("resource.k8s.io", "v1", "DeviceClass"): Row("devices.device_class"),
    ("resource.k8s.io", "v1", "ResourceClaim"): Row(
        "values.nothing", "devices.fixed_spec", "claim_status.status_update", "devices.claim"
    ),
    ("resource.k8s.io", "v1", "ResourceClaimTemplate"): Row(
        "values.nothing", "devices.fixed_spec", create="devices.claim_template"
    ),
    ("resource.k8s.io", "v1", "ResourceSlice"): Row(
        "resource_slices.resource_slice", "resource_slices.resource_slice_update"
    ),
    ("storage.k8s.io", "v1", "CSIDriver"): Row("storage.csi_driver", "storage.csi_driver_update"),
    ("storage.k8s.io", "v1", "CSINode"): Row("storage.csi_node", "storage.csi_node_update"),
    ("storage.k8s.io", "v1", "CSIStorageCapacity"): Row("storage.storage_capacity", "storage.storage_capacity_update"),
    ("storage.k8s.io", "v1", "StorageClass"): Row("storage.storage_class", "storage.storage_class_update"),
    ("storage.k8s.io", "v1", "VolumeAttachment"): Row(
        "storage.attachment", "storage.attachment_update", "storage.attachment_status", "storage.attachment_create"
    ),
    ("storage.k8s.io", "v1", "VolumeAttributesClass"): Row(
        "storage.attributes_class", "storage.attributes_class_update"
    ),
}


_ANY_FINALIZER = frozenset({"admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io"})
"""Groups that come with Kubernetes' libraries, not with its core: they know of no standard finalizers."""


@cache
def rules_of(gvk: tuple[str, str, str]) -> Rules:
    """The rules of a kind; their modules are imported when they are first asked for."""
    row = _RULES.get(gvk, Row())
    return Rules(
        load(__name__, row.body) if row.body else _none,
        load(__name__, row.update) if row.update else _nothing,
        load(__name__, row.status) if row.status else _nothing,
        load(__name__, row.create) if row.create else _none,
        load(__name__, row.name),
    )


def validate_create(kind: Kind, obj: Obj) -> list[FieldError]:
    """What is wrong with an object that is to be created; its metadata holds the final name and namespace.

    A kind without rules of its own has those of every object's metadata.
    """
    if isinstance(kind, CustomKind):
        return objects.validate_create(kind, obj)
    of = rules_of(kind.gvk)
    errors = list(metadata(obj.get("metadata") or {}, kind.namespaced, of.name, kind.group in _ANY_FINALIZER))
    errors.extend(of.body(obj))
    errors.extend(of.create(obj))
    return errors


def validate_update(kind: Kind, obj: Obj, old: Obj, told: list[str] | None = None) -> list[FieldError]:
    """What is wrong with replacing old by obj: immutable fields, and everything that is wrong with obj itself.

    told: takes warnings of what was wrong before and is let be.
    """
    if isinstance(kind, CustomKind):
        return objects.validate_update(kind, obj, old, told)
    of = rules_of(kind.gvk)
    meta = obj.get("metadata") or {}
    errors = list(metadata_update(meta, old.get("metadata") or {}))
    errors.extend(metadata(meta, kind.namespaced, of.name, kind.group in _ANY_FINALIZER))
    errors.extend(of.update(obj, old))
    errors.extend(of.body(obj))
    return errors


def validate_status_update(kind: Kind, obj: Obj, old: Obj, told: list[str] | None = None) -> list[FieldError]:
    """What is wrong with writing obj's status (and metadata) over old; the spec is not looked at."""
    if isinstance(kind, CustomKind):
        return objects.validate_status(kind, obj, old, told)
    errors = list(metadata_update(obj.get("metadata") or {}, old.get("metadata") or {}))
    errors.extend(rules_of(kind.gvk).status(obj, old))
    return errors
