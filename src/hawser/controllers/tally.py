"""How many pods of which sort an owner has: what one of a thousand pods asks for at every change of one of them.

The informer keeps the count as pods change, so that the answer takes as long as there are sorts: a few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import NamedTuple

from hawser.api.kinds import JOB
from hawser.api.status import has_ended, is_ready
from hawser.api.types import Obj
from hawser.client.controller import controller_of
from hawser.controllers import pods


class State(Enum):
    """READY and UNREADY pods are active, TERMINATING ones have not ended."""

    READY = auto()
    UNREADY = auto()
    TERMINATING = auto()
    ENDED = auto()


INDIVIDUAL = "batch.kubernetes.io/job-completion-index"
ACTIVE = (State.READY, State.UNREADY)


class Sort(NamedTuple):
    """labels: pairs of key and value."""

    state: State
    labels: frozenset[tuple[str, str]]


Tally = Mapping[Sort, int]


def sort_of(pod: Obj) -> Sort:
    """The sort of a pod. What each pod of an indexed Job has for itself is no label here: see ``INDIVIDUAL``."""
    if pods.is_active(pod):
        state = State.READY if is_ready(pod) else State.UNREADY
    else:
        state = State.ENDED if has_ended(pod) else State.TERMINATING
    labels = pod["metadata"].get("labels") or {}
    if INDIVIDUAL in labels and (controller_of(pod) or {}).get("kind") == JOB.kind:
        labels = {key: value for key, value in labels.items() if key != INDIVIDUAL}
    return Sort(state, frozenset(labels.items()))


def by_owner(pod: Obj) -> Iterable[tuple[str, Sort]]:
    """For ``Informer.add_tally``: by the uid of the controlling owner."""
    return [(uid, sort_of(pod)) for uid in pods.owner_uids(pod)]


def tally_of(owned: Iterable[Obj]) -> Tally:
    """The count of these pods."""
    return Counter(map(sort_of, owned))


def count(tally: Tally, *states: State) -> int:
    """How many pods are in one of the states."""
    return sum(number for sort, number in tally.items() if sort.state in states)
