"""When the node is short of something: thresholds as they are written on a command line.

Source: Kubernetes documentation, "Node-pressure Eviction"; the defaults are the kubelet's on Linux.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hawser.api import durations
from hawser.api.quantity import to_bytes

HARD = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%"


class Signal(StrEnum):
    """What is watched."""

    MEMORY = "memory.available"
    NODE_DISK = "nodefs.available"
    NODE_INODES = "nodefs.inodesFree"
    IMAGE_DISK = "imagefs.available"
    IMAGE_INODES = "imagefs.inodesFree"
    PIDS = "pid.available"


@dataclass(frozen=True, slots=True)
class Amount:
    """So much, or such a share of the capacity, between 0 and 1."""

    quantity: int = 0
    share: float | None = None

    def of(self, capacity: int) -> int:
        """In bytes or pieces."""
        return self.quantity if self.share is None else int(capacity * self.share)

    @property
    def text(self) -> str:
        """As it is written."""
        return str(self.quantity) if self.share is None else f"{self.share:.0%}"

    @classmethod
    def parse(cls, text: str) -> Amount:
        """``10%`` or a quantity. Raises ValueError."""
        if text.endswith("%"):
            share = float(text[:-1])
            if not 0 <= share <= 100:
                raise ValueError(f"eviction percentage {text} must be between 0% and 100%")
            return cls(share=share / 100)
        amount = to_bytes(text)
        if amount < 0:
            raise ValueError(f"eviction threshold {text} must not be negative")
        return cls(amount)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Below ``value`` of a signal the node evicts; grace: seconds it waits with that, None for not at all (hard).
    reclaim: how much more must be free again before it is content."""

    signal: Signal
    value: Amount
    grace: float | None = None
    reclaim: Amount = Amount()

    @property
    def hard(self) -> bool:
        return self.grace is None


def parse(hard: str, soft: str, graces: str, reclaims: str) -> tuple[Threshold, ...]:
    """From the flags' texts: ``signal<value``, ``signal=duration`` and ``signal=amount``, with commas between. Raises
    ValueError."""
    minimum = {signal: Amount.parse(value) for signal, value in _pairs(reclaims, "=").items()}
    waits = {signal: durations.length(value) for signal, value in _pairs(graces, "=").items()}
    found = []
    for signal, value in _pairs(hard, "<").items():
        amount = Amount.parse(value)
        # These switch a signal off.
        if amount.share not in (0.0, 1.0):
            found.append(Threshold(signal, amount, None, minimum.get(signal, Amount())))
    for signal, value in _pairs(soft, "<").items():
        if signal not in waits:
            raise ValueError(f"grace period must be specified for the soft eviction threshold {signal}")
        found.append(Threshold(signal, Amount.parse(value), waits[signal], minimum.get(signal, Amount())))
    return tuple(found)


def _pairs(text: str, sign: str) -> dict[Signal, str]:
    found: dict[Signal, str] = {}
    for statement in filter(None, (part.strip() for part in text.split(","))):
        name, operator, value = statement.partition(sign)
        if not operator or not value:
            raise ValueError(f"invalid eviction threshold syntax {statement}, expected <signal>{sign}<value>")
        try:
            signal = Signal(name.strip())
        except ValueError:
            raise ValueError(f"unsupported eviction signal {name.strip()}") from None
        if signal in found:
            raise ValueError(f"found duplicate eviction threshold for signal {signal}")
        found[signal] = value.strip()
    return found
