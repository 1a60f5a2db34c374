"""What selects the pods that a pod is one of, its Services' and its controller's; for default spread constraints.

Source: Kubernetes documentation, "Pod Topology Spread Constraints", cluster-level default constraints.
"""

from __future__ import annotations

from collections.abc import Callable

from hawser.api.kinds import REPLICA_SET, REPLICATION_CONTROLLER, SERVICE, STATEFUL_SET
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.client.controller import Manager
from hawser.client.informer import Informer
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.terms import selector_of

_OWNERS = {kind.kind: kind for kind in (REPLICA_SET, STATEFUL_SET, REPLICATION_CONTROLLER)}


class Siblings:
    """Answers from informers; owners of a kind are watched from the first pod on that has one.

    forget: called when what was answered no longer holds.
    """

    def __init__(self, manager: Manager, forget: Callable[[], None]) -> None:
        self._manager = manager
        self._services = manager.informer(SERVICE)
        self._owners: dict[str, Informer] = {}
        self._missed: set[str] = set()
        self._forget = forget
        self._services.on_change(self._service_changed)

    def __call__(self, pod: PodInfo) -> LabelSelector | None:
        """The selector, or None if nothing selects the pod."""
        kind, _, uid = pod.owner.partition("/")
        owner = None
        if kind in _OWNERS:
            owner = next(iter(self._watched(kind).by_index("uid", uid)), None)
            if owner is None:
                self._missed.add(uid)
        return selector_for(pod, self._services.list(pod.namespace), owner)

    def _watched(self, kind: str) -> Informer:
        informer = self._owners.get(kind)
        if informer is None:
            informer = self._owners[kind] = self._manager.informer(_OWNERS[kind])
            informer.add_index("uid", lambda obj: [obj["metadata"]["uid"]])
            informer.on_change(self._owner_changed)
        return informer

    def _owner_changed(self, old: Obj | None, new: Obj | None) -> None:
        """An owner that was asked for before it was known is here."""
        if self._missed and old is None and new is not None and new["metadata"]["uid"] in self._missed:
            self._missed.clear()
            self._forget()

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        if _selector(old) != _selector(new):
            self._forget()


def selector_for(pod: PodInfo, services: list[Obj], owner: Obj | None) -> LabelSelector | None:
    """What all Services that select the pod and its owner ask for; None if there are none.

    services: of the pod's namespace. owner: the ReplicaSet, StatefulSet or ReplicationController that controls it.
    """
    labels: dict[str, str] = {}
    for service in services:
        selector = _selector(service)
        if selector and all(pod.labels.get(key) == value for key, value in selector.items()):
            labels.update(selector)
    asked: Obj = (owner or {}).get("spec", {}).get("selector") or {}
    if "matchLabels" not in asked and "matchExpressions" not in asked:
        # A ReplicationController's selector is a plain map.
        labels.update(asked)
        asked = {}
    labels.update(asked.get("matchLabels") or {})
    expressions = asked.get("matchExpressions") or []
    if not labels and not expressions:
        return None
    return selector_of({"matchLabels": labels, "matchExpressions": expressions})


def _selector(service: Obj | None) -> Obj:
    return ((service or {}).get("spec") or {}).get("selector") or {}
