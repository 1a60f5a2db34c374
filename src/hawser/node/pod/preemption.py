"""Whom a critical pod may drive from its node: pure.

Source: Kubernetes documentation, "Guaranteed Scheduling For Critical Add-On Pods"; kubelet's order of victims: what has
the lowest quality of service first, and no more of them than needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hawser.api.pod_resources import Amounts
from hawser.api.qos import qos_class
from hawser.api.types import Obj
from hawser.node.pod.observed import Waiting

PREEMPTED = Waiting("Preempting", "Preempted in order to admit critical pod")
_CRITICAL = 2_000_000_000
_RANKS = {"BestEffort": 0, "Burstable": 1, "Guaranteed": 2}


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides whether a pod may be driven away: its class (0 goes first) and its priority."""

    rank: int
    priority: int

    @classmethod
    def of(cls, pod: Obj) -> Standing:
        """A pod's standing."""
        return cls(_RANKS[qos_class(pod["spec"])], int(pod["spec"].get("priority") or 0))


def critical(pod: Obj) -> bool:
    """Whether the node makes room for a pod (system-cluster-critical, system-node-critical)."""
    return int(pod["spec"].get("priority") or 0) >= _CRITICAL


def victims(lack: Amounts, pods: Mapping[str, tuple[Standing, Amounts]], above: int) -> list[str]:
    """The uids of pods whose end makes up for what is lacking; empty when nothing would.

    pods: what each of them takes, ``pods`` (1) included. above: the priority of who wants the room.
    """
    open_to = [uid for uid, (standing, _) in pods.items() if standing.priority < above]
    open_to.sort(key=lambda uid: (pods[uid][0].rank, pods[uid][0].priority, -_share(pods[uid][1], lack)))
    chosen: list[str] = []
    for uid in open_to:
        if _enough(lack, (pods[c][1] for c in chosen)):
            break
        if _share(pods[uid][1], lack):
            chosen.append(uid)
    if not _enough(lack, (pods[c][1] for c in chosen)):
        return []
    # The last ones may have made some of the first ones needless.
    for uid in list(reversed(chosen)):
        if _enough(lack, (pods[c][1] for c in chosen if c != uid)):
            chosen.remove(uid)
    return chosen


def _share(amounts: Amounts, lack: Amounts) -> int:
    return sum(min(amounts.get(name, 0), value) for name, value in lack.items())


def _enough(lack: Amounts, given: Iterable[Amounts]) -> bool:
    listed = list(given)
    return all(sum(amounts.get(name, 0) for amounts in listed) >= value for name, value in lack.items())
