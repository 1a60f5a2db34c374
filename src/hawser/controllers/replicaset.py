"""ReplicaSets: as many pods of a template as asked for.

Source: ReplicaSet documentation and API reference; which pods go first when there are too many: "Scaling a ReplicaSet"
and the annotation controller.kubernetes.io/pod-deletion-cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hawser.api.errors import APIError
from hawser.api.kinds import REPLICA_SET, REPLICATION_CONTROLLER, Kind
from hawser.api.selectors import LabelSelector
from hawser.api.status import condition, is_ready
from hawser.api.types import Obj
from hawser.client.clock import parse_timestamp, timestamp
from hawser.client.controller import Controller, Manager
from hawser.controllers import pods
from hawser.controllers.own_writes import OwnWrites
from hawser.controllers.pod_control import PodControl, is_namespace_terminating
from hawser.controllers.selecting import Selecting
from hawser.controllers.tally import ACTIVE, State, Tally, count, tally_of

BURST = 500
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a ReplicaSet needs now.

    create: how many pods. delete: these pods. look_again: seconds until a pod becomes available by time alone, or None.
    """

    create: int = 0
    delete: tuple[Obj, ...] = ()
    look_again: float | None = None


def plan(rs: Obj, owned: Sequence[Obj], now: datetime, tally: Tally | None = None) -> Plan:
    """Pure decision. owned: pods whose controller is rs. tally: theirs, if it is known: then most plans need no look at
    each of them."""
    if pods.is_terminating(rs):
        # Its pods stay its own, so that they go with it.
        return Plan()
    look_again = None
    if seconds := min_ready_seconds(rs):
        waits = [pods.available_in(p, seconds, now) for p in owned if pods.is_active(p)]
        look_again = min((w for w in waits if w), default=None)
    missing = int(rs["spec"].get("replicas", 1)) - count(tally_of(owned) if tally is None else tally, *ACTIVE)
    doomed: Sequence[Obj] = ()
    if missing < 0:
        doomed = first_to_go([p for p in owned if pods.is_active(p)], now)[: min(-missing, BURST)]
    return Plan(create=min(max(missing, 0), BURST), delete=tuple(doomed), look_again=look_again)


def selector(rs: Obj) -> LabelSelector:
    """The pods it selects; a ReplicationController's selector is a plain map of labels."""
    wanted = rs["spec"].get("selector")
    if rs["kind"] == REPLICATION_CONTROLLER.kind:
        return LabelSelector.from_labels(wanted or {})
    return LabelSelector.from_object(wanted)


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
        ready = is_ready(pod)
        found = condition(pod, "Ready") or {}
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


def status(rs: Obj, owned: Sequence[Obj], failure: Obj | None, now: datetime, tally: Tally | None = None) -> Obj:
    """The ReplicaSetStatus for its pods. failure: a ReplicaFailure condition's reason and message, or None.

    tally: of the pods, if it is known.
    """
    if tally is None:
        tally = tally_of(owned)
    labels = (rs["spec"].get("template", {}).get("metadata", {}).get("labels") or {}).items()
    ready, terminating = count(tally, State.READY), count(tally, State.TERMINATING)
    labeled = count({sort: number for sort, number in tally.items() if labels <= sort.labels}, *ACTIVE)
    available = ready
    if seconds := min_ready_seconds(rs):
        available = sum(pods.is_active(pod) and pods.available_in(pod, seconds, now) == 0 for pod in owned)
    made: Obj = {"replicas": count(tally, *ACTIVE)}
    counts = {"fullyLabeledReplicas": labeled, "readyReplicas": ready, "availableReplicas": available}
    if rs["kind"] == REPLICA_SET.kind:
        counts["terminatingReplicas"] = terminating
    made.update({name: count for name, count in counts.items() if count})
    made["observedGeneration"] = rs["metadata"].get("generation", 0)
    # Conditions of other types are someone else's.
    conditions = [c for c in rs.get("status", {}).get("conditions") or () if c.get("type") != "ReplicaFailure"]
    if failure is not None:
        old = condition(rs, "ReplicaFailure")
        since = old["lastTransitionTime"] if old else timestamp(now)
        conditions.append({"type": "ReplicaFailure", "status": "True", "lastTransitionTime": since, **failure})
    if conditions:
        made["conditions"] = conditions
    return made


class ReplicaSetController(Controller):
    """See the module. Subclasses are controllers of kinds that mean the same by other fields."""

    name = "replicaset-controller"
    workers = 5
    kind: Kind = REPLICA_SET
    component = "replicaset-controller"

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._sets = manager.informer(self.kind)
        self._selecting = Selecting(self._sets, selector)
        self._pods = PodControl(manager, manager.recorder(self.component), self.kind, tallied=True)
        self._written = OwnWrites(self._sets)
        self._sets.on_change(self._set_changed)
        self._pods.informer.on_change(self.enqueue_owner(self.kind.kind))
        self._pods.on_orphan(self._enqueue_adopters)

    def _set_changed(self, old: Obj | None, new: Obj | None) -> None:
        if not self._written.has(new):
            self.enqueue(old, new)

    def _enqueue_adopters(self, pod: Obj) -> None:
        for rs in self._selecting.of(pod):
            self.enqueue(None, rs)

    async def reconcile(self, key: str) -> float | None:
        rs = self._sets.get_key(key)
        if rs is None:
            return None
        now = self._clock.now()
        mine = await self._pods.claim(rs, selector(rs))
        if mine is None:
            return None  # the watch brings what the cache does not know yet
        tally = self._pods.tally(rs["metadata"]["uid"])
        # A pod that could not be let go yet is not to be planned with.
        todo = plan(rs, mine, now, tally if sum(tally.values()) == len(mine) else None)
        failure = await self._scale(rs, todo)
        await self._write_status(rs, failure)
        if failure is not None:
            raise APIError(500, failure["reason"], failure["message"])
        return todo.look_again

    def rest(self, key: str) -> float:
        rs = self._sets.get_key(key)
        return self._pods.rest(rs["metadata"]["uid"]) if rs is not None else 0.0

    async def _scale(self, rs: Obj, todo: Plan) -> Obj | None:
        """Why it did not all go well, as a ReplicaFailure condition says it."""
        if todo.create:
            body = pods.from_template(rs, rs["spec"]["template"])
            error = await self._pods.create_all(rs, [body] * todo.create)
            reason = "FailedCreate"
        else:
            error = await self._pods.delete_all(rs, todo.delete)
            reason = "FailedDelete"
        if error is None or is_namespace_terminating(error):
            return None
        return {"reason": reason, "message": error.message}

    async def _write_status(self, rs: Obj, failure: Obj | None) -> None:
        uid = rs["metadata"]["uid"]
        wanted = status(rs, self._pods.owned(uid), failure, self._clock.now(), self._pods.tally(uid))
        if wanted == rs.get("status"):
            return
        try:
            self._written.observe(await self._client.update(self.kind, {**rs, "status": wanted}, subresource="status"))
        except APIError as e:
            if e.code != 404:
                raise
