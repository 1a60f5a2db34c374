"""Tables: what ``kubectl get`` shows, made by the server.

Source: API concepts, "Receiving resources as Tables". A client asks with
``Accept: application/json;as=Table;g=meta.k8s.io;v=v1`` and ``?includeObject=``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Any

from hawser.api import conversion
from hawser.api.crd.kinds import CustomKind
from hawser.api.errors import bad_request
from hawser.api.kinds import Kind
from hawser.api.lazily import load
from hawser.api.printers.base import NAME, Column, Printer, human_duration, name
from hawser.api.types import Obj

__all__ = ["human_duration", "partial_object", "table", "table_columns", "table_row"]

META_VERSION = "meta.k8s.io/v1"

_PRINTERS: dict[tuple[str, str], str] = {
    ("", "Pod"): "pod.POD",
    ("", "Service"): "core.SERVICE",
    ("", "Node"): "core.NODE",
    ("", "Namespace"): "core.NAMESPACE",
    ("", "ConfigMap"): "core.CONFIG_MAP",
    ("", "Secret"): "core.SECRET",
    ("", "ServiceAccount"): "core.SERVICE_ACCOUNT",
    ("", "Event"): "core.EVENT",
    ("", "PodTemplate"): "workloads.POD_TEMPLATE",
    ("", "ReplicationController"): "workloads.REPLICATION_CONTROLLER",
    ("", "ResourceQuota"): "policies.RESOURCE_QUOTA",
    ("apps", "ControllerRevision"): "workloads.CONTROLLER_REVISION",
    ("apps", "DaemonSet"): "workloads.DAEMON_SET",
    ("apps", "StatefulSet"): "workloads.STATEFUL_SET",
    ("autoscaling", "HorizontalPodAutoscaler"): "policies.AUTOSCALER",
    ("autoscaling", "Scale"): "groups.SCALE",
    ("batch", "CronJob"): "workloads.CRON_JOB",
    ("batch", "Job"): "workloads.JOB",
    ("policy", "PodDisruptionBudget"): "policies.DISRUPTION_BUDGET",
    ("scheduling.k8s.io", "PriorityClass"): "policies.PRIORITY_CLASS",
    ("apps", "Deployment"): "groups.DEPLOYMENT",
    ("apps", "ReplicaSet"): "groups.REPLICA_SET",
    ("coordination.k8s.io", "Lease"): "groups.LEASE",
    ("discovery.k8s.io", "EndpointSlice"): "groups.ENDPOINT_SLICE",
    ("node.k8s.io", "RuntimeClass"): "groups.RUNTIME_CLASS",
    ("", "ComponentStatus"): "cluster.COMPONENT_STATUS",
    ("", "Endpoints"): "networking.ENDPOINTS",
    ("", "PersistentVolume"): "storage.PERSISTENT_VOLUME",
    ("", "PersistentVolumeClaim"): "storage.PERSISTENT_VOLUME_CLAIM",
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): "cluster.WEBHOOKS",
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): "cluster.WEBHOOKS",
    ("apiregistration.k8s.io", "APIService"): "cluster.API_SERVICE",
    ("certificates.k8s.io", "CertificateSigningRequest"): "cluster.CERTIFICATE_SIGNING_REQUEST",
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): "cluster.FLOW_SCHEMA",
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): "cluster.PRIORITY_LEVEL",
    ("metrics.k8s.io", "NodeMetrics"): "usage.USAGE",
    ("metrics.k8s.io", "PodMetrics"): "usage.USAGE",
    ("networking.k8s.io", "IPAddress"): "networking.IP_ADDRESS",
    ("networking.k8s.io", "Ingress"): "networking.INGRESS",
    ("networking.k8s.io", "IngressClass"): "networking.INGRESS_CLASS",
    ("networking.k8s.io", "NetworkPolicy"): "networking.NETWORK_POLICY",
    ("networking.k8s.io", "ServiceCIDR"): "networking.SERVICE_CIDR",
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): "cluster.BINDING",
    ("rbac.authorization.k8s.io", "RoleBinding"): "cluster.BINDING",
    ("resource.k8s.io", "DeviceClass"): "cluster.AGED",
    ("resource.k8s.io", "ResourceClaim"): "cluster.RESOURCE_CLAIM",
    ("resource.k8s.io", "ResourceClaimTemplate"): "cluster.AGED",
    ("resource.k8s.io", "ResourceSlice"): "cluster.RESOURCE_SLICE",
    ("storage.k8s.io", "CSIDriver"): "storage.CSI_DRIVER",
    ("storage.k8s.io", "CSINode"): "storage.CSI_NODE",
    ("storage.k8s.io", "CSIStorageCapacity"): "storage.CSI_STORAGE_CAPACITY",
    ("storage.k8s.io", "StorageClass"): "storage.STORAGE_CLASS",
    ("storage.k8s.io", "VolumeAttachment"): "storage.VOLUME_ATTACHMENT",
    ("storage.k8s.io", "VolumeAttributesClass"): "storage.VOLUME_ATTRIBUTES_CLASS",
}


def _default_row(obj: Obj, _now: datetime) -> list[Any]:
    return [name(obj), obj["metadata"].get("creationTimestamp")]


_DEFAULT = Printer(
    (NAME, Column("Created At", "date", description="The time when the object was created.")),
    _default_row,
)


def _printer(kind: Kind) -> Printer:
    if isinstance(kind, CustomKind):
        return kind.model.printer
    row = kind.form_of or kind
    return _own(row.group, row.kind)


@cache
def _own(group: str, kind: str) -> Printer:
    """A kind's printer; its module is imported when it is first asked for."""
    name = _PRINTERS.get((group, kind))
    found: Printer = _DEFAULT if name is None else load("hawser.api.printers", name)
    return found


def table_columns(kind: Kind) -> list[Obj]:
    """The TableColumnDefinitions of a kind; those of priority 1 are shown by ``-o wide`` only."""
    return [column.definition for column in _printer(kind).columns]


def table_row(kind: Kind, obj: Obj, now: datetime) -> list[Any]:
    """The cells of one object, one a column. now is aware of its time zone."""
    return _printer(kind).row(conversion.kept(kind, obj), now)


def table(
    kind: Kind,
    objs: Iterable[Obj],
    list_meta: Obj,
    include_object: str = "Metadata",
    *,
    now: datetime,
    headers: bool = True,
) -> Obj:
    """The metav1.Table of objects.

    list_meta: the list's metadata, or for a single object that object's resourceVersion alone.
    include_object: "Metadata" (the default of the API), "Object" or "None": what each row carries beside its cells.
    headers: False leaves the column definitions out, as in all events of a watch after the first.
    Raises APIError 400 for another include_object.
    """
    if include_object not in ("", "Metadata", "Object", "None"):
        raise bad_request(f'unrecognized includeObject value: "{include_object}"')
    printer = _printer(kind)
    rows = []
    if printer.order is not None:
        objs = sorted(objs, key=printer.order)
    for obj in objs:
        row: Obj = {"cells": printer.row(conversion.kept(kind, obj), now)}
        if printer.conditions and (conditions := printer.conditions(obj)):
            row["conditions"] = conditions
        if include_object == "Object":
            row["object"] = obj
        elif include_object != "None":
            row["object"] = partial_object(obj)
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": META_VERSION,
        "metadata": list_meta,
        "columnDefinitions": table_columns(kind) if headers else [],
        "rows": rows,
    }


def partial_object(obj: Obj) -> Obj:
    """The PartialObjectMetadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": META_VERSION, "metadata": obj.get("metadata") or {}}
