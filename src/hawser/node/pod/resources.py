"""Resources of pods and containers as the kernel takes them.

Source: Kubernetes documentation, "Pod Quality of Service Classes", "Node-pressure Eviction" (oom_score_adj), and the
CPU shares and quota formulas of KEP-2570 and the cgroupfs driver.
"""

from __future__ import annotations

from hawser.api.pod_resources import pod_limits, pod_requests
from hawser.api.qos import qos_class
from hawser.api.quantity import milli, to_bytes
from hawser.api.types import Obj
from hawser.node.cgroups import MAX_SHARES, MIN_SHARES
from hawser.node.pod import view

PERIOD_US = 100_000
MIN_QUOTA_US = 1000
_SYSTEM_CRITICAL = 2_000_000_000


def qos(pod: Obj) -> str:
    """The pod's QoS class: the API server's word, else computed."""
    return str((pod.get("status") or {}).get("qosClass") or qos_class(pod["spec"]))


def shares(millicores: int) -> int:
    """CPU shares of a request; no request still gets the kernel's minimum."""
    return min(MAX_SHARES, max(MIN_SHARES, millicores * 1024 // 1000))


def quota(millicores: int) -> int:
    """CFS quota in microseconds a period; 0 for no limit."""
    return max(MIN_QUOTA_US, millicores * PERIOD_US // 1000) if millicores else 0


def oom_score_adj(pod: Obj, container: Obj, memory_capacity: int) -> int:
    """How soon the kernel ends this container when memory runs out."""
    if (pod["spec"].get("priority") or 0) >= _SYSTEM_CRITICAL:
        return -997
    match qos(pod):
        case "Guaranteed":
            return -997
        case "BestEffort":
            return 1000
    wanted = _memory(container)
    if (pod["spec"].get("resources") or {}).get("requests"):
        # Memory that the pod asks for and no container does is everybody's.
        known = [*view.containers(pod), *(c for c in view.init_containers(pod) if view.is_sidecar(c))]
        left = pod_requests(pod["spec"]).get("memory", 0) - sum(_memory(c) for c in known)
        wanted += max(0, left) // max(1, len(known))
    if view.is_sidecar(container):
        # A sidecar is not to go before the apps that need it.
        wanted = max(wanted, *(_memory(c) for c in view.containers(pod)))
    adjusted = 1000 - 1000 * wanted // max(memory_capacity, 1)
    return max(3, min(999, adjusted))


def _memory(container: Obj) -> int:
    return to_bytes(((container.get("resources") or {}).get("requests") or {}).get("memory") or 0)


def container_resources(pod: Obj, container: Obj, memory_capacity: int, *, cgroup_v2: bool = False) -> Obj:
    """runtime.v1 LinuxContainerResources of one container.

    On cgroup v2 a container that runs out of memory ends as a whole (Kubernetes 1.28; singleProcessOOMKill is off).
    """
    resources = container.get("resources") or {}
    requests = resources.get("requests") or {}
    # What a container is not limited in, it shares with the others up to the pod's own limit.
    shared = (pod["spec"].get("resources") or {}).get("limits") or {}
    limits = {**{k: v for k, v in shared.items() if k in ("cpu", "memory")}, **(resources.get("limits") or {})}
    cpu = requests.get("cpu", (resources.get("limits") or {}).get("cpu"))
    linux: Obj = {
        "cpu_shares": shares(milli(cpu) if cpu is not None else 0),
        "oom_score_adj": oom_score_adj(pod, container, memory_capacity),
    }
    if limits.get("cpu") is not None and milli(limits["cpu"]):
        linux["cpu_period"] = PERIOD_US
        linux["cpu_quota"] = quota(milli(limits["cpu"]))
    if limits.get("memory") is not None and to_bytes(limits["memory"]):
        linux["memory_limit_in_bytes"] = to_bytes(limits["memory"])
    pages = {name: value for name, value in limits.items() if name.startswith("hugepages-")}
    if pages:
        linux["hugepage_limits"] = _pages({name: to_bytes(value) for name, value in pages.items()})
    if cgroup_v2:
        linux["unified"] = {"memory.oom.group": "1"}
    return linux


def pod_resources(pod: Obj) -> Obj:
    """The limits of a pod's own cgroup: ``cpu_shares``, and quota and memory when all of the pod is so limited.

    That is when the pod says so for itself (KEP-2837), or every container does. Overhead is part of it.
    """
    spec = pod["spec"]
    requests, limits = pod_requests(spec), pod_limits(spec)
    result: Obj = {"cpu_shares": shares(requests.get("cpu", 0))}
    own = (spec.get("resources") or {}).get("limits") or {}
    parts = [c.get("resources") or {} for c in (*view.containers(pod), *view.init_containers(pod))]

    def limited(name: str) -> bool:
        return bool(limits.get(name)) and (name in own or all((p.get("limits") or {}).get(name) for p in parts))

    if limited("cpu"):
        result["cpu_period"], result["cpu_quota"] = PERIOD_US, quota(limits["cpu"])
    if limited("memory"):
        result["memory_limit_in_bytes"] = limits["memory"]
    if pages := {name: value for name, value in limits.items() if name.startswith("hugepages-")}:
        result["hugepage_limits"] = _pages(pages)
    return result


def cgroup_parent(root: str, pod: Obj) -> str:
    """The pod's cgroup below every hierarchy's root: ``/<root>/burstable/pod<uid>``; guaranteed pods have no tier."""
    tier = {"BestEffort": "/besteffort", "Burstable": "/burstable"}.get(qos(pod), "")
    return f"/{root.strip('/')}{tier}/pod{view.uid(pod)}"


def _pages(limits: dict[str, int]) -> list[Obj]:
    return [{"page_size": _page_size(name.removeprefix("hugepages-")), "limit": n} for name, n in limits.items()]


def _page_size(text: str) -> str:
    """CRI names page sizes 2MB and 1GB where Kubernetes writes 2Mi and 1Gi."""
    return text.removesuffix("i") + "B"
