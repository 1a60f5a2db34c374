"""What a run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from http1 import Target


@dataclass(frozen=True, slots=True)
class Options:
    """seconds: of each load; rounds: how often each load is run. pods, watchers, burst: sizes of those measures.

    node: of the pods, "" for any.
    """

    target: Target
    only: frozenset[str]
    connections: tuple[int, ...]
    seconds: float
    rounds: int
    pods: int
    watchers: int
    burst: int
    image: str
    node: str
    keep: bool
