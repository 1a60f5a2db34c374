"""How long agents may keep what they know of Secrets and ConfigMaps: an annotation of nodes, longer in large clusters.

Source: kube-controller-manager's ttl-controller; annotation node.alpha.kubernetes.io/ttl.
"""

from __future__ import annotations

from hawser.api.errors import ignoring
from hawser.api.kinds import NODE
from hawser.api.types import Obj
from hawser.client.client import STRATEGIC
from hawser.client.controller import Controller, Manager
from hawser.client.informer import key_of

ANNOTATION = "node.alpha.kubernetes.io/ttl"
_STEPS = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 2**31 - 1, 300))
"""Least and most nodes, and seconds. The ranges overlap, so that a node more or less does not change all nodes."""


def step(nodes: int, current: int) -> int:
    """The step for so many nodes, coming from another one."""
    while nodes > _STEPS[current][1]:
        current += 1
    while nodes < _STEPS[current][0]:
        current -= 1
    return current


class NodeTTLController(Controller):
    """See the module."""

    name = "ttl-controller"

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._step = 0
        self._nodes = manager.informer(NODE)
        self._nodes.on_change(self._changed)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        now = step(len(self._nodes), self._step)
        if now != self._step:
            self._step = now
            for node in self._nodes.list():
                self.queue.add(key_of(node))
        if new is not None and self._is_due(new):
            self.queue.add(key_of(new))

    def _is_due(self, node: Obj) -> bool:
        return (node["metadata"].get("annotations") or {}).get(ANNOTATION) != str(_STEPS[self._step][2])

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get_key(key)
        if node is None or not self._is_due(node):
            return None
        body = {"metadata": {"annotations": {ANNOTATION: str(_STEPS[self._step][2])}}}
        with ignoring(404):
            self._nodes.observe(await self._client.patch(NODE, key, None, body, STRATEGIC))
        return None
