"""Samples of what nodes and containers use, and how fast CPU time grows between two of them. Pure.

Source: Kubernetes documentation, "Resource Metrics Pipeline"; the page is the kubelet's ``/metrics/resource``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_SAMPLE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)(?: (\d+))?$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_CPU = ("container_cpu_usage_seconds_total", "node_cpu_usage_seconds_total")
_MEMORY = ("container_memory_working_set_bytes", "node_memory_working_set_bytes")
_START = "container_start_time_seconds"
SHORTEST = 1.0
"""Over fewer seconds a rate says little."""

NODE = ("", "", "")
Key = tuple[str, str, str]
"""Namespace, pod and container; NODE for the node itself."""


@dataclass(slots=True)
class Point:
    """CPU seconds used since its start, memory in bytes; at, started: seconds since the epoch, 0 when unknown."""

    cpu: float = -1.0
    memory: int = -1
    at: float = 0.0
    started: float = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a node. at: when it was asked."""

    at: float
    points: Mapping[Key, Point] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Use:
    """CPU in nanocores, memory in bytes, measured over so many seconds up to ``at``."""

    cpu: int
    memory: int
    at: float
    window: float


def parse(text: str, at: float) -> Sample:
    """From the page's text; what it does not know is left out."""
    points: dict[Key, Point] = {}
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if found is None:
            continue
        name, labels, value, stamp = found.groups()
        if name not in _CPU and name not in _MEMORY and name != _START:
            continue
        where = dict(_LABEL.findall(labels or ""))
        key = (where.get("namespace", ""), where.get("pod", ""), where.get("container", ""))
        point = points.setdefault(key, Point())
        if name == _START:
            point.started = float(value)
            continue
        point.at = int(stamp) / 1000 if stamp else at
        if name in _CPU:
            point.cpu = float(value)
        else:
            point.memory = int(float(value))
    return Sample(at, points)


def uses(before: Sample, now: Sample) -> dict[Key, Use]:
    """What everything in the newer sample uses; what was not in the older one is measured since its start."""
    found = {}
    for key, point in now.points.items():
        use = _use(before.points.get(key), point)
        if use is not None:
            found[key] = use
    return found


def _use(before: Point | None, now: Point) -> Use | None:
    if now.cpu < 0 or now.memory < 0:
        return None
    # A container that was started again counts from nothing.
    again = before is not None and (now.started > before.started or now.cpu < before.cpu)
    if before is None or before.cpu < 0 or again:
        if not now.started:
            return None
        before = Point(0.0, 0, now.started, now.started)
    window = now.at - before.at
    if window < SHORTEST / 2:
        return None
    return Use(int(max(0.0, now.cpu - before.cpu) / window * 1e9), now.memory, now.at, window)
