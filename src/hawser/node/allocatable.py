"""What of a node's capacity pods may use: pure.

Source: Kubernetes documentation, "Reserve Compute Resources for System Daemons" (Node Allocatable).
"""

from __future__ import annotations

from collections.abc import Mapping

from hawser.api.quantity import Format, format_quantity, milli, to_bytes
from hawser.node.cgroups import MAX_SHARES, MIN_SHARES
from hawser.node.eviction.thresholds import Signal
from hawser.node.limits import Limits
from hawser.node.stats.host import processes_limit

_EVICTION = {Signal.MEMORY: "memory", Signal.NODE_DISK: "ephemeral-storage"}


def pods_limits(capacity: Mapping[str, str], limits: Limits) -> dict[str, int]:
    """What all pods together are held to (LinuxContainerResources): all that is not reserved. Eviction comes before."""
    cpu = milli(capacity["cpu"]) - milli(limits.reserved.get("cpu", "0"))
    found = {"cpu_shares": min(MAX_SHARES, max(MIN_SHARES, cpu * 1024 // 1000))}
    if "memory" in limits.reserved:
        found["memory_limit_in_bytes"] = to_bytes(capacity["memory"]) - to_bytes(limits.reserved["memory"])
    if "pid" in limits.reserved:
        found["pids_limit"] = processes_limit() - to_bytes(limits.reserved["pid"])
    return found


def allocatable(capacity: Mapping[str, str], limits: Limits) -> dict[str, str]:
    """Capacity without what is reserved, what hard eviction keeps free, and huge pages, which are no other memory."""
    left = dict(capacity)
    taken = {name: to_bytes(limits.reserved.get(name, "0")) for name in ("memory", "ephemeral-storage")}
    for threshold in limits.thresholds:
        name = _EVICTION.get(threshold.signal)
        if name is not None and threshold.hard and name in capacity:
            taken[name] += threshold.value.of(to_bytes(capacity[name]))
    taken["memory"] += sum(to_bytes(value) for name, value in capacity.items() if name.startswith("hugepages-"))
    for name, amount in taken.items():
        if amount and name in left:
            left[name] = format_quantity(max(0, to_bytes(left[name]) - amount), Format.BINARY)
    if "cpu" in limits.reserved:
        thousandths = max(0, milli(capacity["cpu"]) - milli(limits.reserved["cpu"]))
        left["cpu"] = f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)
    return left
