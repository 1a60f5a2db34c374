"""Where the pending pods of a cluster would go, answered from its objects with the scheduler's own code. Pure.

What is decided counts for the pods that come later, as in a live cluster; nothing is deleted: a pod that would preempt
others is promised their node.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from hawser.api.selectors import LabelSelector
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.informer import key_of
from hawser.scheduler.backing import backed
from hawser.scheduler.cache import Cache
from hawser.scheduler.configuration import Configuration
from hawser.scheduler.deciding import NO_GROUP, Decider, Placed
from hawser.scheduler.filters import Refusal
from hawser.scheduler.mustering import Muster, muster
from hawser.scheduler.placement import Decision, Placement
from hawser.scheduler.preemption import NOT_STARTED, Preemption, preempt
from hawser.scheduler.profile import DEFAULT_SCHEDULER
from hawser.scheduler.promises import Promises
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.siblings import selector_for
from hawser.scheduler.volumes import Stock

_OWNERS = ("ReplicaSet", "StatefulSet", "ReplicationController")
_GATED = "Scheduling is blocked due to non-empty scheduling gates"


class Outcome(StrEnum):
    """What becomes of a pending pod. Preempting: it has a node once others have left it."""

    PLACED = "Placed"
    PREEMPTING = "Preempting"
    UNSCHEDULABLE = "Unschedulable"
    GATED = "Gated"
    FOREIGN = "Foreign"


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one pod (namespace/name). message: kube-scheduler's sentence. victims: who would have to leave."""

    pod: str
    outcome: Outcome
    node: str = ""
    message: str = ""
    victims: tuple[str, ...] = ()


class Simulation:
    """A cluster made of its objects, of any kinds; those that placement does not depend on are passed over.

    rng: breaks ties between equally good nodes.
    """

    def __init__(
        self, objects: Iterable[Obj], configuration: Configuration | None = None, rng: random.Random | None = None
    ) -> None:
        self.cache = Cache()
        self._rng = rng or random.Random(0)
        self._kinds: dict[str, dict[str, Obj]] = {}
        self._services: dict[str, list[Obj]] = {}
        self._owners: dict[str, Obj] = {}
        self._starts: dict[str, str] = {}
        self._pending: list[Obj] = []
        for obj in objects:
            self._take(obj)
        labels = self._namespace_labels
        placements = {
            profile.name: Placement(self.cache, self._rng, labels, profile, self._siblings)
            for profile in (configuration or Configuration()).profiles
        }
        self._schedulers = frozenset(placements)
        self._decider = Decider(self.cache, placements)
        self._decider.promises = Promises(self._stock(), self.cache)
        classes = self._kinds.get("DeviceClass", {}).values()
        self._decider.back(backed(classes))
        # Nothing is allocated without a class; but claims say what they lack.
        if classes or any(obj["spec"].get("resourceClaims") for obj in self._pending):
            from hawser.scheduler.simulated_devices import devices_of

            self._decider.devices = devices_of(self._kinds, self._pending, self.cache)
            self._decider.back(self._decider.backed)

    def run(self) -> Iterator[Result]:
        """Places the pending pods, in the scheduler's order; yields what becomes of each."""
        waiting: dict[str, PodInfo] = {}
        for obj in self._pending:
            name = obj["spec"].get("schedulerName") or DEFAULT_SCHEDULER
            if name not in self._schedulers:
                yield Result(key_of(obj), Outcome.FOREIGN, message=f'pods of scheduler "{name}" are not placed here')
            elif obj["spec"].get("schedulingGates"):
                yield Result(key_of(obj), Outcome.GATED, message=_GATED)
            else:
                waiting[key_of(obj)] = self.cache.shapes.pod(obj)
        gangs: dict[str, list[PodInfo]] = {}
        ordered = sorted(waiting.values(), key=lambda pod: (-pod.priority, pod.created))
        for pod in ordered:
            if pod.gang:
                gangs.setdefault(pod.gang, []).append(pod)
        for pod in ordered:
            if not pod.gang:
                yield self._place(pod)
            elif pod.gang in gangs:
                yield from self._place_gang(gangs.pop(pod.gang))

    def _place(self, pod: PodInfo) -> Result:
        decision = self._decider.decide(pod)
        if decision.node is not None:
            self._settle([self._decider.place(pod, decision.node)])
            return Result(pod.key, Outcome.PLACED, decision.node)
        return self._preempt(pod, decision)

    def _preempt(self, pod: PodInfo, decision: Decision) -> Result:
        result = self._consider(pod, decision)
        if result is None:
            return Result(pod.key, Outcome.UNSCHEDULABLE, message=decision.message)
        if result.chosen is None:
            message = self._decider.explain(pod, decision, result.message)
            return Result(pod.key, Outcome.UNSCHEDULABLE, message=message)
        victims = tuple(victim.key for victim in result.chosen.victims)
        self.cache.nominate(pod, result.chosen.node)
        return Result(pod.key, Outcome.PREEMPTING, result.chosen.node, decision.message, victims)

    def _settle(self, placed: Iterable[Placed]) -> None:
        """What pods get of devices counts as allocated."""
        for each in placed:
            if each.devices is not None and self._decider.devices is not None:
                from hawser.scheduler.simulated_devices import record

                record(self._decider.devices, each.devices)

    def _consider(self, pod: PodInfo, decision: Decision) -> Preemption | None:
        """Whether others should leave for the pod; None when that is no question."""
        placement = self._decider.placement(pod)
        if decision.blocked or not placement.profile.preempts or not pod.shape.preempts or not self.cache.ready:
            return None
        check = self._decider.check(pod)
        assert not isinstance(check, Refusal)
        outlook = placement.outlook(pod)
        outlook.refresh()
        budgets = list(self._kinds.get("PodDisruptionBudget", {}).values())
        return preempt(pod, outlook, self.cache, budgets, self._started, check=check)

    def _place_gang(self, pods: list[PodInfo]) -> Iterator[Result]:
        group = self._kinds.get("PodGroup", {}).get(pods[0].gang)
        if group is None:
            missing = self._decider.blocked(NO_GROUP).message
            yield from (Result(pod.key, Outcome.UNSCHEDULABLE, message=missing) for pod in pods)
            return
        least = int((group.get("spec") or {}).get("minMember") or 1)
        placed, refused = self._decider.together(pods, least)
        if not placed and (plan := muster(self.cache, self._decider, pods, least, self._consider)) is not None:
            yield from self._muster(plan, pods, {pod.key: why for pod, why in refused})
            return
        self._settle(placed)
        yield from (Result(each.pod.key, Outcome.PLACED, each.node) for each in placed)
        yield from (Result(pod.key, Outcome.UNSCHEDULABLE, message=why.message) for pod, why in refused)

    def _muster(self, plan: Muster, pods: list[PodInfo], why: dict[str, Decision]) -> Iterator[Result]:
        """A group for which others leave: its room is kept until they have."""
        victims = {pod.key: tuple(v.key for v in candidate.victims) for pod, candidate in plan.preempting}
        for pod in pods:
            node = plan.seats.get(pod.key)
            if node is None:
                yield Result(pod.key, Outcome.UNSCHEDULABLE, message=why[pod.key].message)
                continue
            self.cache.nominate(pod, node)
            yield Result(pod.key, Outcome.PREEMPTING, node, why[pod.key].message, victims.get(pod.key, ()))

    def _take(self, obj: Obj) -> None:
        kind = obj.get("kind", "")
        if kind.endswith("List") and "items" in obj:
            # Items of typed lists need not say what they are.
            for item in obj["items"]:
                self._take(item if "kind" in item else {**item, "kind": kind.removesuffix("List")})
        elif kind == "Node":
            self.cache.set_node(obj)
        elif kind == "Pod":
            self._take_pod(obj)
        elif kind == "Service":
            self._services.setdefault(obj["metadata"].get("namespace", ""), []).append(obj)
        elif kind in _OWNERS:
            self._owners[f"{kind}/{obj['metadata'].get('uid', '')}"] = obj
        elif kind in _KINDS:
            self._kinds.setdefault(kind, {})[key_of(obj)] = obj

    def _take_pod(self, obj: Obj) -> None:
        obj["metadata"].setdefault("uid", key_of(obj))
        if kept := obj["spec"].get("nodeName"):
            if not has_ended(obj):
                self.cache.set_pod(self.cache.shapes.pod(obj), kept)
                self._starts[key_of(obj)] = (obj.get("status") or {}).get("startTime") or NOT_STARTED
        elif not has_ended(obj) and "deletionTimestamp" not in obj["metadata"]:
            self._pending.append(obj)

    def _stock(self) -> Stock:
        found: Mapping[str, dict[str, Obj]] = self._kinds
        return Stock(
            claims=found.get("PersistentVolumeClaim", {}),
            volumes=found.get("PersistentVolume", {}),
            classes=found.get("StorageClass", {}),
            drivers=found.get("CSIDriver", {}),
            csi_nodes=found.get("CSINode", {}),
            capacities=list(found.get("CSIStorageCapacity", {}).values()),
        )

    def _namespace_labels(self, name: str) -> Mapping[str, str]:
        known = self._kinds.get("Namespace", {}).get(name)
        return (known or {}).get("metadata", {}).get("labels") or {"kubernetes.io/metadata.name": name}

    def _siblings(self, pod: PodInfo) -> LabelSelector | None:
        return selector_for(pod, self._services.get(pod.namespace, []), self._owners.get(pod.owner))

    def _started(self, pod: PodInfo) -> str:
        return self._starts.get(pod.key, NOT_STARTED)


_KINDS = frozenset(
    (
        "CSIDriver",
        "CSINode",
        "CSIStorageCapacity",
        "DeviceClass",
        "Namespace",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "PodGroup",
        "ResourceClaim",
        "ResourceClaimTemplate",
        "ResourceSlice",
        "StorageClass",
    )
)
