"""The DaemonSet's decision: from what is to what to do next. Pure.

Source: DaemonSet documentation ("Performing a Rolling Update"), API reference (maxUnavailable and maxSurge round up, of
the nodes that should run a pod), KEP-1591 (surge).
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from hawser.api.daemons import Places, node_of
from hawser.api.status import has_ended, is_ready
from hawser.api.types import Obj
from hawser.controllers import pods, rollout
from hawser.controllers.daemon_pods import is_updated

BURST = 250


@dataclass(slots=True)
class Plan:
    """What a DaemonSet needs now.

    create: a pod for each of these nodes. delete: these pods. ended: those among them that have ended by themselves.
    """

    create: list[str] = field(default_factory=list)
    delete: list[Obj] = field(default_factory=list)
    ended: list[Obj] = field(default_factory=list)


@dataclass(frozen=True)
class Situation:
    """What a plan and a status are made of.

    owned: the set's pods. digest: of the revision of its template. resting: nodes on which failed pods have been
    replaced so often that they are left alone for a while.
    """

    ds: Obj
    nodes: Sequence[Obj]
    owned: Sequence[Obj]
    digest: str
    now: datetime
    resting: Container[str] = ()

    def is_available(self, pod: Obj) -> bool:
        return pods.available_in(pod, int(self.ds["spec"].get("minReadySeconds") or 0), self.now) == 0

    def is_updated(self, pod: Obj) -> bool:
        return is_updated(self.ds, pod, self.digest)

    @cached_property
    def places(self) -> dict[str, tuple[bool, bool]]:
        """By the names of nodes, whether a pod should run there, and whether one may stay."""
        places = Places(self.ds)
        return {node["metadata"]["name"]: places.on(node) for node in self.nodes}

    @cached_property
    def by_node(self) -> dict[str, list[Obj]]:
        """The pods by their nodes, the oldest first; without those that have ended and are about to be gone."""
        found: dict[str, list[Obj]] = {}
        for pod in sorted(self.owned, key=_age):
            node = node_of(pod)
            if node and not (has_ended(pod) and pods.is_terminating(pod)):
                found.setdefault(node, []).append(pod)
        return found


def _age(pod: Obj) -> tuple[object, ...]:
    metadata = pod["metadata"]
    return not pod["spec"].get("nodeName"), metadata.get("creationTimestamp") or "", metadata["name"]


def plan(at: Situation) -> Plan:
    """Pure decision: first every node has what it should have, then old pods are replaced."""
    ds = at.ds
    if pods.is_terminating(ds):
        return Plan()
    on_node = at.by_node
    todo = Plan()
    should_run = {name: should for name, (should, _) in at.places.items()}
    for name, (should, may_stay) in at.places.items():
        _manage(at, todo, name, on_node.get(name), should, may_stay)
    # Nobody else deletes pods that wait for a node which is no more.
    for name, listed in on_node.items():
        if name not in should_run:
            todo.delete += [p for p in listed if not p["spec"].get("nodeName") and not pods.is_terminating(p)]
    settled = not todo.create and not todo.delete
    if settled and (ds["spec"].get("updateStrategy") or {}).get("type") == "RollingUpdate":
        _roll(at, todo, on_node, should_run)
    del todo.create[BURST:], todo.delete[BURST:]
    return todo


def limits(ds: Obj, desired: int) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods."""
    rolling = (ds["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    surge = rollout.scaled(rolling.get("maxSurge", 0), desired, up=True)
    unavailable = rollout.scaled(rolling.get("maxUnavailable", 1), desired, up=True)
    return surge, unavailable or int(not surge)


def _surges(ds: Obj) -> bool:
    strategy = ds["spec"].get("updateStrategy") or {}
    return strategy.get("type") == "RollingUpdate" and limits(ds, 100)[0] > 0


def _manage(at: Situation, todo: Plan, node: str, listed: list[Obj] | None, should_run: bool, may_stay: bool) -> None:
    """One pod on the node, or none; while surging an old one may stand in for a new one that is not ready."""
    if listed is None:
        if should_run:
            todo.create.append(node)
        return
    present = [pod for pod in listed if not pods.is_terminating(pod)]
    if not may_stay:
        todo.delete += present
        return
    running = [pod for pod in present if not has_ended(pod)]
    for pod in present:
        if has_ended(pod) and not (pod["status"]["phase"] == "Failed" and node in at.resting):
            todo.ended.append(pod)
            todo.delete.append(pod)
    if not _surges(at.ds):
        todo.delete += running[1:]
    elif running:
        todo.delete += _superfluous(at, running)
    elif should_run:
        # The old one is on its way out: while surging there is always one that stays.
        todo.create.append(node)


def _superfluous(at: Situation, running: Sequence[Obj]) -> list[Obj]:
    new = [pod for pod in running if at.is_updated(pod)]
    old = [pod for pod in running if not at.is_updated(pod)]
    doomed = new[1:] + old[1:]
    if new and old and (not is_ready(old[0]) or at.is_available(new[0])):
        doomed.append(old[0])
    return doomed


def _roll(at: Situation, todo: Plan, on_node: Mapping[str, list[Obj]], should_run: Mapping[str, bool]) -> None:
    desired = sum(should_run.values())
    surge, unavailable = limits(at.ds, desired)
    concerned = {name: on_node.get(name, []) for name in (*on_node, *(n for n, runs in should_run.items() if runs))}
    pairs = {name: _pair(at, listed) for name, listed in concerned.items()}
    if surge:
        _surge(at, todo, pairs, should_run, surge, desired)
    else:
        _replace(at, todo, pairs, unavailable)


_Pair = tuple[Obj | None, Obj | None] | None


def _pair(at: Situation, listed: Sequence[Obj]) -> _Pair:
    """The new and the old pod of a node; None when there are several of a kind, which comes to an end by itself."""
    present = [pod for pod in listed if not pods.is_terminating(pod)]
    new = [pod for pod in present if at.is_updated(pod)]
    old = [pod for pod in present if not at.is_updated(pod)]
    if len(new) > 1 or len(old) > 1:
        return None
    return (new[0] if new else None), (old[0] if old else None)


def _replace(at: Situation, todo: Plan, pairs: Mapping[str, _Pair], most: int) -> None:
    """Old pods go, as many as may be unavailable; new ones come by themselves."""
    unavailable, candidates = 0, []
    for pair in pairs.values():
        new, old = pair or (None, None)
        if old is None or new is not None:
            unavailable += new is None or old is not None or not at.is_available(new)
        elif not at.is_available(old):
            todo.delete.append(old)
            unavailable += 1
        else:
            candidates.append(old)
    todo.delete += candidates[: max(0, most - unavailable)]


def _surge(
    at: Situation, todo: Plan, pairs: Mapping[str, _Pair], should_run: Mapping[str, bool], most: int, desired: int
) -> None:
    """New pods come beside old ones, as many as allowed; an old one goes when its new one is available."""
    surging = available = 0
    candidates: list[str] = []
    misplaced: list[Obj] = []
    for node, pair in pairs.items():
        if pair is None:
            surging += 1
            continue
        new, old = pair
        first = old or new
        available += first is not None and at.is_available(first)
        if old is None:
            continue
        if new is not None:
            if at.is_available(new):
                todo.delete.append(old)
            else:
                surging += 1
        elif not should_run.get(node):
            (misplaced if at.is_available(old) else todo.delete).append(old)
        elif not at.is_available(old):
            todo.create.append(node)
        else:
            candidates.append(node)
    # Where none should run any more one may stay until others are available.
    todo.delete += misplaced[: max(0, available - desired)]
    todo.create += candidates[: max(0, most - surging)]


def status(at: Situation) -> Obj:
    """The DaemonSetStatus."""
    on_node = at.by_node
    desired = current = misscheduled = ready = available = updated = 0
    for name, (should_run, _) in at.places.items():
        listed = on_node.get(name)
        if not should_run:
            misscheduled += listed is not None
            continue
        desired += 1
        if listed is None:
            continue
        current += 1
        oldest = listed[0]
        ready += is_ready(oldest)
        available += at.is_available(oldest)
        updated += at.is_updated(oldest)
    before = at.ds.get("status") or {}
    made: Obj = {
        "currentNumberScheduled": current,
        "numberMisscheduled": misscheduled,
        "desiredNumberScheduled": desired,
        "numberReady": ready,
        "observedGeneration": at.ds["metadata"].get("generation", 0),
    }
    counts = {
        "updatedNumberScheduled": updated,
        "numberAvailable": available,
        "numberUnavailable": desired - available,
        "collisionCount": before.get("collisionCount"),
    }
    made.update({name: count for name, count in counts.items() if count})
    if before.get("conditions"):
        made["conditions"] = before["conditions"]
    return made
