"""What the scheduler writes: bindings, why a pod has no node, and the eviction of pods that make place for others.

Source: API reference, "Binding"; Kubernetes documentation, "Pod Conditions" and "Pod Priority and Preemption".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime

from hawser.api.errors import APIError
from hawser.api.kinds import POD
from hawser.api.status import condition, observed
from hawser.api.types import Obj
from hawser.client.client import STRATEGIC
from hawser.client.clock import timestamp
from hawser.client.controller import Manager, sentence
from hawser.client.informer import Informer
from hawser.scheduler.preemption import Candidate
from hawser.scheduler.preparing import Preparations
from hawser.scheduler.queue import FIRST_BACKOFF, Entry
from hawser.scheduler.shapes import PodInfo

log = logging.getLogger(__name__)

UNSCHEDULABLE, FAILED = "Unschedulable", "SchedulerError"
"""Reasons of the PodScheduled condition: no node takes the pod; something went wrong on its way to one."""


class Writer:
    """Writes to the API about pods; events are the pod's scheduler's.

    pods: the informer of all pods. preparations: of those that are not bound yet.
    """

    def __init__(self, manager: Manager, pods: Informer, preparations: Preparations) -> None:
        self._manager = manager
        self._client = manager.client
        self._clock = manager.clock
        self._pods = pods
        self._preparations = preparations

    def event(self, pod: PodInfo, kind: str, reason: str, message: str, scheduler: str = "") -> None:
        """Reports an event of the pod. scheduler: who says so, without one the pod's own."""
        reference = {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid}
        recorder = self._manager.recorder(scheduler or pod.shape.scheduler)
        recorder.event({"apiVersion": "v1", "kind": "Pod", "metadata": reference}, kind, reason, message)

    async def bind(self, pod: PodInfo, node: str) -> None:
        """Assigns the pod to the node. Raises what the client raises."""
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self._client.post_subresource(POD, pod.name, pod.namespace, "binding", binding)
        self.event(pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node}")

    async def report(
        self, entry: Entry, message: str, nominated: str | None = None, reason: str = UNSCHEDULABLE
    ) -> None:
        """Says why the pod has no node: in an event, and in its PodScheduled condition.

        nominated: the node that is promised to it, "" for none any more; None leaves that as it is. reason: of the
        condition.
        """
        pod = entry.pod
        now = self._clock.monotonic()
        known = self._pods.get_key(pod.key)
        status: Obj = {}
        promised = ((known or {}).get("status") or {}).get("nominatedNodeName") or ""
        if known is not None and nominated not in (None, promised):
            status["nominatedNodeName"] = nominated or None
        if message == entry.message and now < entry.reported + FIRST_BACKOFF and not status:
            return
        entry.message, entry.reported = message, now
        self.event(pod, "Warning", "FailedScheduling", message)
        refused = unscheduled(known, reason, message, self._clock.now()) if known is not None else None
        if refused is not None:
            status["conditions"] = [refused]
        if not status:
            return
        try:
            await self._patch_status(pod, status)
        except Exception as err:
            if not (isinstance(err, APIError) and err.code in (404, 409)):
                log.warning("the condition of pod %s is not written: %s", pod.key, sentence(err))
                entry.message = ""

    async def expect(self, pod: PodInfo, node: str) -> None:
        """Says where the pod is going to be bound when something takes its time before (KEP-5278)."""
        try:
            self._pods.observe(await self._patch_status(pod, {"nominatedNodeName": node}))
        except APIError as err:
            # The binding does not depend on it.
            log.warning("nobody is told that pod %s is to be bound to %s: %s", pod.key, node, err.message)

    async def withdraw(self, pods: Iterable[PodInfo]) -> None:
        """Takes back from pods the node that they were promised."""
        for pod in pods:
            try:
                await self._patch_status(pod, {"nominatedNodeName": None})
            except APIError as err:
                if err.code not in (404, 409):
                    log.warning("pod %s keeps the node that it was promised: %s", pod.key, err.message)

    async def evict(self, pod: PodInfo, candidate: Candidate) -> bool:
        """Makes the victims leave for the pod, all at once; who is being prepared goes back to the queue.

        Returns whether they are going, all of them.
        """
        victims = [victim for victim in candidate.victims if not victim.group.leaving]
        return all(await asyncio.gather(*(self._evict(victim, pod, candidate.node) for victim in victims)))

    async def _evict(self, victim: PodInfo, pod: PodInfo, node: str) -> bool:
        message = f"Preempted by pod {pod.uid} on node {node}"
        if self._preparations.call_off(victim.uid):
            message += " (in kube-scheduler memory)."
        else:
            try:
                await self._delete(victim, pod)
            except APIError as err:
                if err.code in (404, 409):
                    return True
                log.warning("pod %s does not make place for %s: %s", victim.key, pod.key, err.message)
                return False
        self.event(victim, "Normal", "Preempted", message, pod.shape.scheduler)
        return True

    async def _delete(self, victim: PodInfo, pod: PodInfo) -> None:
        """Deletes a pod that makes place for another. Raises APIError."""
        target = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{pod.shape.scheduler}: preempting to accommodate a higher priority pod",
            "lastProbeTime": None,
            "lastTransitionTime": timestamp(self._clock.now()),
        }
        target |= observed(self._pods.get_key(victim.key) or {})
        await self._patch_status(victim, {"conditions": [target]})
        gone = await self._client.delete(POD, victim.name, victim.namespace, uid=victim.uid)
        if gone.get("kind") == "Pod" and gone["metadata"].get("deletionTimestamp"):
            # Known at once: whoever it leaves for waits for it, and makes no other leave.
            self._pods.observe(gone)

    async def _patch_status(self, pod: PodInfo, status: Obj) -> Obj:
        body = {"metadata": {"uid": pod.uid}, "status": status}
        return await self._client.patch(POD, pod.name, pod.namespace, body, type=STRATEGIC, subresource="status")


def unscheduled(pod: Obj, reason: str, message: str, now: datetime) -> Obj | None:
    """The PodScheduled condition that says so, or None when the pod has it already."""
    known = condition(pod, "PodScheduled") or {}
    says = {"status": "False", "reason": reason, "message": message, **observed(pod)}
    if says.items() <= known.items():
        return None
    since = known.get("lastTransitionTime") if known.get("status") == "False" else None
    return {"type": "PodScheduled", **says, "lastProbeTime": None, "lastTransitionTime": since or timestamp(now)}
