"""Node lifecycle: notices nodes that went silent, taints nodes by their conditions, evicts what does not tolerate it.

Source: Kubernetes documentation, "Nodes" (heartbeats, node controller), "Taint based Evictions", "Taint Nodes by
Condition" and "Pod disruption conditions".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hawser.api.errors import APIError
from hawser.api.kinds import LEASE, NODE, POD
from hawser.api.taints import NO_EXECUTE, NO_SCHEDULE, NOT_READY, UNREACHABLE, UNSCHEDULABLE, tolerates
from hawser.api.types import Obj
from hawser.client.client import STRATEGIC
from hawser.client.clock import parse_timestamp, timestamp
from hawser.client.controller import Controller, Manager

GRACE = 40.0
"""Seconds without a sign of life after which a node is not ready any more."""
STARTUP_GRACE = 60.0
"""The same for a node that never said anything."""
LEASES = "kube-node-lease"

_REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_PRESSURE = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OWN_TAINTS = {NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_PRESSURE.values()}


@dataclass(frozen=True, slots=True)
class SetConditions:
    """The node went silent: what it last said of itself is not known any more."""

    conditions: tuple[Obj, ...]


@dataclass(frozen=True, slots=True)
class SetTaints:
    """The node's whole list of taints."""

    taints: tuple[Obj, ...]


@dataclass(frozen=True, slots=True)
class MarkNotReady:
    """Nobody knows how the pod is: it must get no traffic."""

    pod: Obj


@dataclass(frozen=True, slots=True)
class Evict:
    """The pod does not tolerate a NoExecute taint, or not any longer."""

    pod: Obj


Action = SetConditions | SetTaints | MarkNotReady | Evict


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in the order that is safe to be cut anywhere; again: seconds after which to plan anew, if ever."""

    actions: tuple[Action, ...]
    again: float | None


def plan(node: Obj, pods: Sequence[Obj], silent: float, now: datetime) -> Plan:
    """What a node needs.

    pods: those bound to it. silent: seconds since its last sign of life. now: for what is written and for deadlines.
    """
    actions: list[Action] = []
    waits: list[float] = []
    conditions = {c["type"]: c for c in (node.get("status") or {}).get("conditions") or ()}
    grace = GRACE if "Ready" in conditions else STARTUP_GRACE
    if silent < grace:
        waits.append(grace - silent)
    else:
        unknown = tuple(
            _unknown(kind, conditions.get(kind), now)
            for kind in _REPORTED
            if conditions.get(kind, {}).get("status") != "Unknown"
        )
        if unknown:
            actions.append(SetConditions(unknown))
            conditions |= {c["type"]: c for c in unknown}
    taints = wanted_taints(node, conditions, now)
    if taints is not None:
        actions.append(SetTaints(tuple(taints)))
    else:
        taints = (node.get("spec") or {}).get("taints") or []
    running = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
    if conditions.get("Ready", {}).get("status") == "Unknown":
        actions += [MarkNotReady(pod) for pod in running if _condition(pod, "Ready").get("status") == "True"]
    for pod in running:
        if "deletionTimestamp" in pod["metadata"]:
            continue
        deadline = eviction_time(pod, taints, now)
        if deadline is not None and deadline <= now:
            actions.append(Evict(pod))
        elif deadline is not None:
            waits.append((deadline - now).total_seconds())
    return Plan(tuple(actions), min(waits, default=None))


def wanted_taints(node: Obj, conditions: dict[str, Obj], now: datetime) -> list[Obj] | None:
    """The node's taints by its conditions and spec.unschedulable, or None when it has just those."""
    wanted: list[tuple[str, str]] = []
    ready = conditions.get("Ready", {}).get("status")
    if ready != "True":
        key = NOT_READY if ready == "False" else UNREACHABLE
        wanted += [(key, NO_SCHEDULE), (key, NO_EXECUTE)]
    for kind, key in _PRESSURE.items():
        if conditions.get(kind, {}).get("status") == "True":
            wanted.append((key, NO_SCHEDULE))
    spec = node.get("spec") or {}
    if spec.get("unschedulable"):
        wanted.append((UNSCHEDULABLE, NO_SCHEDULE))
    have: list[Obj] = spec.get("taints") or []
    # Evictions count from timeAdded; who taints by hand seldom writes it.
    kept = [
        {**t, "timeAdded": timestamp(now)} if t["effect"] == NO_EXECUTE and not t.get("timeAdded") else t
        for t in have
        if not _is_own(t) or (t["key"], t["effect"]) in wanted
    ]
    known = {(t["key"], t["effect"]) for t in kept}
    kept += [{"key": k, "effect": e, "timeAdded": timestamp(now)} for k, e in wanted if (k, e) not in known]
    return None if kept == have else kept


def eviction_time(pod: Obj, taints: Iterable[Obj], now: datetime) -> datetime | None:
    """When the pod has to leave because of NoExecute taints; None: it may stay."""
    tolerations: list[Obj] = pod["spec"].get("tolerations") or []
    deadlines = []
    for taint in taints:
        if taint["effect"] != NO_EXECUTE:
            continue
        matching = [t for t in tolerations if tolerates(t, taint)]
        if not matching:
            return now
        # A taint without its age gets one with the plan that finds it, so this is the start of the wait, once.
        since = parse_timestamp(taint["timeAdded"]) if taint.get("timeAdded") else now
        deadlines += [
            since + timedelta(seconds=max(0, t["tolerationSeconds"]))
            for t in matching
            if t.get("tolerationSeconds") is not None
        ]
    return min(deadlines, default=None)


def _is_own(taint: Obj) -> bool:
    return taint["key"] in _OWN_TAINTS and taint["effect"] in (NO_SCHEDULE, NO_EXECUTE)


def _unknown(kind: str, known: Obj | None, now: datetime) -> Obj:
    return {
        "type": kind,
        "status": "Unknown",
        "reason": "NodeStatusUnknown" if known else "NodeStatusNeverUpdated",
        "message": "Kubelet stopped posting node status." if known else "Kubelet never posted node status.",
        "lastHeartbeatTime": (known or {}).get("lastHeartbeatTime"),
        "lastTransitionTime": timestamp(now),
    }


def _condition(obj: Obj, kind: str) -> Obj:
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition["type"] == kind:
            found: Obj = condition
            return found
    return {}


class NodeLifecycleController(Controller):
    """Plans each node when it changes, when it has been silent for too long, and when an eviction is due."""

    name = "node-lifecycle"
    workers = 2

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._recorder = manager.recorder("node-controller")
        # Signs of life are timed by this process's own clock: the node's may be wrong.
        self._heard: dict[str, float] = {}
        self._nodes = manager.informer(NODE)
        self._pods = manager.informer(POD)
        self._pods.add_index("node", lambda pod: [pod["spec"]["nodeName"]] if pod["spec"].get("nodeName") else [])
        self._nodes.on_change(self._node_changed)
        self._pods.on_change(self._pod_changed)
        manager.informer(LEASE, LEASES).on_change(self._lease_changed)

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(None, key)
        if node is None:
            self._heard.pop(key, None)
            return None
        silent = self._clock.monotonic() - self._heard.setdefault(key, self._clock.monotonic())
        planned = plan(node, self._pods.by_index("node", key), silent, self._clock.now())
        for action in planned.actions:
            await self._apply(node, action)
        return planned.again

    async def _apply(self, node: Obj, action: Action) -> None:
        name = node["metadata"]["name"]
        match action:
            case SetConditions(conditions):
                body = {"status": {"conditions": list(conditions)}}
                self._nodes.observe(
                    await self._client.patch(NODE, name, None, body, type=STRATEGIC, subresource="status")
                )
                message = f"Node {name} status is now: NodeNotReady"
                self._recorder.event(node, "Normal", "NodeNotReady", message)
            case SetTaints(taints):
                newest = self._nodes.get(None, name) or node
                version = newest["metadata"]["resourceVersion"]
                # A list is replaced as a whole, so only the list that was looked at may be.
                lock = {"metadata": {"resourceVersion": version}, "spec": {"taints": list(taints)}}
                self._nodes.observe(await self._client.patch(NODE, name, None, lock))
            case MarkNotReady(pod):
                await self._pod_condition(pod, "Ready", "False", "NodeNotReady", "Node is not ready")
                self._recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")
            case Evict(pod):
                await self._evict(pod)

    async def _evict(self, pod: Obj) -> None:
        metadata = pod["metadata"]
        message = "Taint manager: deleting due to NoExecute taint"
        await self._pod_condition(pod, "DisruptionTarget", "True", "DeletionByTaintManager", message)
        text = f"Marking for deletion Pod {metadata['namespace']}/{metadata['name']}"
        self._recorder.event(pod, "Normal", "TaintManagerEviction", text)
        try:
            await self._client.delete(POD, metadata["name"], metadata["namespace"], uid=metadata["uid"])
        except APIError as err:
            if err.code not in (404, 409):
                raise

    async def _pod_condition(self, pod: Obj, kind: str, status: str, reason: str, message: str) -> None:
        metadata = pod["metadata"]
        condition = {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": timestamp(self._clock.now()),
        }
        body = {"metadata": {"uid": metadata["uid"]}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(POD, metadata["name"], metadata["namespace"], body, STRATEGIC, "status")
        except APIError as err:
            # The pod is gone, or another one has its name by now.
            if err.code not in (404, 409):
                raise

    # What the informers tell

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            assert old is not None
            self.queue.add(old["metadata"]["name"])
            return
        name = new["metadata"]["name"]
        if old is None:
            self._recorder.event(
                new, "Normal", "RegisteredNode", f"Node {name} event: Registered Node {name} in Controller"
            )
        if old is None or _condition(old, "Ready").get("lastHeartbeatTime") != _condition(new, "Ready").get(
            "lastHeartbeatTime"
        ):
            self._heard[name] = self._clock.monotonic()
        if old is None or _decisive(old) != _decisive(new):
            self.queue.add(name)

    def _lease_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            return
        renewed = new["spec"].get("renewTime")
        if old is None or old["spec"].get("renewTime") != renewed:
            self._heard[new["metadata"]["name"]] = self._clock.monotonic()

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        name = new["spec"].get("nodeName") if new is not None else None
        node = self._nodes.get(None, name) if name else None
        taints = (node or {}).get("spec", {}).get("taints") or ()
        if name and any(t["effect"] == NO_EXECUTE for t in taints):
            self.queue.add(name)


def _decisive(node: Obj) -> tuple[object, ...]:
    """What of a node a plan depends on; heartbeats only matter by their time."""
    spec = node.get("spec") or {}
    conditions = [(c["type"], c["status"]) for c in (node.get("status") or {}).get("conditions") or ()]
    return spec.get("taints"), spec.get("unschedulable"), conditions
