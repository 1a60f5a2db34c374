"""The names of what a ResourceQuota bounds, and which kind each is counted from.

Source: Kubernetes documentation, "Resource Quotas": compute, storage, extended resources and object count quota.
"""

from __future__ import annotations

from collections.abc import Iterable

from hawser.api import kinds
from hawser.api.extended_resources import is_extended
from hawser.api.kind import Kind

STORAGE_CLASS = ".storageclass.storage.k8s.io/"
DEVICE_CLASS = ".deviceclass.resource.k8s.io/devices"
REQUESTS = "requests."
HUGE_PAGES = "hugepages-"

# Quotas by their plain names are older than count/.
_PLAIN = frozenset(
    (
        kinds.PERSISTENT_VOLUME_CLAIM,
        kinds.POD,
        kinds.SERVICE,
        kinds.REPLICATION_CONTROLLER,
        kinds.SECRET,
        kinds.CONFIG_MAP,
        kinds.RESOURCE_QUOTA,
    )
)
_POD = frozenset(
    (
        *("pods", "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory"),
        *("requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage"),
    )
)
_SERVICE = frozenset(("services", "services.nodeports", "services.loadbalancers"))
_CLAIM = frozenset(("persistentvolumeclaims", "requests.storage"))


def counted(kind: Kind) -> bool:
    """Whether objects of a kind can be bounded at all: namespaced ones that are kept, but for events."""
    return kind.namespaced and "list" in kind.verbs and kind.plural != "events"


def count_name(kind: Kind) -> str:
    """``count/pods``, ``count/deployments.apps``."""
    return f"count/{kind.plural}.{kind.group}" if kind.group else f"count/{kind.plural}"


def concerns(kind: Kind, name: str) -> bool:
    """Whether what is bounded by a name is counted from objects of a kind."""
    if name.startswith("count/"):
        return name == count_name(kind)
    if kind is kinds.POD:
        return name in _POD or _is_huge_pages(name) or bounds_extended(name)
    if kind is kinds.SERVICE:
        return name in _SERVICE
    if kind is kinds.PERSISTENT_VOLUME_CLAIM:
        return name in _CLAIM or any(name.endswith(STORAGE_CLASS + one) for one in _CLAIM)
    if kind is kinds.RESOURCE_CLAIM:
        return name.endswith(DEVICE_CLASS) or bounds_extended(name)
    return kind in _PLAIN and name == kind.plural


def concerning(kind: Kind, listed: Iterable[str]) -> list[str]:
    """The names that concern a kind."""
    return [name for name in listed if concerns(kind, name)]


def _is_huge_pages(name: str) -> bool:
    return name.removeprefix(REQUESTS).startswith(HUGE_PAGES)


def bounds_extended(name: str) -> bool:
    """Whether an extended resource is bounded by a name."""
    return name.startswith(REQUESTS) and is_extended(name.removeprefix(REQUESTS))
