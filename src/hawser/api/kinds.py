"""The kind table: every resource the API serves, one row each, and beside it the rows of custom resources.

Adding a kind is adding a row. Schemas, merge keys and defaults are found by ``gvk`` in Kubernetes' published
definitions (``hawser.api.definitions``); printer columns by ``gvk`` in ``hawser.api.tables``; behaviour beyond
the generic in ``hawser.apiserver.strategies``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Kind:
    """One served resource.

    subresources: names below an object, as in ``pods/NAME/log``.
    selectable: field selector keys beyond metadata.name and metadata.namespace (dotted paths).
    generation: the server counts ``metadata.generation`` up when something outside metadata and status changes.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    selectable: tuple[str, ...] = ()
    generation: bool = False

    @property
    def api_version(self) -> str:
        """``v1`` or ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    @property
    def gvk(self) -> tuple[str, str, str]:
        return (self.group, self.version, self.kind)

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
        """The URL path of the collection, of an object or of its subresource (API concepts, "Resource URIs")."""
        parts = ["/api/v1" if not self.group else f"/apis/{self.group}/{self.version}"]
        if self.namespaced and namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


NAMESPACE = Kind(
    "",
    "v1",
    "Namespace",
    "namespaces",
    False,
    short_names=("ns",),
    subresources=("finalize", "status"),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    selectable=("status.phase",),
)
NODE = Kind("", "v1", "Node", "nodes", False, ("no",), (), ("proxy", "status"), selectable=("spec.unschedulable",))
POD = Kind(
    "",
    "v1",
    "Pod",
    "pods",
    True,
    ("po",),
    ("all",),
    ("attach", "binding", "exec", "log", "portforward", "status"),
    selectable=(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    generation=True,
)
SERVICE = Kind(
    "",
    "v1",
    "Service",
    "services",
    True,
    ("svc",),
    ("all",),
    ("status",),
    selectable=("spec.clusterIP", "spec.type"),
)
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", True, ("cm",))
SECRET = Kind("", "v1", "Secret", "secrets", True, selectable=("type",))
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts", True, ("sa",))
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
DEPLOYMENT = Kind(
    "apps",
    "v1",
    "Deployment",
    "deployments",
    True,
    ("deploy",),
    ("all",),
    ("scale", "status"),
    generation=True,
)
REPLICA_SET = Kind(
    "apps",
    "v1",
    "ReplicaSet",
    "replicasets",
    True,
    ("rs",),
    ("all",),
    ("scale", "status"),
    selectable=("status.replicas",),
    generation=True,
)
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases", True)
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", True)
RUNTIME_CLASS = Kind("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", False)
CUSTOM_RESOURCE_DEFINITION = Kind(
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    False,
    ("crd", "crds"),
    ("api-extensions",),
    ("status",),
    generation=True,
)

KINDS: tuple[Kind, ...] = (
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    CONFIG_MAP,
    SECRET,
    SERVICE_ACCOUNT,
    EVENT,
    DEPLOYMENT,
    REPLICA_SET,
    LEASE,
    ENDPOINT_SLICE,
    RUNTIME_CLASS,
    CUSTOM_RESOURCE_DEFINITION,
)

BY_GVK: dict[tuple[str, str, str], Kind] = {k.gvk: k for k in KINDS}
BY_RESOURCE: dict[tuple[str, str, str], Kind] = {(k.group, k.version, k.plural): k for k in KINDS}


def of(api_version: str, kind: str) -> Kind | None:
    """The row of an object's ``apiVersion`` and ``kind``, or None when it is not served."""
    group, _, version = api_version.rpartition("/")
    return BY_GVK.get((group, version, kind))


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


_all: tuple[tuple[Kind, ...], tuple[Kind, ...]] = (KINDS, _custom)
_VERSION = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?")


def version_order(version: str) -> tuple[int, int, int, str]:
    """Sorts versions as Kubernetes prefers them: v10, v2, v1, v11beta2, v1beta1, v1alpha1, others by name."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), version)
