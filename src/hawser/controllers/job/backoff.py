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
    """Failures since the last success, when the last of them was, and when that success was."""

    failures: int = 0
    last: datetime | None = None
    success: datetime | None = None


def latest(known: Record, succeeded: Sequence[Obj], failed: Sequence[Obj]) -> Record:
    """What pods that are still there tell, and what was known of others: pods go, their failures are remembered.

    succeeded: those at least that have ended since ``known``; failed: all.
    """
    successes = [ended_at(pod) for pod in succeeded]
    if known.success is not None:
        successes.append(known.success)
    success = max(successes, default=None)
    times = sorted(at for at in map(ended_at, failed) if success is None or at > success)
    told = Record(len(times), times[-1] if times else None, success)
    if known.last is None or (success is not None and success >= known.last):
        return told
    if told.last is None or told.last < known.last:
        return Record(known.failures, known.last, success)
    more = 1 if told.last > known.last else 0
    return Record(max(known.failures + more, told.failures), told.last, success)


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
