"""A snapshot as the kubelet's ``/stats/summary``: a pure function.

Source: API stats.k8s.io v1alpha1 (k8s.io/kubelet/pkg/apis/stats), KEP-727.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from hawser.api.types import Obj
from hawser.node.stats.disk import Disk
from hawser.node.stats.interfaces import Interface
from hawser.node.stats.model import ContainerUse, Group, NodeUse, PodUse, Snapshot


def summary(snapshot: Snapshot, *, cpu_and_memory: bool = False) -> Obj:
    """The document. cpu_and_memory: nothing else of pods and node (``?only_cpu_and_memory=true``)."""
    return {
        "node": _node(snapshot.node, cpu_and_memory),
        "pods": [_pod(pod, cpu_and_memory) for pod in snapshot.pods],
    }


def moment(seconds: float) -> str:
    """metav1.Time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _node(node: NodeUse, short: bool) -> Obj:
    made: Obj = {
        "nodeName": node.name,
        "systemContainers": [
            _system("kubelet", node.agent, node.started),
            _system("runtime", node.runtime, node.started),
            _system("pods", node.pods, node.started, node.memory_capacity),
        ],
        "startTime": moment(node.started),
        **_cpu(node.group),
        **_memory(node.group, node.memory_capacity),
        "swap": {
            "time": moment(node.group.at),
            "swapAvailableBytes": node.swap_capacity - node.swap_used,
            "swapUsageBytes": node.swap_used,
        },
    }
    if short:
        return made
    at = node.group.at
    made["network"] = _network(node.network, at)
    if node.disk is not None:
        made["fs"] = _disk(node.disk, at)
    if node.images is not None:
        made["runtime"] = {"imageFs": _disk(node.images, at)}
        if node.containers is not None:
            made["runtime"]["containerFs"] = _disk(node.containers, at)
    made["rlimit"] = {"time": moment(at), "maxpid": node.processes_limit, "curproc": node.processes}
    return made


def _system(name: str, group: Group, started: float, capacity: int = 0) -> Obj:
    return {"name": name, "startTime": moment(started), **_cpu(group), **_memory(group, capacity)}


def _pod(pod: PodUse, short: bool) -> Obj:
    metadata = pod.subject.pod["metadata"]
    started = (pod.subject.pod.get("status") or {}).get("startTime") or metadata.get("creationTimestamp")
    made: Obj = {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": started,
        "containers": [_container(container, short) for container in pod.containers],
        **_cpu(pod.group),
        **_memory(pod.group),
        **_swap(pod.group),
    }
    if short:
        return made
    at = pod.group.at
    if pod.network:
        made["network"] = _network(pod.network, at)
    if pod.volumes:
        made["volume"] = [
            {
                **_disk(volume.disk, at),
                "name": volume.name,
                **({"pvcRef": {"name": volume.claim, "namespace": pod.namespace}} if volume.claim else {}),
            }
            for volume in pod.volumes
        ]
    base = next((c.logs for c in pod.containers if c.logs is not None), None)
    if base is not None:
        made["ephemeral-storage"] = _disk(base.holding(*pod.ephemeral()), at)
    if pod.group.usage.processes is not None:
        made["process_stats"] = {"process_count": pod.group.usage.processes}
    return made


def _container(use: ContainerUse, short: bool) -> Obj:
    started = use.container.started_at or use.container.created_at
    made: Obj = {
        "name": use.name,
        "startTime": moment(started),
        **_cpu(use.group),
        **_memory(use.group),
        **_swap(use.group),
    }
    if not short:
        if use.rootfs is not None:
            made["rootfs"] = _disk(use.rootfs, use.group.at)
        if use.logs is not None:
            made["logs"] = _disk(use.logs, use.group.at)
    return made


def _cpu(group: Group) -> Obj:
    if group.cpu is None:
        return {}
    made: Obj = {"time": moment(group.at)}
    if group.rate is not None:
        made["usageNanoCores"] = group.rate
    made["usageCoreNanoSeconds"] = group.cpu.usage
    return {"cpu": made | _psi(group, "cpu")} | _io(group)


def _io(group: Group) -> Obj:
    stalled = _psi(group, "io")
    return {"io": {"time": moment(group.at), **stalled}} if stalled else {}


def _psi(group: Group, resource: str) -> Obj:
    """How long tasks waited for a resource, where the kernel tells (KEP-4205)."""
    rows = {who: group.usage.pressure.get((resource, who)) for who in ("full", "some")}
    shown = {
        who: {"total": row.total * 1000, "avg10": row.avg10, "avg60": row.avg60, "avg300": row.avg300}
        for who, row in rows.items()
        if row is not None
    }
    return {"psi": shown} if shown else {}


def _memory(group: Group, capacity: int = 0) -> Obj:
    """capacity: of the node, for groups that have no limit of their own but are asked what is left."""
    memory = group.memory
    if memory is None:
        return {}
    made: Obj = {"time": moment(group.at)}
    limit = memory.limit or capacity
    if limit:
        made["availableBytes"] = max(0, limit - memory.working_set)
    made |= {
        "usageBytes": memory.usage,
        "workingSetBytes": memory.working_set,
        "rssBytes": memory.rss,
        "pageFaults": memory.faults,
        "majorPageFaults": memory.major_faults,
    }
    return {"memory": made | _psi(group, "memory")}


def _swap(group: Group) -> Obj:
    memory = group.memory
    if memory is None:
        return {}
    made: Obj = {"time": moment(group.at), "swapUsageBytes": memory.swap}
    if memory.swap_limit is not None and memory.limit is not None:
        made["swapAvailableBytes"] = max(0, memory.swap_limit - memory.limit - memory.swap)
    return {"swap": made}


def _disk(disk: Disk, at: float) -> Obj:
    return {
        "time": moment(at),
        "availableBytes": disk.available,
        "capacityBytes": disk.capacity,
        "usedBytes": disk.used,
        "inodesFree": disk.inodes_free,
        "inodes": disk.inodes,
        "inodesUsed": disk.inodes_used,
    }


def _network(rows: Iterable[Interface], at: float) -> Obj:
    made = [_interface(row) for row in rows]
    first: dict[str, Any] = made[0] if made else {"name": ""}
    return {"time": moment(at), **first, "interfaces": made}


def _interface(row: Interface) -> Obj:
    return {
        "name": row.name,
        "rxBytes": row.rx_bytes,
        "rxErrors": row.rx_errors,
        "txBytes": row.tx_bytes,
        "txErrors": row.tx_errors,
    }
