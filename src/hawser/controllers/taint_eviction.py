"""Taint eviction: pods leave a node when they do not, or do not any longer, tolerate its NoExecute taints.

A pod's time runs from when this controller sees the taint; it ends with the taint.

Source: Kubernetes documentation, "Taint based Evictions" and "Pod disruption conditions".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hawser.api.kinds import NODE, POD
from hawser.api.taints import NO_EXECUTE, tolerates
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.client.informer import key_of
from hawser.controllers.pods import by_node, evict

_MESSAGE = "Taint manager: deleting due to NoExecute taint"


def patience(tolerations: Sequence[Obj], taints: Sequence[Obj]) -> float:
    """Seconds that a pod may stay: 0 when it does not tolerate a taint, infinite when it tolerates all for good.

    taints: the node's with effect NoExecute.
    """
    longest = math.inf
    for taint in taints:
        matching = [t for t in tolerations if tolerates(t, taint)]
        if not matching:
            return 0.0
        limits = [t["tolerationSeconds"] for t in matching if t.get("tolerationSeconds") is not None]
        longest = min(longest, *(max(0.0, float(limit)) for limit in limits), math.inf)
    return longest


def execute_taints(node: Obj | None) -> list[Obj]:
    """A node's taints that make pods leave."""
    return [t for t in ((node or {}).get("spec") or {}).get("taints") or () if t.get("effect") == NO_EXECUTE]


class TaintEvictionController(Controller):
    """Keeps, by pod, when it has to leave."""

    name = "taint-eviction-controller"
    workers = 4

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._recorder = manager.recorder("taint-eviction-controller")
        self._deadlines: dict[tuple[str, str], float] = {}
        self._nodes = manager.informer(NODE)
        self._pods = by_node(manager.informer(POD))
        self._nodes.on_change(self._node_changed)
        self._pods.on_change(self._pod_changed)

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.get_key(key)
        if pod is None:
            self._forget(key)
            return None
        mark = key, str(pod["metadata"]["uid"])
        taints = execute_taints(self._nodes.get(None, pod["spec"].get("nodeName") or ""))
        stays = patience(pod["spec"].get("tolerations") or (), taints)
        now = self._clock.monotonic()
        if math.isinf(stays):
            if self._deadlines.pop(mark, None) is not None:
                self._recorder.event(pod, "Normal", "TaintManagerEviction", f"Cancelling deletion of Pod {key}")
            return None
        # A time that runs goes on, whatever is changed meanwhile, unless the pod has to leave at once.
        deadline = min(self._deadlines.setdefault(mark, now + stays), now + stays)
        if deadline > now:
            return deadline - now
        await self._evict(key, pod)
        self._deadlines.pop(mark, None)
        return None

    def _forget(self, key: str) -> None:
        for mark in [mark for mark in self._deadlines if mark[0] == key]:
            del self._deadlines[mark]

    async def _evict(self, key: str, pod: Obj) -> None:
        if "deletionTimestamp" in pod["metadata"]:
            return
        self._recorder.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {key}")
        await evict(self._client, pod, "DeletionByTaintManager", _MESSAGE, self._clock.now())

    # What the informers tell

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        if execute_taints(old) != execute_taints(new):
            name = (new or old or {})["metadata"]["name"]
            self._queue(self._pods.by_index("node", name))

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is None and new is not None and not execute_taints(self._nodes.get(None, _node_of(new))):
            return
        if old is None or new is None or _asked(old) != _asked(new):
            self._queue(obj for obj in (old, new) if obj is not None)

    def _queue(self, pods: Iterable[Obj]) -> None:
        for pod in pods:
            if _node_of(pod):
                self.queue.add(key_of(pod))


def _node_of(pod: Obj) -> str:
    return str(pod["spec"].get("nodeName") or "")


def _asked(pod: Obj) -> tuple[object, ...]:
    return _node_of(pod), pod["spec"].get("tolerations"), pod["metadata"]["uid"]
