"""Counting, and Prometheus' text format: what every process of the engine that serves metrics uses.

Source: Prometheus documentation, "Exposition formats" (text format 0.0.4).
"""

from __future__ import annotations

import os
import resource
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import accumulate, repeat
from operator import mul
from pathlib import Path

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (
    *(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0),
    *(3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
"""The edges that Kubernetes uses for requests."""
_UNBOUNDED = "+Inf"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Histogram:
    """How many values there were up to each edge of its buckets, and their sum."""

    __slots__ = ("buckets", "edges", "total")

    def __init__(self, edges: tuple[float, ...] = SECONDS) -> None:
        self.edges = edges
        self.buckets = [0] * (len(edges) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.buckets[bisect_left(self.edges, value)] += 1
        self.total += value


def exponential(first: float, factor: float, count: int) -> tuple[float, ...]:
    """The edges of buckets, each ``factor`` times the one before, rounded as often as Go's library rounds them."""
    return tuple(accumulate(repeat(factor, count - 1), mul, initial=first))


def family(name: str, kind: str, text: str) -> str:
    """The head of a metric. kind: counter, gauge or histogram."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}"


def labels(values: Mapping[str, str]) -> str:
    """Labels as they stand between the braces of a sample."""
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in values.items())


def braced(labels: str) -> str:
    """Labels with their braces; nothing for none."""
    return f"{{{labels}}}" if labels else ""


def gauge(name: str, text: str, values: Mapping[tuple[str, ...], float], names: tuple[str, ...] = ()) -> Iterator[str]:
    """The lines of a gauge. names: of its labels; values: by those of the labels; none: nothing is said."""
    if values:
        yield family(name, "gauge", text)
    for key, value in values.items():
        yield f"{name}{braced(labels(dict(zip(names, key, strict=True))))} {value:.12g}"


def histogram(name: str, labels: str, values: Histogram, first: int = 0) -> Iterator[str]:
    """The lines of a histogram; first: its buckets start at this edge."""
    count = 0
    start = labels + "," if labels else ""
    for number, edge in enumerate((*values.edges, _UNBOUNDED)):
        count += values.buckets[number]
        if number >= first:
            text = edge if isinstance(edge, str) else _shortest(edge)
            yield f'{name}_bucket{{{start}le="{text}"}} {count}'
    yield f"{name}_sum{braced(labels)} {values.total}"
    yield f"{name}_count{braced(labels)} {count}"


@lru_cache(maxsize=256)
def _shortest(value: float) -> str:
    """The fewest digits that mean just this number, as Go writes it."""
    text = f"{value:g}"
    digits = 7
    while float(text) != value:
        text = f"{value:.{digits - 1}e}"
        if -4 <= int(text.partition("e")[2]) < 6:
            text = f"{value:.{digits}g}"
        digits += 1
    return text


@lru_cache(maxsize=1)
def _ticks() -> tuple[float, float]:
    """Clock ticks a second, and when the machine booted."""
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return float(os.sysconf("SC_CLK_TCK")), float(boot.split()[1])


def started() -> float:
    """When this process was started, in seconds of the epoch."""
    ticks, boot = _ticks()
    return boot + int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / ticks


def process() -> Iterator[str]:
    """The standard process metrics of Prometheus' client libraries."""
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    page = resource.getpagesize()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    values: tuple[tuple[str, str, float, str], ...] = (
        ("cpu_seconds_total", "counter", time.process_time(), "Total user and system CPU time spent in seconds."),
        ("resident_memory_bytes", "gauge", int(stat[21]) * page, "Resident memory size in bytes."),
        ("virtual_memory_bytes", "gauge", int(stat[20]), "Virtual memory size in bytes."),
        ("start_time_seconds", "gauge", started(), "Start time since unix epoch in seconds."),
        ("open_fds", "gauge", sum(1 for _ in Path("/proc/self/fd").iterdir()), "Number of open file descriptors."),
        ("max_fds", "gauge", files, "Maximum number of open file descriptors."),
    )
    for name, kind, value, text in values:
        yield family(f"process_{name}", kind, text)
        yield f"process_{name} {value}"


def build_info(build: Mapping[str, str]) -> Iterator[str]:
    """What this process is. build: the document of the API's /version."""
    names = {"git_version": "gitVersion", "git_commit": "gitCommit", "major": "major", "minor": "minor"}
    yield family("kubernetes_build_info", "gauge", "A metric with a constant '1' value labeled by version.")
    shown = labels({name: str(build.get(key, "")) for name, key in names.items()})
    yield f"kubernetes_build_info{{{shown}}} 1"
