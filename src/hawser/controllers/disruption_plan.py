"""How many pods of a disruption budget may go now. Pure.

Source: "Specifying a Disruption Budget for your Application"; API reference, PodDisruptionBudgetStatus. Reasons are
kube-controller-manager's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from hawser.api.selectors import shown
from hawser.api.status import condition, has_ended
from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp, timestamp
from hawser.controllers import pods as any_pods
from hawser.controllers.budgeted import Selected
from hawser.controllers.rollout import scaled

CONDITION = "DisruptionAllowed"
TARGET = "DisruptionTarget"
# An eviction that was let through has so long to delete its pod; a pod that is said to go, to be deleted.
DELETION = timedelta(minutes=2)
STALE = timedelta(minutes=2)
_BY_KUBELET = "TerminationByKubelet"


def counts_owners(budget: Obj) -> bool:
    """Whether it is measured by what the pods' controllers ask for, and not by the pods that there are."""
    spec = budget["spec"]
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def expected(budget: Obj, count: int) -> tuple[int, int]:
    """Expected pods and how many of them have to be healthy. count: what the controllers ask for, or the pods."""
    spec = budget["spec"]
    if (most := spec.get("maxUnavailable")) is not None:
        return count, max(0, count - scaled(most, count, up=True))
    least = spec.get("minAvailable")
    return (count, scaled(least, count, up=True)) if least is not None else (0, 0)


@dataclass(frozen=True, slots=True)
class Disrupted:
    """Evictions under way.

    pods: by name, when they were let through. look_again: seconds. overdue: pods that should be gone by now.
    """

    pods: dict[str, str]
    look_again: float | None = None
    overdue: tuple[Obj, ...] = ()


def disrupted(budget: Obj, pods: Iterable[Obj], now: datetime) -> Disrupted:
    """Which evictions have not deleted their pod yet. pods: the budget's, at least those that evictions speak of."""
    told = (budget.get("status") or {}).get("disruptedPods") or {}
    left: dict[str, str] = {}
    overdue, waits = [], []
    for pod in pods if told else ():
        name = pod["metadata"]["name"]
        if name not in told or any_pods.is_terminating(pod):
            continue
        wait = (parse_timestamp(told[name]) + DELETION - now).total_seconds()
        if wait < 0:
            overdue.append(pod)
        else:
            left[name] = told[name]
            waits.append(wait)
    return Disrupted(left, min(waits, default=None), tuple(overdue))


def status(budget: Obj, pods: Selected, going: Disrupted, count: int, now: datetime) -> Obj:
    """The status to have. count: as in ``expected``."""
    total, desired = expected(budget, count)
    healthy = pods.healthy(without=going.pods)
    allowed = max(0, healthy - desired) if total > 0 else 0
    made: Obj = {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": total,
        "disruptionsAllowed": allowed,
        "observedGeneration": budget["metadata"].get("generation", 0),
    }
    if going.pods:
        made["disruptedPods"] = going.pods
    reason = "SufficientPods" if allowed else "InsufficientPods"
    made["conditions"] = _conditions(budget, bool(allowed), reason, "", made["observedGeneration"], now)
    return made


def failed(budget: Obj, message: str, now: datetime) -> Obj:
    """The status when it cannot be computed: nothing may go."""
    old: Obj = budget.get("status") or {}
    generation = old.get("observedGeneration", 0)
    return {
        **old,
        "disruptionsAllowed": 0,
        "conditions": _conditions(budget, False, "SyncFailed", message, generation, now),
    }


def _conditions(budget: Obj, allowed: bool, reason: str, message: str, generation: int, now: datetime) -> list[Obj]:
    value = "True" if allowed else "False"
    old = condition(budget, CONDITION)
    same = old is not None and old["status"] == value
    made = {
        "type": CONDITION,
        "status": value,
        "observedGeneration": generation,
        "lastTransitionTime": old["lastTransitionTime"] if same and old is not None else timestamp(now),
        "reason": reason,
        "message": message,
    }
    if not generation:
        del made["observedGeneration"]
    others = [c for c in (budget.get("status") or {}).get("conditions") or () if c["type"] != CONDITION]
    return [*others, made]


def stale_in(pod: Obj, now: datetime) -> float | None:
    """Seconds until the pod's condition DisruptionTarget is stale, since nobody deletes it; None when it has none.

    What the kubelet says may take any time to come true (KEP-3329).
    """
    if any_pods.is_terminating(pod) or has_ended(pod):
        return None
    found = condition(pod, TARGET)
    if found is None or found["status"] != "True" or found.get("reason") == _BY_KUBELET:
        return None
    since = parse_timestamp(found.get("lastTransitionTime") or pod["metadata"]["creationTimestamp"])
    return max(0.0, (since + STALE - now).total_seconds())


def unmanaged(budget: Obj) -> str:
    """What is reported when some of its pods have no controller that says how many there should be."""
    selector = shown(budget["spec"].get("selector") or {})
    return (
        f"Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, "
        "the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for "
        'these pods please set ".spec.minAvailable" field of the PDB to an integer value.'
    )
