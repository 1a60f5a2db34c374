"""ReplicaSets: as many pods of a template as asked for.

Source: ReplicaSet documentation and API reference; which pods go first when there are too many: "Scaling a ReplicaSet"
and the annotation controller.kubernetes.io/pod-deletion-cost.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from hawser.api.errors import APIError
from hawser.api.kinds import POD, REPLICA_SET
from hawser.api.selectors import LabelSelector
from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp, timestamp
from hawser.client.controller import Controller, Manager, controller_of
from hawser.controllers import pods

BURST = 500
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a ReplicaSet needs now.

    adopt: matching pods without a controller. release: own pods that no longer match. create: how many pods.
    delete: these pods. look_again: seconds until a pod becomes available by time alone, or None.
    """

    adopt: tuple[Obj, ...] = ()
    release: tuple[Obj, ...] = ()
    create: int = 0
    delete: tuple[Obj, ...] = ()
    look_again: float | None = None


def plan(rs: Obj, owned: Sequence[Obj], orphans: Iterable[Obj], now: datetime) -> Plan:
    """Pure decision. owned: pods whose controller is rs; orphans: pods of the namespace without a controller."""
    selector = LabelSelector.from_object(rs["spec"].get("selector"))
    deleting = rs["metadata"].get("deletionTimestamp") is not None
    mine = [p for p in owned if selector.matches(p["metadata"].get("labels"))]
    if deleting:
        # Its pods stay its own, so that they go with it.
        return Plan()
    release = tuple(p for p in owned if not selector.matches(p["metadata"].get("labels")))
    adopt = tuple(p for p in orphans if pods.is_active(p) and selector.matches(p["metadata"].get("labels")))
    active = [p for p in (*mine, *adopt) if pods.is_active(p)]
    waits = [pods.available_in(p, min_ready_seconds(rs), now) for p in active]
    look_again = min((w for w in waits if w), default=None)
    missing = int(rs["spec"].get("replicas", 1)) - len(active)
    return Plan(
        adopt=adopt,
        release=release,
        create=min(max(missing, 0), BURST),
        delete=tuple(first_to_go(active, now)[: min(max(-missing, 0), BURST)]),
        look_again=look_again,
    )


def min_ready_seconds(rs: Obj) -> int:
    return int(rs["spec"].get("minReadySeconds") or 0)


def first_to_go(active: Sequence[Obj], now: datetime) -> list[Obj]:
    """The pods in the order in which too many are deleted.

    Times count by their order of magnitude: among pods of about the same age it is the uid, as good as chance, that
    decides (KEP-2185).
    """
    on_node: dict[str, int] = {}
    for pod in active:
        node = pod["spec"].get("nodeName", "")
        on_node[node] = on_node.get(node, 0) + 1

    def rank(pod: Obj) -> tuple[object, ...]:
        spec, status = pod["spec"], pod.get("status", {})
        ready = pods.is_ready(pod)
        found = pods.condition(pod, "Ready") or {}
        counts = (int(c.get("restartCount", 0)) for c in status.get("containerStatuses") or ())
        phases = {"Pending": 0, "Unknown": 1, "Running": 2}
        return (
            bool(spec.get("nodeName")),
            phases.get(status.get("phase", "Pending"), 0),
            ready,
            deletion_cost(pod),
            -on_node[spec.get("nodeName", "")],
            _magnitude(found.get("lastTransitionTime"), now) if ready else 0,
            -max(counts, default=0),
            _magnitude(pod["metadata"].get("creationTimestamp"), now),
            pod["metadata"]["uid"],
        )

    return sorted(active, key=rank)


def deletion_cost(pod: Obj) -> int:
    """The pod's deletion cost; what is not an int32 counts as 0."""
    text = (pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0


def _magnitude(moment: str | None, now: datetime) -> int:
    """The binary logarithm of an age in nanoseconds, rounded down; -1 for no age at all."""
    age = (now - parse_timestamp(moment)).total_seconds() if moment else 0.0
    return int(math.log2(age * 1e9)) if age > 0 else -1


def status(rs: Obj, owned: Sequence[Obj], failure: Obj | None, now: datetime) -> Obj:
    """The ReplicaSetStatus for its pods. failure: a ReplicaFailure condition's reason and message, or None."""
    active = [p for p in owned if pods.is_active(p)]
    labels = rs["spec"].get("template", {}).get("metadata", {}).get("labels") or {}
    made: Obj = {"replicas": len(active)}
    counts = {
        "fullyLabeledReplicas": sum(labels.items() <= (p["metadata"].get("labels") or {}).items() for p in active),
        "readyReplicas": sum(pods.is_ready(p) for p in active),
        "availableReplicas": sum(pods.available_in(p, min_ready_seconds(rs), now) == 0 for p in active),
        "terminatingReplicas": sum(pods.is_terminating(p) and not pods.has_ended(p) for p in owned),
    }
    made.update({name: count for name, count in counts.items() if count})
    made["observedGeneration"] = rs["metadata"].get("generation", 0)
    # Conditions of other types are someone else's.
    conditions = [c for c in rs.get("status", {}).get("conditions") or () if c.get("type") != "ReplicaFailure"]
    if failure is not None:
        old = pods.condition(rs, "ReplicaFailure")
        since = old["lastTransitionTime"] if old else timestamp(now)
        conditions.append({"type": "ReplicaFailure", "status": "True", "lastTransitionTime": since, **failure})
    if conditions:
        made["conditions"] = conditions
    return made


class ReplicaSetController(Controller):
    """See the module."""

    name = "replicaset-controller"
    workers = 5

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._recorder = manager.recorder("replicaset-controller")
        self._sets = manager.informer(REPLICA_SET)
        self._pods = manager.informer(POD)
        self._pods.add_index("owner", pods.owner_uids)
        self._pods.add_index("orphan", lambda p: [] if controller_of(p) else [p["metadata"]["namespace"]])
        # Uids of pods that the server has removed and the watch has not yet told of.
        self._gone: set[str] = set()
        self._sets.on_change(self.enqueue)
        self._pods.on_change(self._forget_gone)
        self._pods.on_change(self.enqueue_owner("ReplicaSet"))
        self._pods.on_change(self._enqueue_adopters)

    def _forget_gone(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None:
            self._gone.discard(old["metadata"]["uid"])

    def _enqueue_adopters(self, old: Obj | None, new: Obj | None) -> None:
        if new is None or controller_of(new) is not None:
            return
        fields = ("labels", "ownerReferences")
        if old is not None and all(old["metadata"].get(f) == new["metadata"].get(f) for f in fields):
            return
        labels = new["metadata"].get("labels")
        for rs in self._sets.list(new["metadata"]["namespace"]):
            if labels and LabelSelector.from_object(rs["spec"].get("selector")).matches(labels):
                self.enqueue(None, rs)

    async def reconcile(self, key: str) -> float | None:
        rs = self._sets.get_key(key)
        if rs is None:
            return None
        uid = rs["metadata"]["uid"]
        now = self._clock.now()
        todo = plan(rs, self._owned(uid), self._pods.by_index("orphan", rs["metadata"]["namespace"]), now)
        if todo.adopt and not await pods.may_adopt(self._client, REPLICA_SET, rs):
            return None  # the watch brings what the cache does not know yet
        for pod in todo.release:
            await self._set_owner(pod, {"$patch": "delete", "uid": uid})
        for pod in todo.adopt:
            await self._set_owner(pod, pods.owner_reference(rs))
        failure = await self._create(rs, todo.create) or await self._delete(rs, todo.delete)
        await self._write_status(rs, failure)
        if failure is not None:
            raise APIError(500, failure["reason"], failure["message"])
        return todo.look_again

    def _owned(self, uid: str) -> list[Obj]:
        return [p for p in self._pods.by_index("owner", uid) if p["metadata"]["uid"] not in self._gone]

    async def _set_owner(self, pod: Obj, reference: Obj) -> None:
        metadata = pod["metadata"]
        body = {"metadata": {"uid": metadata["uid"], "ownerReferences": [reference]}}
        try:
            changed = await self._client.patch(
                POD, metadata["name"], metadata["namespace"], body, type="application/strategic-merge-patch+json"
            )
        except APIError as e:
            if e.code not in (404, 422):
                raise
            return  # gone, or another one of that name: the watch tells
        self._pods.observe(changed)

    async def _create(self, rs: Obj, count: int) -> Obj | None:
        """Creates pods in batches that double, so that what fails always fails once and not 500 times."""
        body = pods.from_template(rs, rs["spec"]["template"]) if count else {}
        batch = 1
        while count:
            batch = min(batch, count)
            answers = await asyncio.gather(*(self._create_one(rs, body) for _ in range(batch)))
            failure = next((a for a in answers if a is not None), None)
            if failure is not None:
                return failure or None
            count -= batch
            batch *= 2
        return None

    async def _create_one(self, rs: Obj, body: Obj) -> Obj | None:
        """None when it is there, why not otherwise; {} when the namespace is going, which is no failure."""
        try:
            made = await self._client.create(POD, body)
        except APIError as e:
            if any(c.get("reason") == "NamespaceTerminating" for c in (e.details or {}).get("causes") or ()):
                return {}
            self._recorder.event(rs, "Warning", "FailedCreate", f"Error creating: {e.message}")
            return {"reason": "FailedCreate", "message": e.message}
        self._pods.observe(made)
        self._recorder.event(rs, "Normal", "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")
        return None

    async def _delete(self, rs: Obj, doomed: Sequence[Obj]) -> Obj | None:
        answers = await asyncio.gather(*(self._delete_one(rs, pod) for pod in doomed))
        return next((a for a in answers if a is not None), None)

    async def _delete_one(self, rs: Obj, pod: Obj) -> Obj | None:
        metadata = pod["metadata"]
        try:
            answer = await self._client.delete(POD, metadata["name"], metadata["namespace"], uid=metadata["uid"])
        except APIError as e:
            if e.code in (404, 409):
                self._note_gone(pod)
                return None
            self._recorder.event(rs, "Warning", "FailedDelete", f"Error deleting: {e.message}")
            return {"reason": "FailedDelete", "message": e.message}
        if answer.get("kind") == "Pod" and answer["metadata"].get("deletionTimestamp"):
            self._pods.observe(answer)
        else:
            self._note_gone(pod)
        self._recorder.event(rs, "Normal", "SuccessfulDelete", f"Deleted pod: {metadata['name']}")
        return None

    def _note_gone(self, pod: Obj) -> None:
        """The pod does not count any more, although the cache may have it for a moment."""
        metadata = pod["metadata"]
        known = self._pods.get(metadata["namespace"], metadata["name"])
        if known is not None and known["metadata"]["uid"] == metadata["uid"]:
            self._gone.add(metadata["uid"])

    async def _write_status(self, rs: Obj, failure: Obj | None) -> None:
        now = self._clock.now()
        wanted = status(rs, self._owned(rs["metadata"]["uid"]), failure, now)
        if wanted == rs.get("status"):
            return
        try:
            self._sets.observe(await self._client.update(REPLICA_SET, {**rs, "status": wanted}, subresource="status"))
        except APIError as e:
            if e.code != 404:
                raise
