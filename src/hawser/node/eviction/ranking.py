"""Whom the node evicts first, and what it says about that: pure.

Source: Kubernetes documentation, "Node-pressure Eviction", "Pod selection for kubelet eviction"; messages are the
kubelet's, with the space that each of them ends in.
"""

from __future__ import annotations

from collections.abc import Iterable

from hawser.api.pod_resources import pod_requests
from hawser.api.pod_sums import pod_quantities
from hawser.api.quantity import Format, format_quantity, to_bytes
from hawser.api.taints import tolerates
from hawser.api.types import Obj
from hawser.node.eviction.pressure import RESOURCES, Observations
from hawser.node.eviction.thresholds import Threshold
from hawser.node.pod import view
from hawser.node.stats.model import ContainerUse, PodUse

REASON = "Evicted"
_CRITICAL = 2_000_000_000
_STORAGE = "ephemeral-storage"


def critical(pod: Obj) -> bool:
    """Whether a pod is never evicted: static ones, and those of system-critical priority."""
    return view.is_static(pod) or view.is_mirror(pod) or (pod["spec"].get("priority") or 0) >= _CRITICAL


def ranked(pods: Iterable[Obj], uses: dict[str, PodUse], resource: str) -> list[Obj]:
    """Pods in the order in which they are evicted for a resource; those first of which nothing is known.

    Then come those that use more than they asked for, lower priorities before higher ones, and the larger excess.
    """

    def place(pod: Obj) -> tuple[bool, bool, int, int]:
        use = uses.get(view.uid(pod))
        priority = pod["spec"].get("priority") or 0
        if use is None:
            return (False, False, priority, 0)
        used = amount(use, resource)
        asked = pod_requests(pod["spec"]).get(resource, 0) if resource in ("memory", _STORAGE) else 0
        within = resource != "pids" and used <= asked
        return (True, within, priority, asked - used)

    return sorted(pods, key=place)


def amount(use: PodUse, resource: str) -> int:
    """What a pod uses of a resource."""
    if resource == "memory":
        return use.group.memory.working_set if use.group.memory is not None else 0
    if resource == "pids":
        return use.group.usage.processes or 0
    size, inodes = use.ephemeral()
    return inodes if resource == "inodes" else size


def message(pod: Obj, use: PodUse | None, threshold: Threshold, seen: Observations) -> str:
    """Why a pod is evicted when the node is short of something."""
    resource = RESOURCES[threshold.signal]
    text = f"The node was low on resource: {resource}. "
    found = seen[threshold.signal]
    limit, left = _size(threshold.value.of(found.capacity)), _size(found.available)
    text += f"Threshold quantity: {limit}, available: {left}. "
    requests = {c["name"]: (c.get("resources") or {}).get("requests") or {} for _, c in view.every_container(pod)}
    for container in use.containers if use is not None else ():
        used = _used(container, resource)
        asked = str(requests.get(container.name, {}).get(resource, "0"))
        if used is not None and used > to_bytes(asked):
            text += f"Container {container.name} was using {_size(used)}, request is {asked}, "
            text += f"has larger consumption of {resource}. "
    return text


def _used(container: ContainerUse, resource: str) -> int | None:
    if resource == "memory":
        return container.group.memory.working_set if container.group.memory is not None else None
    if resource == _STORAGE and container.rootfs is not None and container.logs is not None:
        return container.rootfs.used + container.logs.used
    return None


def _size(value: int) -> str:
    return format_quantity(value, Format.BINARY)


def limited(pod: Obj) -> bool:
    """Whether a pod has a limit of its own on the node's disk."""
    for volume in pod["spec"].get("volumes") or ():
        if (volume.get("emptyDir") or {}).get("sizeLimit"):
            return True
    return any(_STORAGE in ((c.get("resources") or {}).get("limits") or ()) for _, c in view.every_container(pod))


def excess(use: PodUse) -> str:
    """Which limit of its own on the node's disk a pod exceeds; "" for none."""
    pod = use.subject.pod
    held = {volume.name: volume.disk.used for volume in use.volumes}
    for volume in pod["spec"].get("volumes") or ():
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit and 0 < to_bytes(limit) < held.get(volume["name"], 0):
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
    whole = pod_quantities(pod["spec"], "limits").get(_STORAGE)
    if whole is not None and use.ephemeral()[0] > to_bytes(str(whole)):
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {whole}. "
    limits = {c["name"]: (c.get("resources") or {}).get("limits") or {} for c in view.containers(pod)}
    for container in use.containers:
        limit = limits.get(container.name, {}).get(_STORAGE)
        used = _used(container, _STORAGE)
        if limit and used is not None and used > to_bytes(limit) > 0:
            return f'Container {container.name} exceeded its local ephemeral storage limit "{limit}". '
    return ""


def refusal(pod: Obj, conditions: frozenset[str], qos: str) -> str:
    """Why a node under pressure does not take a pod; "" when it does."""
    if not conditions or critical(pod):
        return ""
    if conditions == {"MemoryPressure"} and (qos != "BestEffort" or _tolerates(pod)):
        return ""
    return f"The node had condition: [{' '.join(sorted(conditions))}]. "


def _tolerates(pod: Obj) -> bool:
    taint = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}
    return any(tolerates(row, taint) for row in pod["spec"].get("tolerations") or ())
