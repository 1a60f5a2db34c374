"""Where the pending pods of a cluster would go, answered from its objects with the scheduler's own code. Pure.

What is decided counts for the pods that come later, as in a live cluster; nothing is deleted: a pod that would preempt
others is promised their node.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hawser.api.selectors import LabelSelector
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.informer import key_of
from hawser.scheduler.backing import backed
from hawser.scheduler.cache import Cache, NodeInfo
from hawser.scheduler.configuration import Configuration
from hawser.scheduler.deciding import NO_GROUP, Decider, Placed
from hawser.scheduler.filters import Refusal
from hawser.scheduler.manifests import WRONG, Arrival, House, arrived, bad, daemons, flattened, is_new
from hawser.scheduler.mustering import Muster, muster
from hawser.scheduler.placement import Decision, Placement
from hawser.scheduler.preemption import NOT_STARTED, Preemption, displaced
from hawser.scheduler.preemptor import Preemptor, is_preempted, started_at
from hawser.scheduler.profile import DEFAULT_SCHEDULER
from hawser.scheduler.promises import Promises
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.siblings import selector_for
from hawser.scheduler.volumes import Stock

_OWNERS = ("ReplicaSet", "StatefulSet", "ReplicationController")
_GATED = "Scheduling is blocked due to non-empty scheduling gates"


class Outcome(StrEnum):
    """What becomes of a pending pod. Preempting: it has a node once others have left it. Forbidden: there is none,
    since its controller may not create it."""

    PLACED = "Placed"
    PREEMPTING = "Preempting"
    UNSCHEDULABLE = "Unschedulable"
    GATED = "Gated"
    FOREIGN = "Foreign"
    FORBIDDEN = "Forbidden"


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

    Objects without a UID are new: see ``manifests``; new nodes get the pods of DaemonSets. rng: breaks ties between
    equally good nodes. Raises BadObjectError.
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
        self._preempted: set[str] = set()
        self._pending: list[Obj] = []
        self._forbidden: dict[str, str] = {}
        self._attached: dict[str, list[Obj]] = {}
        self._fresh: set[str] = set()
        new: list[Obj] = []
        for obj in flattened(objects):
            try:
                if is_new(obj):
                    new.append(obj)
                else:
                    self._take(obj)
            except WRONG as err:
                raise bad(obj, err) from None
        self._receive(new)
        labels = self._namespace_labels
        placements = {
            profile.name: Placement(self.cache, self._rng, labels, profile, self._siblings)
            for profile in (configuration or Configuration()).profiles
        }
        self._schedulers = frozenset(placements)
        self._decider = Decider(self.cache, placements)
        self._preemptor = Preemptor(
            self.cache,
            lambda pod: self._starts.get(pod.key, NOT_STARTED),
            lambda pod: pod.key in self._preempted,
            self._rng,
        )
        self._decider.promises = Promises(self._stock(), self.cache)
        classes = self._kinds.get("DeviceClass", {}).values()
        self._decider.back(backed(classes))
        # Nothing is allocated without a class; but claims say what they lack.
        if classes or any(obj["spec"].get("resourceClaims") for obj in self._pending):
            from hawser.scheduler.simulated_devices import devices_of

            self._decider.devices = devices_of(self._kinds, self._pending, self.cache)
            self._decider.back(self._decider.backed)

    def run(self) -> Iterator[Result]:
        """Places the pending pods, in the scheduler's order; yields what becomes of each. Raises BadObjectError."""
        for key, why in self._forbidden.items():
            yield Result(key, Outcome.FORBIDDEN, message=why)
        waiting: dict[str, PodInfo] = {}
        for obj in self._pending:
            name = obj["spec"].get("schedulerName") or DEFAULT_SCHEDULER
            if name not in self._schedulers:
                yield Result(key_of(obj), Outcome.FOREIGN, message=f'pods of scheduler "{name}" are not placed here')
            elif obj["spec"].get("schedulingGates"):
                yield Result(key_of(obj), Outcome.GATED, message=_GATED)
            else:
                try:
                    waiting[key_of(obj)] = self.cache.shapes.pod(obj)
                except WRONG as err:
                    raise bad(obj, err) from None
        for pod in waiting.values():
            if pod.nominated:
                self.cache.nominate(pod, pod.nominated)
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
        promised = self.cache.nomination(pod.key)
        decision = self._decider.decide(pod, promised)
        if decision.node is not None:
            self._settle([self._decider.place(pod, decision.node)])
            return Result(pod.key, Outcome.PLACED, decision.node)
        return self._preempt(pod, decision, promised)

    def _preempt(self, pod: PodInfo, decision: Decision, promised: str) -> Result:
        result = self._consider(pod, decision, promised)
        if result is None:
            return Result(pod.key, Outcome.UNSCHEDULABLE, message=decision.message)
        if result.keeps and promised:
            # Others are on their way out already.
            self.cache.nominate(pod, promised)
            return Result(pod.key, Outcome.PREEMPTING, promised, decision.message)
        if result.chosen is None:
            message = self._decider.explain(pod, decision, result.message)
            return Result(pod.key, Outcome.UNSCHEDULABLE, message=message)
        victims = tuple(victim.key for victim in result.chosen.victims)
        for other in displaced(self.cache.nodes[result.chosen.node], pod):
            self.cache.nominate(other, "")
        self.cache.nominate(pod, result.chosen.node)
        return Result(pod.key, Outcome.PREEMPTING, result.chosen.node, decision.message, victims)

    def _settle(self, placed: Iterable[Placed]) -> None:
        """What pods get of devices counts as allocated."""
        for each in placed:
            if each.devices is not None and self._decider.devices is not None:
                from hawser.scheduler.simulated_devices import record

                record(self._decider.devices, each.devices)

    def _consider(self, pod: PodInfo, decision: Decision, promised: str = "") -> Preemption | None:
        """Whether others should leave for the pod; None when that is no question."""
        check = None if decision.blocked else self._decider.check(pod)
        assert not isinstance(check, Refusal)
        budgets = list(self._kinds.get("PodDisruptionBudget", {}).values())
        return self._preemptor.consider(pod, self._decider.placement(pod), decision, promised, budgets, check)

    def _place_gang(self, pods: list[PodInfo]) -> Iterator[Result]:
        group = self._kinds.get("PodGroup", {}).get(pods[0].gang)
        if group is None:
            missing = self._decider.blocked(NO_GROUP).message
            yield from (Result(pod.key, Outcome.UNSCHEDULABLE, message=missing) for pod in pods)
            return
        least = int((group.get("spec") or {}).get("minMember") or 1)
        promised = {pod.key: node for pod in pods if (node := self.cache.nomination(pod.key))}
        placed, refused = self._decider.together(pods, least, promised)
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

    def _receive(self, new: Sequence[Obj]) -> None:
        """Objects that are not in the cluster yet come, and DaemonSets to nodes that are new."""
        kinds = self._kinds
        if not new and not (self._fresh and "DaemonSet" in kinds):
            return
        ranges, classes = kinds.get("LimitRange", {}), kinds.get("StorageClass", {})
        house = House(kinds.get("PriorityClass", {}), [*classes.values()], [*ranges.values()])
        names = set(map(key_of, self._pending))
        every = [_bare(node) for node in self.cache.nodes.values() if node.known]
        fresh = [node for node in every if node["metadata"]["name"] in self._fresh]
        for obj in new:
            self._receive_one(obj, lambda obj: arrived(obj, house, every), names)
        for ds in kinds.get("DaemonSet", {}).values():
            self._receive_one(ds, lambda ds: daemons(ds, house, fresh), names)

    def _receive_one(self, obj: Obj, made_of: Callable[[Obj], Arrival], names: set[str]) -> None:
        """names: of the pods that wait for a node."""
        try:
            arrival = made_of(obj)
            self._forbidden.update(arrival.forbidden)
            for made in arrival.objects:
                if made["kind"] == "Pod":
                    key = key_of(made)
                    if self.cache.is_placed(key) or key in names:
                        raise ValueError(f'pods "{made["metadata"]["name"]}" already exists')
                    names.add(key)
                if made["kind"] == "Deployment":
                    made["kind"] = "ReplicaSet"
                self._take(made)
        except WRONG as err:
            raise bad(obj, err) from None

    def _take(self, obj: Obj) -> None:
        kind = obj.get("kind", "")
        if kind == "Node":
            self.cache.set_node(obj)
            if not obj["metadata"].get("uid"):
                self._fresh.add(obj["metadata"]["name"])
        elif kind == "Pod":
            self._take_pod(obj)
        elif kind == "Service":
            self._services.setdefault(obj["metadata"].get("namespace", ""), []).append(obj)
        elif kind == "VolumeAttachment":
            self._attached.setdefault(obj["spec"]["nodeName"], []).append(obj)
        elif kind in _OWNERS:
            self._owners[f"{kind}/{obj['metadata'].get('uid', '')}"] = obj
        elif kind in _KINDS:
            self._kinds.setdefault(kind, {})[key_of(obj)] = obj

    def _take_pod(self, obj: Obj) -> None:
        obj["metadata"].setdefault("uid", key_of(obj))
        if kept := obj["spec"].get("nodeName"):
            if not has_ended(obj):
                self.cache.set_pod(self.cache.shapes.pod(obj), kept)
                self._starts[key_of(obj)] = started_at(obj)
                if is_preempted(obj):
                    self._preempted.add(key_of(obj))
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
            attached=lambda node: self._attached.get(node, ()),
        )

    def _namespace_labels(self, name: str) -> Mapping[str, str]:
        known = self._kinds.get("Namespace", {}).get(name)
        return (known or {}).get("metadata", {}).get("labels") or {"kubernetes.io/metadata.name": name}

    def _siblings(self, pod: PodInfo) -> LabelSelector | None:
        return selector_for(pod, self._services.get(pod.namespace, []), self._owners.get(pod.owner))


def _bare(node: NodeInfo) -> Obj:
    """What decides on a node whether daemons run there."""
    return {"metadata": {"name": node.name, "labels": node.labels}, "spec": {"taints": node.taints}}


_KINDS = frozenset(
    (
        "CSIDriver",
        "CSINode",
        "CSIStorageCapacity",
        "DaemonSet",
        "DeviceClass",
        "LimitRange",
        "Namespace",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "PodGroup",
        "PriorityClass",
        "ResourceClaim",
        "ResourceClaimTemplate",
        "ResourceSlice",
        "StorageClass",
    )
)
