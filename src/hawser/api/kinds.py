"""The kind table: every resource the API serves, one row each, and beside it the rows of custom resources.

Adding a kind is adding a row. Schemas, merge keys and defaults are found by ``gvk`` in Kubernetes' published
definitions (``hawser.api.definitions``); printer columns by ``gvk`` in ``hawser.api.tables``; behaviour beyond
the generic in ``hawser.apiserver.strategies``. Source: API reference and ``kubectl api-resources`` of Kubernetes v1.36:
what is GA, and the betas that are on by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from hawser.api.kind import ALL_VERBS, Kind, version_order

__all__ = ["ALL_VERBS", "BY_GVK", "BY_RESOURCE", "KINDS", "Kind", "version_order"]

_STATUS = ("status",)
_SCALED = ("scale", "status")
_ALL = ("all",)
_EXTENSIONS = ("api-extensions",)
_CREATE = ("create",)

BINDING = Kind("", "v1", "Binding", "bindings", True, verbs=_CREATE)
COMPONENT_STATUS = Kind(
    *("", "v1", "ComponentStatus", "componentstatuses", False, ("cs",)),
    verbs=("get", "list"),
    deprecated="v1 ComponentStatus is deprecated in v1.19+",
)
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", True, ("cm",))
ENDPOINTS = Kind(
    *("", "v1", "Endpoints", "endpoints", True, ("ep",)),
    deprecated="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
)
_EVENT_FIELDS = (
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
)
EVENT = Kind("", "v1", "Event", "events", True, ("ev",), selectable=_EVENT_FIELDS)
LIMIT_RANGE = Kind("", "v1", "LimitRange", "limitranges", True, ("limits",))
NAMESPACE = Kind(
    *("", "v1", "Namespace", "namespaces", False, ("ns",), (), ("finalize", "status")),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    selectable=("status.phase",),
)
NODE = Kind("", "v1", "Node", "nodes", False, ("no",), (), ("proxy", "status"), selectable=("spec.unschedulable",))
PERSISTENT_VOLUME_CLAIM = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, ("pvc",), (), _STATUS)
PERSISTENT_VOLUME = Kind("", "v1", "PersistentVolume", "persistentvolumes", False, ("pv",), (), _STATUS)
_POD_FIELDS = (
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
)
_POD_PARTS = (
    *("attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "resize"),
    "status",
)
POD = Kind("", "v1", "Pod", "pods", True, ("po",), _ALL, _POD_PARTS, selectable=_POD_FIELDS, generation=True)
POD_TEMPLATE = Kind("", "v1", "PodTemplate", "podtemplates", True, generation=True)
REPLICATION_CONTROLLER = Kind(
    *("", "v1", "ReplicationController", "replicationcontrollers", True, ("rc",), _ALL, _SCALED),
    selectable=("status.replicas",),
    generation=True,
)
RESOURCE_QUOTA = Kind("", "v1", "ResourceQuota", "resourcequotas", True, ("quota",), (), _STATUS)
SECRET = Kind("", "v1", "Secret", "secrets", True, selectable=("type",))
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts", True, ("sa",), (), ("token",))
SERVICE = Kind(
    *("", "v1", "Service", "services", True, ("svc",), _ALL, ("proxy", "status")),
    selectable=("spec.clusterIP", "spec.type"),
)

_ADMISSION = "admissionregistration.k8s.io"


def _admission(kind: str, plural: str, *subresources: str) -> Kind:
    return Kind(_ADMISSION, "v1", kind, plural, False, (), _EXTENSIONS, subresources, generation=True)


MUTATING_ADMISSION_POLICY = _admission("MutatingAdmissionPolicy", "mutatingadmissionpolicies")
MUTATING_ADMISSION_POLICY_BINDING = _admission("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
MUTATING_WEBHOOK_CONFIGURATION = _admission("MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
VALIDATING_ADMISSION_POLICY = _admission("ValidatingAdmissionPolicy", "validatingadmissionpolicies", "status")
VALIDATING_ADMISSION_POLICY_BINDING = _admission(
    "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"
)
VALIDATING_WEBHOOK_CONFIGURATION = _admission("ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
CUSTOM_RESOURCE_DEFINITION = Kind(
    *("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False),
    *(("crd", "crds"), _EXTENSIONS, _STATUS),
    generation=True,
)
API_SERVICE = Kind("apiregistration.k8s.io", "v1", "APIService", "apiservices", False, (), _EXTENSIONS, _STATUS)

CONTROLLER_REVISION = Kind("apps", "v1", "ControllerRevision", "controllerrevisions", True)
DAEMON_SET = Kind("apps", "v1", "DaemonSet", "daemonsets", True, ("ds",), _ALL, _STATUS, generation=True)
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments", True, ("deploy",), _ALL, _SCALED, generation=True)
REPLICA_SET = Kind(
    *("apps", "v1", "ReplicaSet", "replicasets", True, ("rs",), _ALL, _SCALED),
    selectable=("status.replicas",),
    generation=True,
)
STATEFUL_SET = Kind("apps", "v1", "StatefulSet", "statefulsets", True, ("sts",), _ALL, _SCALED, generation=True)

SELF_SUBJECT_REVIEW = Kind(
    "authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", False, verbs=_CREATE
)
TOKEN_REVIEW = Kind("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", False, verbs=_CREATE)
_AUTHORIZATION = "authorization.k8s.io"
LOCAL_SUBJECT_ACCESS_REVIEW = Kind(
    _AUTHORIZATION, "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", True, verbs=_CREATE
)
SELF_SUBJECT_ACCESS_REVIEW = Kind(
    _AUTHORIZATION, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False, verbs=_CREATE
)
SELF_SUBJECT_RULES_REVIEW = Kind(
    _AUTHORIZATION, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", False, verbs=_CREATE
)
SUBJECT_ACCESS_REVIEW = Kind(_AUTHORIZATION, "v1", "SubjectAccessReview", "subjectaccessreviews", False, verbs=_CREATE)

HORIZONTAL_POD_AUTOSCALER = Kind(
    "autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True, ("hpa",), _ALL, _STATUS
)
HORIZONTAL_POD_AUTOSCALER_V1 = replace(HORIZONTAL_POD_AUTOSCALER, version="v1", form_of=HORIZONTAL_POD_AUTOSCALER)
CRON_JOB = Kind("batch", "v1", "CronJob", "cronjobs", True, ("cj",), _ALL, _STATUS, generation=True)
JOB = Kind("batch", "v1", "Job", "jobs", True, (), _ALL, _STATUS, selectable=("status.successful",), generation=True)
CERTIFICATE_SIGNING_REQUEST = Kind(
    *("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests", False),
    *(("csr",), (), ("approval", "status")),
    selectable=("spec.signerName",),
)
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases", True)
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", True, generation=True)
_EVENT_PARTS = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
EVENTS_EVENT = Kind(
    *("events.k8s.io", "v1", "Event", "events", True, ("ev",)),
    selectable=(*(f"regarding.{part}" for part in _EVENT_PARTS), "reason", "reportingController", "type"),
    form_of=EVENT,
    field_names=(
        *((f"regarding.{part}", f"involvedObject.{part}") for part in _EVENT_PARTS),
        ("reportingController", "reportingComponent"),
    ),
)

_FLOW = "flowcontrol.apiserver.k8s.io"
FLOW_SCHEMA = Kind(_FLOW, "v1", "FlowSchema", "flowschemas", False, (), (), _STATUS, generation=True)
PRIORITY_LEVEL_CONFIGURATION = Kind(
    *(_FLOW, "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations", False, (), (), _STATUS),
    generation=True,
)

_NETWORKING = "networking.k8s.io"
INGRESS_CLASS = Kind(_NETWORKING, "v1", "IngressClass", "ingressclasses", False, generation=True)
INGRESS = Kind(_NETWORKING, "v1", "Ingress", "ingresses", True, ("ing",), (), _STATUS, generation=True)
IP_ADDRESS = Kind(_NETWORKING, "v1", "IPAddress", "ipaddresses", False, ("ip",))
NETWORK_POLICY = Kind(_NETWORKING, "v1", "NetworkPolicy", "networkpolicies", True, ("netpol",), generation=True)
SERVICE_CIDR = Kind(_NETWORKING, "v1", "ServiceCIDR", "servicecidrs", False, (), (), _STATUS)

RUNTIME_CLASS = Kind("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", False)
POD_DISRUPTION_BUDGET = Kind(
    "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, ("pdb",), (), _STATUS, generation=True
)

_RBAC = "rbac.authorization.k8s.io"
CLUSTER_ROLE_BINDING = Kind(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", False)
CLUSTER_ROLE = Kind(_RBAC, "v1", "ClusterRole", "clusterroles", False)
ROLE_BINDING = Kind(_RBAC, "v1", "RoleBinding", "rolebindings", True)
ROLE = Kind(_RBAC, "v1", "Role", "roles", True)

_RESOURCE = "resource.k8s.io"
DEVICE_CLASS = Kind(_RESOURCE, "v1", "DeviceClass", "deviceclasses", False, generation=True)
RESOURCE_CLAIM = Kind(_RESOURCE, "v1", "ResourceClaim", "resourceclaims", True, (), (), _STATUS)
RESOURCE_CLAIM_TEMPLATE = Kind(_RESOURCE, "v1", "ResourceClaimTemplate", "resourceclaimtemplates", True)
RESOURCE_SLICE = Kind(
    *(_RESOURCE, "v1", "ResourceSlice", "resourceslices", False),
    selectable=("spec.driver", "spec.nodeName"),
    generation=True,
)
PRIORITY_CLASS = Kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False, ("pc",), generation=True)

_STORAGE = "storage.k8s.io"
CSI_DRIVER = Kind(_STORAGE, "v1", "CSIDriver", "csidrivers", False, generation=True)
CSI_NODE = Kind(_STORAGE, "v1", "CSINode", "csinodes", False)
CSI_STORAGE_CAPACITY = Kind(_STORAGE, "v1", "CSIStorageCapacity", "csistoragecapacities", True)
STORAGE_CLASS = Kind(_STORAGE, "v1", "StorageClass", "storageclasses", False, ("sc",))
VOLUME_ATTACHMENT = Kind(_STORAGE, "v1", "VolumeAttachment", "volumeattachments", False, (), (), _STATUS)
VOLUME_ATTRIBUTES_CLASS = Kind(_STORAGE, "v1", "VolumeAttributesClass", "volumeattributesclasses", False, ("vac",))

KINDS: tuple[Kind, ...] = (
    BINDING,
    COMPONENT_STATUS,
    CONFIG_MAP,
    ENDPOINTS,
    EVENT,
    LIMIT_RANGE,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME_CLAIM,
    PERSISTENT_VOLUME,
    POD,
    POD_TEMPLATE,
    REPLICATION_CONTROLLER,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE_ACCOUNT,
    SERVICE,
    MUTATING_ADMISSION_POLICY,
    MUTATING_ADMISSION_POLICY_BINDING,
    MUTATING_WEBHOOK_CONFIGURATION,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    VALIDATING_WEBHOOK_CONFIGURATION,
    CUSTOM_RESOURCE_DEFINITION,
    API_SERVICE,
    CONTROLLER_REVISION,
    DAEMON_SET,
    DEPLOYMENT,
    REPLICA_SET,
    STATEFUL_SET,
    SELF_SUBJECT_REVIEW,
    TOKEN_REVIEW,
    LOCAL_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW,
    HORIZONTAL_POD_AUTOSCALER,
    HORIZONTAL_POD_AUTOSCALER_V1,
    CRON_JOB,
    JOB,
    CERTIFICATE_SIGNING_REQUEST,
    LEASE,
    ENDPOINT_SLICE,
    EVENTS_EVENT,
    FLOW_SCHEMA,
    PRIORITY_LEVEL_CONFIGURATION,
    INGRESS_CLASS,
    INGRESS,
    IP_ADDRESS,
    NETWORK_POLICY,
    SERVICE_CIDR,
    RUNTIME_CLASS,
    POD_DISRUPTION_BUDGET,
    CLUSTER_ROLE_BINDING,
    CLUSTER_ROLE,
    ROLE_BINDING,
    ROLE,
    DEVICE_CLASS,
    RESOURCE_CLAIM,
    RESOURCE_CLAIM_TEMPLATE,
    RESOURCE_SLICE,
    PRIORITY_CLASS,
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    STORAGE_CLASS,
    VOLUME_ATTACHMENT,
    VOLUME_ATTRIBUTES_CLASS,
)

_READ = ("get", "list")
NODE_METRICS = Kind("metrics.k8s.io", "v1beta1", "NodeMetrics", "nodes", False, verbs=_READ)
POD_METRICS = Kind("metrics.k8s.io", "v1beta1", "PodMetrics", "pods", True, verbs=_READ)
METRICS = (NODE_METRICS, POD_METRICS)
"""What is measured when it is asked for, never stored; another server of the group takes their place."""

BY_GVK: dict[tuple[str, str, str], Kind] = {k.gvk: k for k in KINDS}
BY_RESOURCE: dict[tuple[str, str, str], Kind] = {(k.group, k.version, k.plural): k for k in KINDS}


def of(api_version: str, kind: str) -> Kind | None:
    """The row of an object's ``apiVersion`` and ``kind``, or None when it is not served."""
    group, _, version = api_version.rpartition("/")
    return BY_GVK.get((group, version, kind))


def watched() -> tuple[Kind, ...]:
    """The rows of the table whose objects are stored, each once: they can be listed and watched."""
    return tuple(kind for kind in KINDS if "watch" in kind.verbs and kind.form_of is None)


def groups() -> Iterator[tuple[str, list[str]]]:
    """Each group with its versions, in table order, the core group ("") first."""
    seen: dict[str, list[str]] = {}
    for k in KINDS:
        versions = seen.setdefault(k.group, [])
        if k.version not in versions:
            versions.append(k.version)
    yield from seen.items()


_custom: tuple[Kind, ...] = ()


def serve_custom(rows: Iterable[Kind]) -> None:
    """Set the rows of custom resources, which stand beside the table; rows set before are forgotten.

    A custom row never takes the place of a row of the table.
    """
    global _custom
    for row in _custom:
        for table, key in ((BY_GVK, row.gvk), (BY_RESOURCE, (row.group, row.version, row.plural))):
            if table.get(key) is row:
                del table[key]
    _custom = tuple(sorted(rows, key=lambda k: (k.group, version_order(k.version), k.plural)))
    for row in _custom:
        BY_GVK.setdefault(row.gvk, row)
        BY_RESOURCE.setdefault((row.group, row.version, row.plural), row)


def served() -> tuple[Kind, ...]:
    """Every row, those of custom resources last; the same tuple until one changes."""
    global _all
    if _all[1] is not _custom:
        _all = (KINDS + _custom, _custom)
    return _all[0]


class RemoteVersion(NamedTuple):
    """A group version that another API server serves behind this one. fresh: whether that says now what it has."""

    group: str
    version: str
    fresh: bool
    rows: tuple[Kind, ...] = ()


def serve_remote(versions: Iterable[RemoteVersion]) -> None:
    """Set what other API servers serve behind this one, in clients' order of preference: for discovery alone.

    What was set before is forgotten.
    """
    global _remote
    found = tuple(versions)
    if found != _remote:
        _remote = found


def remote() -> tuple[RemoteVersion, ...]:
    """What ``serve_remote`` has set."""
    return _remote


def discovered() -> tuple[Kind, ...]:
    """Every row that clients shall find, those of other API servers last; the same tuple until one of them, or what
    other API servers serve, changes."""
    global _seen
    if _seen[1] is not _remote or _seen[2] is not served():
        elsewhere = any((one.group, one.version) == (NODE_METRICS.group, NODE_METRICS.version) for one in _remote)
        rows = (row for one in _remote for row in one.rows)
        _seen = ((*served(), *(() if elsewhere else METRICS), *rows), _remote, served())
    return _seen[0]


_remote: tuple[RemoteVersion, ...] = ()
_seen: tuple[tuple[Kind, ...], tuple[RemoteVersion, ...], tuple[Kind, ...]] = ((*KINDS, *METRICS), _remote, KINDS)
_all: tuple[tuple[Kind, ...], tuple[Kind, ...]] = (KINDS, _custom)
