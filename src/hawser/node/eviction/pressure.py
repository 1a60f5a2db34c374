"""Which thresholds are crossed, which conditions the node shows for that, and what it must do something about: pure.

Source: Kubernetes documentation, "Node-pressure Eviction" (soft thresholds, minimum reclaim, transition period).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hawser.node.eviction.thresholds import Signal, Threshold

CONDITIONS = {
    Signal.MEMORY: "MemoryPressure",
    Signal.NODE_DISK: "DiskPressure",
    Signal.NODE_INODES: "DiskPressure",
    Signal.IMAGE_DISK: "DiskPressure",
    Signal.IMAGE_INODES: "DiskPressure",
    Signal.PIDS: "PIDPressure",
}
RESOURCES = {
    Signal.MEMORY: "memory",
    Signal.NODE_DISK: "ephemeral-storage",
    Signal.NODE_INODES: "inodes",
    Signal.IMAGE_DISK: "ephemeral-storage",
    Signal.IMAGE_INODES: "inodes",
    Signal.PIDS: "pids",
}
"""What is short, in the words of events and messages."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What there is of something, and what is left of it."""

    available: int
    capacity: int


Observations = Mapping[Signal, Observation]


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered from look to look; times are seconds of one clock.

    first: since when thresholds are crossed. seen: when conditions were last observed. acted: the thresholds that the
    node was acting on.
    """

    first: Mapping[Threshold, float] = field(default_factory=dict)
    seen: Mapping[str, float] = field(default_factory=dict)
    acted: tuple[Threshold, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """conditions: those that the node shows. due: thresholds to act on now, the most urgent first."""

    state: State
    conditions: frozenset[str]
    due: tuple[Threshold, ...]


def met(thresholds: tuple[Threshold, ...], seen: Observations, *, reclaim: bool = False) -> tuple[Threshold, ...]:
    """Those that are crossed. reclaim: with what must be free beyond them."""
    return tuple(t for t in thresholds if t.signal in seen and _crossed(t, seen[t.signal], reclaim))


def _crossed(threshold: Threshold, seen: Observation, reclaim: bool) -> bool:
    wanted = threshold.value.of(seen.capacity)
    if reclaim:
        wanted += threshold.reclaim.of(seen.capacity)
    return seen.available < wanted


def judge(
    thresholds: tuple[Threshold, ...], seen: Observations, state: State, now: float, transition: float
) -> Verdict:
    """One look. transition: seconds that a condition stays after it was last observed."""
    crossed = dict.fromkeys((*met(thresholds, seen), *met(state.acted, seen, reclaim=True)))
    first = {threshold: state.first.get(threshold, now) for threshold in crossed}
    observed = {**state.seen, **{CONDITIONS[threshold.signal]: now for threshold in crossed}}
    lasting = {name: at for name, at in observed.items() if at == now or now - at < transition}
    due = [threshold for threshold, since in first.items() if now - since >= (threshold.grace or 0)]
    due.sort(key=lambda threshold: threshold.signal is not Signal.MEMORY)
    return Verdict(State(first, lasting, tuple(due)), frozenset(lasting), tuple(due))
