"""What informers tell the scheduler: keeps cache and queue right, and wakes pods that a change may help."""

from __future__ import annotations

from collections.abc import Callable, Collection

from hawser.api.kinds import NAMESPACE, NODE, POD
from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.client.controller import Manager
from hawser.client.informer import key_of
from hawser.scheduler import hints
from hawser.scheduler.cache import Cache, NodeInfo, relevant
from hawser.scheduler.filters import Refusal
from hawser.scheduler.hints import Hints
from hawser.scheduler.preparing import Preparations
from hawser.scheduler.profile import DEFAULT_SCHEDULER
from hawser.scheduler.queue import SchedulingQueue
from hawser.scheduler.shapes import PodInfo


class Watching:
    """Handlers of nodes, pods and namespaces.

    schedulers: the names whose pods are placed here. forget: called when labels of namespaces have changed.
    preparations: of pods that are not bound yet. refusal: see Hints.
    """

    def __init__(
        self,
        manager: Manager,
        cache: Cache,
        queue: SchedulingQueue,
        schedulers: Collection[str],
        forget: Callable[[], None],
        preparations: Preparations,
        refusal: Callable[[PodInfo, NodeInfo], Refusal | None],
    ) -> None:
        self._cache = cache
        self._queue = queue
        self._schedulers = schedulers
        self._forget = forget
        self._preparations = preparations
        self.hints = Hints(refusal, self.namespace_labels)
        self._namespaces = manager.informer(NAMESPACE)
        self.pods = manager.informer(POD)
        manager.informer(NODE).on_change(self._node_changed)
        self._namespaces.on_change(self._namespace_changed)
        self.pods.on_change(self._pod_changed)

    def namespace_labels(self, name: str) -> dict[str, str]:
        """The labels of a namespace."""
        namespace = self._namespaces.get(None, name)
        return (namespace or {}).get("metadata", {}).get("labels") or {}

    def _namespace_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and old["metadata"].get("labels") != new["metadata"].get("labels"):
            self._forget()
            self._queue.wake(hints.refused_by("InterPodAffinity"), "NamespaceUpdate")

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            assert old is not None
            name = old["metadata"]["name"]
            placed = bool(self._cache.nodes[name].pods)
            self._cache.remove_node(name)
            self._queue.wake(hints.node_went(placed), "NodeDelete")
            return
        *before, images_before = relevant(old) if old is not None else (None, None)
        *after, images_after = relevant(new)
        if before == after and images_before == images_after:
            return
        self._cache.set_node(new)
        # Images only make nodes better.
        if before != after:
            node = self._cache.nodes[new["metadata"]["name"]]
            relabelled = old is None or old["metadata"].get("labels") != new["metadata"].get("labels")
            event = "NodeAdd" if old is None else "NodeUpdate"
            self._queue.wake(self.hints.node_changed(node, relabelled=relabelled), event)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None or has_ended(new):
            obj = new if new is not None else old
            assert obj is not None
            self._pod_gone(key_of(obj))
            return
        key = key_of(new)
        if old is not None and only_status(old, new):
            if new["spec"].get("resourceClaims") and _claimed(old) != _claimed(new):
                self._queue.wake_one(key)
            return
        node = new["spec"].get("nodeName")
        if node:
            self._pod_placed(self._cache.shapes.pod(new), node)
        elif not self.is_waiting(new):
            self._drop(key)
        elif not self._cache.is_placed(key):
            pod, before = self._cache.shapes.pod(new), self._queue.get(key)
            known = before.pod.gang if before is not None else ""
            self._queue.add(pod)
            if pod.gang and pod.gang != known:
                # Perhaps the one that the others of its group wait for.
                self._queue.wake(lambda other, plugins: other.gang == pod.gang, "UnscheduledPodAdd")
            if pod.nominated or self._cache.nomination(key):
                # Room is kept for it as it is now.
                self._cache.nominate(pod, pod.nominated)
        elif key in self._queue:
            # Should its binding fail, it is tried again as it is now.
            self._queue.add(self._cache.shapes.pod(new))

    def _pod_gone(self, key: str) -> None:
        self._drop(key)
        self._vacate(key)

    def _vacate(self, key: str) -> None:
        """The pod leaves its node, if it has one: others may have its place."""
        node = self._cache.node_of(key)
        if node is None:
            return
        left = node.pods[key]
        self._cache.remove_pod(key)
        self._queue.wake(self.hints.room_made(node, left), "AssignedPodDelete")

    def _drop(self, key: str) -> None:
        """The pod is not to be placed any more; others may have the room that was kept for it."""
        entry = self._queue.get(key)
        if entry is None:
            return
        self._queue.delete(key)
        if self._cache.is_assumed(key):
            # It is never going to be bound.
            self._preparations.call_off(entry.pod.uid)
            self._vacate(key)
        node = self._cache.nodes.get(self._cache.nomination(key))
        if node is not None:
            self._cache.nominate(entry.pod, "")
            self._queue.wake(self.hints.node_changed(node), "UnscheduledPodDelete")

    def _pod_placed(self, pod: PodInfo, node_name: str) -> None:
        self._queue.delete(pod.key)
        before = self._cache.node_of(pod.key)
        known = before.pods[pod.key] if before is not None and not self._cache.is_assumed(pod.key) else None
        self._cache.set_pod(pod, node_name)
        if known is None or known.group is not pod.group:
            event = "AssignedPodUpdate" if known else "AssignedPodAdd"
            before_group = known.group if known else None
            self._queue.wake(self.hints.pod_changed(before_group, pod.group), event)
        if known is not None and known.shape is not pod.shape:
            self._queue.wake(self.hints.room_made(self._cache.nodes[node_name], pod), "AssignedPodUpdate")

    def is_waiting(self, pod: Obj) -> bool:
        """Whether the pod is to be placed here now: without gates, and not on its way out."""
        spec = pod["spec"]
        return (
            (spec.get("schedulerName") or DEFAULT_SCHEDULER) in self._schedulers
            and not spec.get("schedulingGates")
            and "deletionTimestamp" not in pod["metadata"]
        )


def only_status(old: Obj, new: Obj) -> bool:
    """Whether nothing changed that placement depends on; the API server counts specs' changes in ``generation``."""
    before, after = old["metadata"], new["metadata"]
    generation = after.get("generation")
    return (
        generation is not None
        and before.get("generation") == generation
        and before.get("uid") == after.get("uid")
        and before.get("labels") == after.get("labels")
        and before.get("deletionTimestamp") == after.get("deletionTimestamp")
        and old["spec"].get("nodeName") == new["spec"].get("nodeName")
        and has_ended(old) == has_ended(new)
        and _nominated(old) == _nominated(new)
        # Only pods that were changed can be in the middle of a resize.
        and (generation == 1 or _allocated(old) == _allocated(new))
    )


def _nominated(pod: Obj) -> str:
    return (pod.get("status") or {}).get("nominatedNodeName") or ""


def _claimed(pod: Obj) -> object:
    return (pod.get("status") or {}).get("resourceClaimStatuses")


def _allocated(pod: Obj) -> list[object]:
    status = pod.get("status") or {}
    statuses = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()), status]
    return [
        [(s.get("allocatedResources"), (s.get("resources") or {}).get("requests")) for s in statuses],
        [c.get("reason") for c in status.get("conditions") or () if c.get("type") == "PodResizePending"],
    ]
