"""How long a Job waits before it replaces failed pods: 10 s, doubled with each failure in a row, at most 10 minutes.

Source: "Jobs", "Pod backoff failure policy". Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hawser.api.types import Obj
from hawser.controllers.job.pods import all_failures, ended_at

FIRST_SECONDS = 10.0
LONGEST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Record:
    """Failures since the last success, and when the last of them was."""

    failures: int = 0
    last: datetime | None = None


def advance(record: Record, succeeded: Sequence[Obj], failed: Sequence[Obj]) -> Record:
    """The record after more pods have ended."""
    times = sorted(ended_at(pod) for pod in failed)
    if succeeded:
        since = max(ended_at(pod) for pod in succeeded)
        times = [t for t in times if t > since]
        record = Record()
    return Record(record.failures + len(times), times[-1]) if times else record


def latest(known: Record, succeeded: Sequence[Obj], failed: Sequence[Obj]) -> Record:
    """What all pods that are still there tell, and what was known of others: pods go, their failures are remembered."""
    told = advance(Record(), succeeded, failed)
    if known.last is None or any(ended_at(pod) >= known.last for pod in succeeded):
        return told
    if told.last is None or told.last < known.last or told == known:
        return known
    more = 1 if told.last > known.last else 0
    return Record(max(known.failures + more, told.failures), told.last)


def remaining(record: Record, now: datetime) -> float:
    """Seconds until the next pod may be made."""
    if not record.failures or record.last is None:
        return 0.0
    wait = min(FIRST_SECONDS * 2.0 ** min(record.failures - 1, 20), LONGEST_SECONDS)
    return max(0.0, wait - (now - record.last).total_seconds())


def remaining_of_index(replaced: Obj | None, now: datetime) -> float:
    """Seconds until the pod may be replaced that failed last in an index."""
    if replaced is None:
        return 0.0
    return remaining(Record(all_failures(replaced) + 1, ended_at(replaced)), now)
