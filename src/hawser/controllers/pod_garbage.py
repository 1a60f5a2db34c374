"""Pod garbage: pods whose node is gone, that nobody will ever stop, and those that ended when they are too many.

Source: Kubernetes documentation, "Garbage collection of Pods", "Non-graceful node shutdown handling", and "Pod
disruption conditions".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import NODE, POD
from hawser.api.status import has_ended, observed
from hawser.api.types import Obj
from hawser.client.clock import timestamp
from hawser.client.controller import Controller, Manager, attempt
from hawser.controllers.pods import is_terminating, set_conditions
from hawser.controllers.zones import ready_status
from hawser.series import Counters

THRESHOLD = 12500
PERIOD = 20.0
QUARANTINE = 40.0
"""Seconds that a node may be unknown before it is asked for."""
_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


class Why(StrEnum):
    """Why a pod is garbage, in the words of kube-controller-manager's metrics."""

    TERMINATED = "terminated"
    ORPHANED = "orphaned"
    OUT_OF_SERVICE = "out-of-service"
    UNSCHEDULED = "unscheduled"


@dataclass(frozen=True, slots=True)
class Garbage:
    """A pod that is to go by force."""

    pod: Obj
    why: Why


def plan(pods: Sequence[Obj], nodes: Mapping[str, Obj], gone: frozenset[str], threshold: int) -> list[Garbage]:
    """The pods to remove.

    nodes: by name; gone: nodes that are certainly no more. threshold: pods that ended and may stay; 0: all.
    """
    found: list[Garbage] = []
    ended = [pod for pod in pods if has_ended(pod)]
    if threshold > 0 and len(ended) > threshold:
        ended.sort(key=_first_to_go)
        found += [Garbage(pod, Why.TERMINATED) for pod in ended[: len(ended) - threshold]]
    for pod in pods:
        name = pod["spec"].get("nodeName") or ""
        if name in gone:
            found.append(Garbage(pod, Why.ORPHANED))
        elif is_terminating(pod) and not name:
            found.append(Garbage(pod, Why.UNSCHEDULED))
        elif is_terminating(pod) and name in nodes and _is_out_of_service(nodes[name]):
            found.append(Garbage(pod, Why.OUT_OF_SERVICE))
    return found


def _first_to_go(pod: Obj) -> tuple[bool, str, str]:
    status, metadata = pod.get("status") or {}, pod["metadata"]
    evicted = status.get("phase") == "Failed" and status.get("reason") == "Evicted"
    return not evicted, metadata.get("creationTimestamp") or "", metadata["name"]


def _is_out_of_service(node: Obj) -> bool:
    taints = (node.get("spec") or {}).get("taints") or ()
    return ready_status(node) != "True" and any(t["key"] == _OUT_OF_SERVICE for t in taints)


class PodGarbageCollector(Controller):
    """Looks at all pods every 20 seconds, as kube-controller-manager does."""

    name = "pod-garbage-collector-controller"
    workers = 0

    def __init__(self, threshold: int = THRESHOLD) -> None:
        self._threshold = threshold

    def configure(self, options: Mapping[str, Any]) -> None:
        self._threshold = options["terminated_pod_gc_threshold"]

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._missing: dict[str, float] = {}
        labels, prefix = ("namespace", "reason"), "pod_gc_collector_force_delete"
        text = "Number of pods that are being forcefully deleted since the Pod GC Controller started."
        self._deletions = Counters(f"{prefix}_pods_total", text, labels)
        text = "Number of errors encountered when forcefully deleting the pods since the Pod GC Controller started."
        self._errors = Counters(f"{prefix}_pod_errors_total", text, labels)
        self._nodes = manager.informer(NODE)
        self._pods = manager.informer(POD)

    def exposed(self) -> Iterable[str]:
        yield from self._deletions.lines()
        yield from self._errors.lines()

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            await attempt(self.name, self.collect)
            await self._clock.sleep(PERIOD)

    async def collect(self) -> None:
        """Removes what is garbage now. Raises APIError."""
        pods = self._pods.list()
        nodes = {node["metadata"]["name"]: node for node in self._nodes.list()}
        gone = await self._gone({pod["spec"].get("nodeName") or "" for pod in pods} - nodes.keys() - {""})
        for garbage in plan(pods, nodes, gone, self._threshold):
            await self._remove(garbage)

    async def _gone(self, unknown: set[str]) -> frozenset[str]:
        """Of the nodes that pods name and nobody knows, those that are no more: unknown for a while, and asked for."""
        now = self._clock.monotonic()
        self._missing = {name: self._missing.get(name, now) for name in unknown}
        ripe = [name for name, since in self._missing.items() if now - since >= QUARANTINE]
        return frozenset([name for name in ripe if not await self._exists(name)])

    async def _exists(self, name: str) -> bool:
        try:
            await self._client.get(NODE, name)
        except APIError as err:
            if err.code != 404:
                raise
            return False
        return True

    async def _remove(self, garbage: Garbage) -> None:
        metadata = garbage.pod["metadata"]
        labels = metadata["namespace"], garbage.why.value
        self._deletions.add(*labels)
        if not has_ended(garbage.pod):
            # Whoever waits for the pod's end must see one: no agent will tell it any more.
            conditions = [self._condition(garbage.pod)] if garbage.why is Why.ORPHANED else []
            if not await set_conditions(self._client, garbage.pod, *conditions, phase="Failed"):
                return
        try:
            await self._client.delete(POD, metadata["name"], metadata["namespace"], 0, uid=metadata["uid"])
        except APIError as err:
            if err.code not in (404, 409):
                self._errors.add(*labels)
                raise

    def _condition(self, pod: Obj) -> Obj:
        return {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists",
            "lastTransitionTime": timestamp(self._clock.now()),
            **observed(pod),
        }
