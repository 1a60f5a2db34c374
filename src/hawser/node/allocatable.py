"""What of a node's capacity pods may use: pure.

Source: Kubernetes documentation, "Reserve Compute Resources for System Daemons" (Node Allocatable).
"""

from __future__ import annotations

from collections.abc import Mapping

from hawser.api.quantity import Format, format_quantity, milli, to_bytes
from hawser.node.eviction.thresholds import Signal
from hawser.node.limits import Limits

_EVICTION = {Signal.MEMORY: "memory", Signal.NODE_DISK: "ephemeral-storage"}


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
