"""The scheduler: takes pods without a node from the API, decides, and writes bindings.

Source: Kubernetes documentation, "Kubernetes Scheduler", "Pod Scheduling Readiness", and API reference, "Binding".
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from datetime import datetime

from hawser.api.errors import APIError
from hawser.api.kinds import NAMESPACE, NODE, POD
from hawser.api.types import Obj
from hawser.client.client import STRATEGIC
from hawser.client.clock import timestamp
from hawser.client.controller import Controller, Manager, sentence
from hawser.client.informer import key_of, split_key
from hawser.scheduler.cache import Cache, relevant
from hawser.scheduler.placement import Decision, Placement
from hawser.scheduler.queue import FIRST_BACKOFF, Entry, SchedulingQueue
from hawser.scheduler.shapes import PodInfo

log = logging.getLogger(__name__)

NAME = "default-scheduler"
BINDINGS_AT_ONCE = 32

_Likeness = tuple[object, ...]


class Scheduler(Controller):
    """One loop that decides, pod by pod, and bindings that are written beside it.

    rng: breaks ties between equally good nodes.
    """

    name = "scheduler"
    workers = 0

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng

    def setup(self, manager: Manager) -> None:
        self._manager = manager
        self._client = manager.client
        self._clock = manager.clock
        self._recorder = manager.recorder(NAME)
        self._cache = Cache()
        self._waiting = SchedulingQueue(manager.clock)
        self._namespaces = manager.informer(NAMESPACE)
        self._placement = Placement(self._cache, self._rng, self._namespace_labels)
        # What found no place in which state of the cache: the same pod need not be tried twice in it.
        self._refused: dict[_Likeness, tuple[int, str]] = {}
        manager.informer(NODE).on_change(self._node_changed)
        self._pods = manager.informer(POD)
        self._pods.on_change(self._pod_changed)

    async def run(self) -> None:
        """Places pods until it is cancelled."""
        slots = asyncio.Semaphore(BINDINGS_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await slots.acquire()
                entry = await self._waiting.pop()
                tasks.create_task(self._place(entry)).add_done_callback(lambda _: slots.release())
                # Lets the binding start, and events in.
                await asyncio.sleep(0)

    def _place(self, entry: Entry) -> Coroutine[None, None, None]:
        """Decides for one pod; returns what is to be written about it."""
        pod = entry.pod
        decision = self._decide(pod)
        if decision.node is None:
            self._waiting.park(entry)
            return self._report(entry, decision.message)
        self._cache.assume(pod, decision.node)
        return self._bind(entry, decision.node)

    def _decide(self, pod: PodInfo) -> Decision:
        likeness = (pod.shape, pod.namespace, *sorted(pod.labels.items()))
        generation, message = self._refused.get(likeness, (-1, ""))
        if generation == self._cache.generation:
            return Decision(None, message)
        decision = self._placement.decide(pod)
        if decision.node is None:
            if len(self._refused) > 1000:
                self._refused.clear()
            self._refused[likeness] = (self._cache.generation, decision.message)
        return decision

    async def _bind(self, entry: Entry, node: str) -> None:
        pod = entry.pod
        namespace, name = split_key(pod.key)
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._client.post_subresource(POD, name, namespace, "binding", binding)
        except Exception as err:
            self._cache.forget(pod.key)
            if isinstance(err, APIError) and err.code == 404:
                self._waiting.delete(pod.key)
                return
            log.warning("pod %s is not bound to %s: %s", pod.key, node, sentence(err))
            self._recorder.event(_reference(pod), "Warning", "FailedScheduling", f"binding rejected: {sentence(err)}")
            self._waiting.delay(entry)
            return
        self._waiting.delete(pod.key)
        self._recorder.event(_reference(pod), "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node}")

    async def _report(self, entry: Entry, message: str) -> None:
        """Says why the pod has no node: in an event, and in its PodScheduled condition."""
        pod = entry.pod
        now = self._clock.monotonic()
        if message == entry.message and now < entry.reported + FIRST_BACKOFF:
            return
        entry.message, entry.reported = message, now
        self._recorder.event(_reference(pod), "Warning", "FailedScheduling", message)
        obj = self._pods.get_key(pod.key)
        condition = unschedulable_condition(obj, message, self._clock.now()) if obj is not None else None
        if condition is None:
            return
        namespace, name = split_key(pod.key)
        body = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(POD, name, namespace, body, type=STRATEGIC, subresource="status")
        except Exception as err:
            if not (isinstance(err, APIError) and err.code in (404, 409)):
                log.warning("the condition of pod %s is not written: %s", pod.key, sentence(err))
                entry.message = ""

    # What the informers tell

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            assert old is not None
            self._cache.remove_node(old["metadata"]["name"])
            self._waiting.wake(lambda pod: bool(pod.shape.spread))
        elif old is None or relevant(old) != relevant(new):
            self._cache.set_node(new)
            self._waiting.wake()

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None or _has_ended(new):
            obj = new if new is not None else old
            assert obj is not None
            key = key_of(obj)
            self._waiting.delete(key)
            if self._cache.is_placed(key):
                self._cache.remove_pod(key)
                self._waiting.wake()
            return
        if old is not None and _only_status(old, new):
            return
        node = new["spec"].get("nodeName")
        key = key_of(new)
        if node:
            self._waiting.delete(key)
            self._cache.set_pod(self._cache.shapes.pod(new), node)
            self._waiting.wake(lambda pod: bool(pod.shape.affinity or pod.shape.spread))
        elif is_waiting(new):
            if not self._cache.is_placed(key):
                self._waiting.add(self._cache.shapes.pod(new))
        else:
            self._waiting.delete(key)

    def _namespace_labels(self, name: str) -> dict[str, str]:
        namespace = self._namespaces.get(None, name)
        return (namespace or {}).get("metadata", {}).get("labels") or {}


def is_waiting(pod: Obj) -> bool:
    """Whether this scheduler is to place the pod now: its own, without gates, and not on its way out."""
    spec = pod["spec"]
    return (
        (spec.get("schedulerName") or NAME) == NAME
        and not spec.get("schedulingGates")
        and "deletionTimestamp" not in pod["metadata"]
    )


def unschedulable_condition(pod: Obj, message: str, now: datetime) -> Obj | None:
    """The PodScheduled condition that says so, or None when the pod has it already."""
    known: Obj = next(
        (c for c in (pod.get("status") or {}).get("conditions") or () if c.get("type") == "PodScheduled"), {}
    )
    reason = "Unschedulable"
    if (known.get("status"), known.get("reason"), known.get("message")) == ("False", reason, message):
        return None
    since = known.get("lastTransitionTime") if known.get("status") == "False" else None
    return {
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": message,
        "lastProbeTime": None,
        "lastTransitionTime": since or timestamp(now),
    }


def _has_ended(pod: Obj) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _only_status(old: Obj, new: Obj) -> bool:
    """Whether nothing changed that placement depends on; the API server counts specs' changes in ``generation``."""
    before, after = old["metadata"], new["metadata"]
    return (
        after.get("generation") is not None
        and before.get("generation") == after["generation"]
        and before.get("uid") == after.get("uid")
        and before.get("labels") == after.get("labels")
        and before.get("deletionTimestamp") == after.get("deletionTimestamp")
        and old["spec"].get("nodeName") == new["spec"].get("nodeName")
        and _has_ended(old) == _has_ended(new)
    )


def _reference(pod: PodInfo) -> Obj:
    namespace, name = split_key(pod.key)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "uid": pod.uid}}
