"""Counting durations and sizes, for metrics."""

from __future__ import annotations

from bisect import bisect_left

SECONDS = (
    *(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0),
    *(3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
"""The edges that Kubernetes uses for requests."""


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
