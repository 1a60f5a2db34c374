"""Whose place a pod may take: pure.

Source: Kubernetes documentation, "Pod Priority and Preemption"; the order in which victims and nodes are preferred is
kube-scheduler's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hawser.api.types import Obj
from hawser.scheduler.cache import Cache, NodeInfo
from hawser.scheduler.deciding import Checks
from hawser.scheduler.filters import Refusal, unavailable
from hawser.scheduler.outlook import Outlook
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.terms import selector_of
from hawser.scheduler.volumes import IN_USE

NOBODY = Refusal("DefaultPreemption", ("No preemption victims found for incoming pod",), True)
HOPELESS = Refusal("DefaultPreemption", ("Preemption is not helpful for scheduling",), True)
NEVER = "not eligible due to preemptionPolicy=Never."
TERMINATING = "not eligible due to a terminating pod on the nominated node."

NOT_STARTED = "9999"

Started = Callable[[PodInfo], str]
"""When a pod was started (RFC 3339), NOT_STARTED if it was not."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that would take the pod if the victims left it; the most important one comes first.

    violations: how many of them are protected by a disruption budget.
    """

    node: str
    victims: tuple[PodInfo, ...]
    violations: int


@dataclass(frozen=True, slots=True)
class Preemption:
    """chosen: the best candidate, or None; then message says why. keeps: what the pod was promised is still its own."""

    chosen: Candidate | None
    message: str = ""
    keeps: bool = False


def preempt(
    pod: PodInfo,
    outlook: Outlook,
    cache: Cache,
    budgets: Sequence[Obj],
    started: Started,
    *,
    offset: int = 0,
    check: Checks | None = None,
) -> Preemption:
    """Finds the node whose pods are to make place for this one.

    outlook: of the pod, fresh. budgets: PodDisruptionBudgets. offset: of the nodes, where to begin to look.
    check: what else nodes must pass, whoever leaves them.
    """
    if check is not None and check.held:
        return _take_over(pod, outlook, cache, budgets, started, check)
    names = sorted(_hopeful(outlook, check))
    offset = offset % len(names) if names else 0
    profile = outlook.profile
    enough = min(len(names), max(len(names) * profile.min_candidates_percent // 100, profile.min_candidates))
    found: list[Candidate] = []
    clean = 0
    told: Counter[Refusal] = Counter()
    for name in names[offset:] + names[:offset]:
        why = check.lasting(name) if check is not None else None
        candidate = why or _victims(pod, outlook, cache.nodes[name], budgets, started, check)
        if isinstance(candidate, Refusal):
            told[candidate] += 1
            continue
        found.append(candidate)
        clean += not candidate.violations
        if clean and len(found) >= enough:
            break
    if found:
        return Preemption(best(found, started))
    others = cache.ready - sum(told.values())
    if others:
        told[HOPELESS] += others
    return Preemption(None, unavailable(cache.ready, told))


def _hopeful(outlook: Outlook, check: Checks | None) -> Iterator[str]:
    """The nodes that might take such a pod if others left them."""
    refused = dict(outlook.refusals())
    for name in outlook.rated:
        why = refused.get(name)
        if why is None and check is not None:
            why = check(name)
        if why is not None and not why.final:
            yield name


def _take_over(
    pod: PodInfo, outlook: Outlook, cache: Cache, budgets: Sequence[Obj], started: Started, check: Checks
) -> Preemption:
    """Somebody uses what the pod needs for itself alone: only where that is the only user can it be had."""
    users = [(node, other) for node, other in cache.placed() if _uses(other, check.held)]
    places = {node for node, _ in users}
    told: Counter[Refusal] = Counter()
    for name, rated in outlook.rated.items():
        if (refused := rated.refused) is not None and refused.final:
            continue
        node = cache.nodes[name]
        if not any(other.priority < pod.priority for other in node.pods.values()):
            told[NOBODY] += 1
        elif places != {name} or any(other.priority >= pod.priority for _, other in users):
            told[IN_USE] += 1
        else:
            forced = frozenset(other.key for _, other in users)
            found = check.lasting(name) or _victims(pod, outlook, node, budgets, started, check, forced)
            if isinstance(found, Candidate):
                return Preemption(found)
            told[found] += 1
    if hopeless := cache.ready - sum(told.values()):
        told[HOPELESS] += hopeless
    return Preemption(None, unavailable(cache.ready, told))


def _uses(pod: PodInfo, claims: frozenset[str]) -> bool:
    return any(f"{pod.namespace}/{name}" in claims for name, _ in pod.claims)


def _victims(
    pod: PodInfo,
    outlook: Outlook,
    node: NodeInfo,
    budgets: Sequence[Obj],
    started: Started,
    check: Checks | None,
    forced: frozenset[str] = frozenset(),
) -> Candidate | Refusal:
    """The fewest and least important pods whose leaving makes the node take the pod. forced: those that have to."""

    def refusal() -> Refusal | None:
        return outlook.refusal_if(view) or (check.crowded(view) if check is not None else None)

    view = node.copy()
    lower = [other for other in node.pods.values() if other.priority < pod.priority]
    if not lower:
        return NOBODY
    for other in lower:
        view.remove(other)
    refused = refusal()
    if refused is not None:
        return refused
    lower.sort(key=lambda other: (-other.priority, started(other), other.key))
    protected = violating(lower, budgets)
    victims = []
    violations = 0
    # Whoever can stay stays: first those that a budget protects, of each kind the most important first.
    for other in sorted(lower, key=lambda other: other.key not in protected):
        view.add(other)
        if other.key in forced or refusal() is not None:
            view.remove(other)
            victims.append(other)
            violations += other.key in protected
    victims.sort(key=lambda other: (-other.priority, started(other), other.key))
    return Candidate(node.name, tuple(victims), violations)


def violating(pods: Sequence[PodInfo], budgets: Sequence[Obj]) -> frozenset[str]:
    """The keys of those pods whose leaving, one after another, would exceed what a disruption budget allows."""
    left = {id(budget): (budget.get("status") or {}).get("disruptionsAllowed", 0) for budget in budgets}
    found = set()
    for pod in pods:
        for budget in budgets:
            if budget["metadata"].get("namespace") != pod.namespace or not pod.labels:
                continue
            selector = selector_of((budget.get("spec") or {}).get("selector"))
            if not selector.requirements or not selector.matches(pod.labels):
                continue
            # Whom the API server has let go already is counted already.
            if pod.name in ((budget.get("status") or {}).get("disruptedPods") or {}):
                continue
            left[id(budget)] -= 1
            if left[id(budget)] < 0:
                found.add(pod.key)
    return frozenset(found)


def best(candidates: Sequence[Candidate], started: Started) -> Candidate:
    """The candidate whose victims matter least."""

    def latest(candidate: Candidate) -> str:
        top = candidate.victims[0].priority
        return min(started(victim) for victim in candidate.victims if victim.priority == top)

    def cost(candidate: Candidate) -> tuple[int, int, int, int]:
        victims = candidate.victims
        if not victims:
            return (0, 0, 0, 0)
        # Negative priorities must not make more victims look like fewer.
        total = sum(victim.priority + 2**31 for victim in victims)
        return (candidate.violations, victims[0].priority, total, len(victims))

    least = min(map(cost, candidates))
    tied = [candidate for candidate in candidates if cost(candidate) == least]
    return max(tied, key=latest) if tied[0].victims else tied[0]


def ineligible(
    pod: PodInfo, promised: str, outlook: Outlook, cache: Cache, preempted: Callable[[PodInfo], bool]
) -> str:
    """Why the pod may not preempt others now; empty if it may.

    promised: the node where others made place for it already. preempted: whether a pod leaves because of that.
    """
    if not pod.shape.preempts:
        return NEVER
    node = cache.nodes.get(promised)
    if node is None or node.name not in outlook.rated:
        return ""
    refused = outlook.refusal_at(node.name)
    if refused is not None and refused.final:
        return ""
    lower = (other for other in node.pods.values() if other.priority < pod.priority)
    return TERMINATING if any(map(preempted, lower)) else ""


def displaced(node: NodeInfo, pod: PodInfo) -> list[PodInfo]:
    """The less important pods that were promised the node: their promise is void."""
    return [other for other in node.nominated.values() if other.priority < pod.priority]
