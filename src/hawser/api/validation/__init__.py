"""Validation: what an object may say, in kube-apiserver's words. All field errors are found, not only the first.

Objects have passed ``schema.decode`` and ``defaults.apply_defaults``; names have been generated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hawser.api.crd import objects
from hawser.api.crd.kinds import CustomKind
from hawser.api.errors import FieldError
from hawser.api.kinds import Kind
from hawser.api.types import Obj
from hawser.api.validation import (
    admission_policies,
    apps,
    autoscaling,
    autoscaling_v1,
    claim_status,
    claims,
    coordination,
    core,
    cron_job,
    devices,
    discovery,
    events,
    extensions,
    flowcontrol,
    ingress,
    job,
    job_status,
    networking,
    node,
    persistent,
    pod,
    pod_update,
    policies,
    quota,
    rbac,
    resource_slices,
    rules,
    service,
    storage,
    values,
    webhooks,
    workloads,
)
from hawser.api.validation.metadata import metadata, metadata_update
from hawser.api.validation.rules import Errors, NameRule


def _nothing(obj: Obj, old: Obj) -> Errors:
    return
    yield


def _none(obj: Obj) -> Errors:
    return
    yield


@dataclass(frozen=True, slots=True)
class Rules:
    """How one kind is validated beyond its metadata.

    body: rules of the object itself, at creation and at updates. update: what may not change.
    create: rules of creation only. status: rules of a status update (instead of body and update).
    """

    body: Callable[[Obj], Errors] = _none
    update: Callable[[Obj, Obj], Errors] = _nothing
    status: Callable[[Obj, Obj], Errors] = _nothing
    create: Callable[[Obj], Errors] | None = None
    name: NameRule = rules.subdomain_errors


_RULES: dict[tuple[str, str, str], Rules] = {
    ("", "v1", "ConfigMap"): Rules(core.config_map, core.config_map_update),
    ("", "v1", "Event"): Rules(events.event, name=values.path_segment_errors),
    ("events.k8s.io", "v1", "Event"): Rules(update=events.new_event_update, create=events.new_event_create),
    ("", "v1", "LimitRange"): Rules(quota.limit_range),
    ("", "v1", "Namespace"): Rules(core.namespace, status=core.namespace_status_update, name=rules.label_errors),
    ("", "v1", "Node"): Rules(node.node, node.node_update),
    ("", "v1", "Pod"): Rules(pod.pod, pod_update.pod_update, pod_update.pod_status_update, pod.pod_create),
    ("", "v1", "PodTemplate"): Rules(workloads.pod_template),
    ("", "v1", "ReplicationController"): Rules(
        workloads.replication_controller, status=workloads.replication_controller_status_update
    ),
    ("", "v1", "ResourceQuota"): Rules(
        quota.resource_quota, quota.resource_quota_update, quota.resource_quota_status_update
    ),
    ("", "v1", "Secret"): Rules(core.secret, core.secret_update),
    ("", "v1", "Service"): Rules(
        service.service, service.service_update, service.service_status_update, name=rules.label_1035_errors
    ),
    ("", "v1", "ServiceAccount"): Rules(core.service_account),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"): Rules(
        extensions.definition, extensions.definition_update, extensions.definition_status_update
    ),
    ("apps", "v1", "ControllerRevision"): Rules(workloads.controller_revision, workloads.controller_revision_update),
    ("apps", "v1", "DaemonSet"): Rules(
        workloads.daemon_set, workloads.daemon_set_update, workloads.daemon_set_status_update
    ),
    ("apps", "v1", "Deployment"): Rules(apps.deployment, apps.workload_update, apps.deployment_status_update),
    ("apps", "v1", "ReplicaSet"): Rules(apps.replica_set, apps.workload_update, apps.replica_set_status_update),
    ("apps", "v1", "StatefulSet"): Rules(
        update=workloads.stateful_set_update,
        status=workloads.stateful_set_status_update,
        create=workloads.stateful_set_create,
        name=rules.label_errors,
    ),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"): Rules(
        update=autoscaling.autoscaler_update,
        status=autoscaling.autoscaler_status_update,
        create=autoscaling.autoscaler_create,
    ),
    ("autoscaling", "v1", "HorizontalPodAutoscaler"): Rules(
        update=autoscaling_v1.update, status=autoscaling_v1.status, create=autoscaling_v1.create
    ),
    ("batch", "v1", "CronJob"): Rules(update=cron_job.cron_job_update, create=cron_job.cron_job_create),
    ("batch", "v1", "Job"): Rules(update=job.job_update, status=job_status.job_status_update, create=job.job_create),
    ("coordination.k8s.io", "v1", "Lease"): Rules(coordination.lease),
    ("discovery.k8s.io", "v1", "EndpointSlice"): Rules(discovery.endpoint_slice, discovery.endpoint_slice_update),
    ("node.k8s.io", "v1", "RuntimeClass"): Rules(node.runtime_class, node.runtime_class_update),
    ("policy", "v1", "PodDisruptionBudget"): Rules(
        policies.disruption_budget,
        status=policies.disruption_budget_status_update,
        name=values.path_segment_errors,
    ),
    ("scheduling.k8s.io", "v1", "PriorityClass"): Rules(
        update=policies.priority_class_update, create=policies.priority_class_create
    ),
    ("", "v1", "Endpoints"): Rules(networking.endpoints),
    ("", "v1", "PersistentVolume"): Rules(persistent.volume, persistent.volume_update),
    ("", "v1", "PersistentVolumeClaim"): Rules(claims.claim, claims.claim_update, claims.claim_status),
    ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy"): Rules(admission_policies.mutating_policy),
    ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding"): Rules(
        admission_policies.mutating_binding
    ),
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy"): Rules(
        admission_policies.policy, status=admission_policies.status
    ),
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding"): Rules(admission_policies.binding),
    ("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration"): Rules(webhooks.configuration),
    ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration"): Rules(webhooks.configuration),
    ("apiregistration.k8s.io", "v1", "APIService"): Rules(
        webhooks.api_service, status=webhooks.api_service_status, name=values.path_segment_errors
    ),
    ("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"): Rules(flowcontrol.schema, status=flowcontrol.status),
    ("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration"): Rules(
        flowcontrol.level, status=flowcontrol.status
    ),
    ("networking.k8s.io", "v1", "IPAddress"): Rules(
        values.nothing,
        networking.ip_address_update,
        create=networking.ip_address,
        name=values.canonical_ip_errors,
    ),
    ("networking.k8s.io", "v1", "Ingress"): Rules(
        ingress.ingress, status=ingress.ingress_status, create=ingress.ingress_create
    ),
    ("networking.k8s.io", "v1", "IngressClass"): Rules(ingress.ingress_class, ingress.ingress_class_update),
    ("networking.k8s.io", "v1", "NetworkPolicy"): Rules(networking.network_policy),
    ("networking.k8s.io", "v1", "ServiceCIDR"): Rules(
        values.nothing, networking.service_cidr_update, create=networking.service_cidr
    ),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole"): Rules(rbac.cluster_role, name=rbac.name_errors),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"): Rules(
        rbac.cluster_role_binding, rbac.binding_update, name=rbac.name_errors
    ),
    ("rbac.authorization.k8s.io", "v1", "Role"): Rules(rbac.role, name=rbac.name_errors),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"): Rules(
        rbac.role_binding, rbac.binding_update, name=rbac.name_errors
    ),
    ("resource.k8s.io", "v1", "DeviceClass"): Rules(devices.device_class),
    ("resource.k8s.io", "v1", "ResourceClaim"): Rules(
        values.nothing, devices.fixed_spec, claim_status.status_update, devices.claim
    ),
    ("resource.k8s.io", "v1", "ResourceClaimTemplate"): Rules(
        values.nothing, devices.fixed_spec, create=devices.claim_template
    ),
    ("resource.k8s.io", "v1", "ResourceSlice"): Rules(
        resource_slices.resource_slice, resource_slices.resource_slice_update
    ),
    ("storage.k8s.io", "v1", "CSIDriver"): Rules(storage.csi_driver, storage.csi_driver_update),
    ("storage.k8s.io", "v1", "CSINode"): Rules(storage.csi_node, storage.csi_node_update),
    ("storage.k8s.io", "v1", "CSIStorageCapacity"): Rules(storage.storage_capacity, storage.storage_capacity_update),
    ("storage.k8s.io", "v1", "StorageClass"): Rules(storage.storage_class, storage.storage_class_update),
    ("storage.k8s.io", "v1", "VolumeAttachment"): Rules(
        storage.attachment, storage.attachment_update, storage.attachment_status, storage.attachment_create
    ),
    ("storage.k8s.io", "v1", "VolumeAttributesClass"): Rules(storage.attributes_class, storage.attributes_class_update),
}


_GENERIC = Rules(lambda _: iter(()))


def validate_create(kind: Kind, obj: Obj) -> list[FieldError]:
    """What is wrong with an object that is to be created; its metadata holds the final name and namespace.

    A kind without rules of its own has those of every object's metadata.
    """
    if isinstance(kind, CustomKind):
        return objects.validate_create(kind, obj)
    of = _RULES.get(kind.gvk, _GENERIC)
    errors = list(metadata(obj.get("metadata") or {}, kind.namespaced, of.name))
    errors.extend(of.body(obj))
    if of.create is not None:
        errors.extend(of.create(obj))
    return errors


def validate_update(kind: Kind, obj: Obj, old: Obj) -> list[FieldError]:
    """What is wrong with replacing old by obj: immutable fields, and everything that is wrong with obj itself."""
    if isinstance(kind, CustomKind):
        return objects.validate_update(kind, obj, old)
    of = _RULES.get(kind.gvk, _GENERIC)
    meta = obj.get("metadata") or {}
    errors = list(metadata_update(meta, old.get("metadata") or {}))
    errors.extend(metadata(meta, kind.namespaced, of.name))
    errors.extend(of.update(obj, old))
    errors.extend(of.body(obj))
    return errors


def validate_status_update(kind: Kind, obj: Obj, old: Obj) -> list[FieldError]:
    """What is wrong with writing obj's status (and metadata) over old; the spec is not looked at."""
    if isinstance(kind, CustomKind):
        return objects.validate_status(kind, obj, old)
    errors = list(metadata_update(obj.get("metadata") or {}, old.get("metadata") or {}))
    errors.extend(_RULES.get(kind.gvk, _GENERIC).status(obj, old))
    return errors
