"""Node lifecycle: notices nodes that went silent, taints nodes by their conditions, gives up those that fail.

Pods leave tainted nodes by the hand of the taint eviction controller (``taint_eviction.py``).

Source: Kubernetes documentation, "Nodes" (heartbeats, node controller, rate limits), "Taint Nodes by Condition".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import LEASE, NODE, POD
from hawser.api.status import condition, has_ended, is_ready
from hawser.api.taints import NO_EXECUTE, NO_SCHEDULE, NOT_READY, UNREACHABLE, UNSCHEDULABLE
from hawser.api.types import Obj
from hawser.client.client import STRATEGIC
from hawser.client.clock import timestamp
from hawser.client.controller import Controller, Manager
from hawser.controllers import zones
from hawser.controllers.pods import by_node, set_conditions
from hawser.controllers.zones import Rates, Zones, ready_status, zone_of
from hawser.exposition import exponential
from hawser.series import Counters, Histograms

LEASES = "kube-node-lease"

_REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_PRESSURE = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_BY_READY = {"False": NOT_READY, "Unknown": UNREACHABLE}
_OWN_TAINTS = {NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_PRESSURE.values()}


@dataclass(frozen=True, slots=True)
class Grace:
    """Seconds without a sign of life after which a node is given up; startup: for one that never said anything."""

    monitor: float = 50.0
    startup: float = 60.0


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


Action = SetConditions | SetTaints | MarkNotReady


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in the order that is safe to be cut anywhere; again: seconds after which to plan anew, if ever."""

    actions: tuple[Action, ...]
    again: float | None


def plan(
    node: Obj, pods: Sequence[Obj], silent: float, now: datetime, grace: Grace = Grace(), hold: float | None = 0.0
) -> Plan:
    """What a node needs; what follows from new conditions is planned when they are there.

    pods: those bound to it. silent: seconds since its last sign of life. now: for what is written. hold: seconds until
    its pods may be made to leave for what its conditions say; None: they must not.
    """
    conditions = {c["type"]: c for c in (node.get("status") or {}).get("conditions") or ()}
    actions: list[Action] = []
    waits: list[float] = []
    patience = grace.monitor if "Ready" in conditions else grace.startup
    if silent < patience:
        waits.append(patience - silent)
    elif unknown := tuple(
        _unknown(node, kind, conditions.get(kind), now)
        for kind in _REPORTED
        if conditions.get(kind, {}).get("status") != "Unknown"
    ):
        actions.append(SetConditions(unknown))
    if (taints := wanted_taints(node, conditions, now, hold)) is not None:
        actions.append(SetTaints(tuple(taints)))
    if hold and math.isfinite(hold):
        waits.append(hold)
    if ready_status(node) == "Unknown":
        running = (pod for pod in pods if not has_ended(pod))
        actions += [MarkNotReady(pod) for pod in running if is_ready(pod)]
    return Plan(tuple(actions), min(waits, default=None))


def lacks_execute(node: Obj) -> bool:
    """Whether a node fails and its pods were not made to leave yet: for that it has to wait its turn."""
    keys = {t["key"] for t in (node.get("spec") or {}).get("taints") or () if t["effect"] == NO_EXECUTE}
    return ready_status(node) in _BY_READY and not keys & {*_BY_READY.values()}


def wanted_taints(node: Obj, conditions: dict[str, Obj], now: datetime, hold: float | None = 0.0) -> list[Obj] | None:
    """The node's taints by its conditions and spec.unschedulable, or None when it has just those. hold: see plan."""
    spec = node.get("spec") or {}
    have: list[Obj] = spec.get("taints") or []
    wanted: list[tuple[str, str]] = []
    status = conditions.get("Ready", {}).get("status")
    if key := _BY_READY.get(status or ""):
        wanted.append((key, NO_SCHEDULE))
        if hold is not None and (not hold or not lacks_execute(node)):
            wanted.append((key, NO_EXECUTE))
    elif status is None:
        # What admission gave it stays until it has said something.
        wanted += [(t["key"], t["effect"]) for t in have if t["key"] in _BY_READY.values()]
    for kind, key in _PRESSURE.items():
        if conditions.get(kind, {}).get("status") == "True":
            wanted.append((key, NO_SCHEDULE))
    if spec.get("unschedulable"):
        wanted.append((UNSCHEDULABLE, NO_SCHEDULE))
    kept = [t for t in have if not _is_own(t) or (t["key"], t["effect"]) in wanted]
    known = {(t["key"], t["effect"]) for t in kept}
    kept += [{"key": k, "effect": e, "timeAdded": timestamp(now)} for k, e in wanted if (k, e) not in known]
    return None if kept == have else kept


def _evicts(taint: Obj) -> bool:
    """Whether pods leave a node for the taint that its Ready condition gave it."""
    return taint["effect"] == NO_EXECUTE and taint["key"] in _BY_READY.values()


def _is_own(taint: Obj) -> bool:
    return taint["key"] in _OWN_TAINTS and taint["effect"] in (NO_SCHEDULE, NO_EXECUTE)


def _unknown(node: Obj, kind: str, known: Obj | None, now: datetime) -> Obj:
    return {
        "type": kind,
        "status": "Unknown",
        "reason": "NodeStatusUnknown" if known else "NodeStatusNeverUpdated",
        "message": "Kubelet stopped posting node status." if known else "Kubelet never posted node status.",
        "lastHeartbeatTime": (known or {}).get("lastHeartbeatTime") or node["metadata"].get("creationTimestamp"),
        "lastTransitionTime": timestamp(now),
    }


def _heartbeat(node: Obj) -> str | None:
    return (condition(node, "Ready") or {}).get("lastHeartbeatTime")


class NodeLifecycleController(Controller):
    """Plans each node when it changes, when it has been silent for too long, and when zones fail or recover."""

    name = "node-lifecycle-controller"
    workers = 2

    def __init__(self) -> None:
        self._grace = Grace()
        self._zones = Zones()

    def configure(self, options: Mapping[str, Any]) -> None:
        self._grace = Grace(options["node_monitor_grace_period"], options["node_startup_grace_period"])
        self._zones = Zones(
            Rates(
                options["node_eviction_rate"],
                options["secondary_node_eviction_rate"],
                options["large_cluster_size_threshold"],
                options["unhealthy_zone_threshold"],
            )
        )

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._recorder = manager.recorder("node-controller")
        # Signs of life are timed by this process's own clock: the node's may be wrong.
        self._heard: dict[str, float] = {}
        text = "Number of Node evictions that happened since current instance of NodeController started."
        self._evictions = Counters("node_collector_evictions_total", text, ("zone",))
        text = "Duration in seconds for NodeController to update the health of a single node."
        name = "node_collector_update_node_health_duration_seconds"
        self._seconds = Histograms(name, text, (), exponential(0.001, 4.0, 8))
        self._nodes = manager.informer(NODE)
        self._pods = by_node(manager.informer(POD))
        self._nodes.on_change(self._node_changed)
        manager.informer(LEASE, LEASES).on_change(self._lease_changed)

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(None, key)
        if node is None:
            self._heard.pop(key, None)
            return None
        began = perf_counter()
        monotonic = self._clock.monotonic()
        silent = monotonic - self._heard.setdefault(key, monotonic)
        planned = plan(
            node, self._pods.by_index("node", key), silent, self._clock.now(), self._grace, self._hold(node, monotonic)
        )
        try:
            for action in planned.actions:
                await self._apply(node, action)
        except APIError:
            self._zones.give_back(zone_of(node))
            raise
        self._seconds.of().observe(perf_counter() - began)
        return planned.again

    def exposed(self) -> Iterable[str]:
        yield from zones.exposed(self._nodes.list())
        yield from self._evictions.lines()
        yield from self._seconds.lines()

    def _hold(self, node: Obj, monotonic: float) -> float | None:
        if self._zones.down:
            return None
        return self._zones.turn(zone_of(node), monotonic) if lacks_execute(node) else 0.0

    async def _apply(self, node: Obj, action: Action) -> None:
        name = node["metadata"]["name"]
        match action:
            case SetConditions(conditions):
                body = {"status": {"conditions": list(conditions)}}
                self._nodes.observe(
                    await self._client.patch(NODE, name, None, body, type=STRATEGIC, subresource="status")
                )
                if ready_status(node) == "True":
                    message = f"Node {name} status is now: NodeNotReady"
                    self._recorder.event(node, "Normal", "NodeNotReady", message)
            case SetTaints(taints):
                newest = self._nodes.get(None, name) or node
                version = newest["metadata"]["resourceVersion"]
                # A list is replaced as a whole, so only the list that was looked at may be.
                lock = {"metadata": {"resourceVersion": version}, "spec": {"taints": list(taints)}}
                self._nodes.observe(await self._client.patch(NODE, name, None, lock))
                if lacks_execute(node) and any(_evicts(taint) for taint in taints):
                    self._evictions.add(zones.zone_label(node))
            case MarkNotReady(pod):
                # Reason and message of the condition stay, as kube-controller-manager leaves them.
                unready = {"type": "Ready", "status": "False", "lastTransitionTime": timestamp(self._clock.now())}
                if await set_conditions(self._client, pod, unready):
                    self._recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")

    # What the informers tell

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        if self._nodes.has_synced and (old is None or new is None or ready_status(old) != ready_status(new)):
            self._look()
        if new is None:
            assert old is not None
            name = old["metadata"]["name"]
            text = f"Node {name} event: Removing Node {name} from Controller"
            self._recorder.event(old, "Normal", "RemovingNode", text)
            self.queue.add(name)
            return
        name = new["metadata"]["name"]
        if old is None:
            self._recorder.event(
                new, "Normal", "RegisteredNode", f"Node {name} event: Registered Node {name} in Controller"
            )
        if old is None or _heartbeat(old) != _heartbeat(new):
            self._heard[name] = self._clock.monotonic()
        if old is None or _decisive(old) != _decisive(new):
            self.queue.add(name)

    def _look(self) -> None:
        """What fails or recovers decides about all: how fast nodes are given up, and whether any is."""
        was_down = self._zones.down
        if not self._zones.look(self._nodes.list()):
            return
        if was_down and not self._zones.down:
            # The way to them failed, not they: all start afresh.
            self._heard = dict.fromkeys(self._heard, self._clock.monotonic())
        for node in self._nodes.list():
            self.queue.add(node["metadata"]["name"])

    async def run(self) -> None:
        """Looks at all nodes once they are known."""
        self._look()

    def _lease_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            return
        renewed = new["spec"].get("renewTime")
        if old is None or old["spec"].get("renewTime") != renewed:
            self._heard[new["metadata"]["name"]] = self._clock.monotonic()


def _decisive(node: Obj) -> tuple[object, ...]:
    """What of a node a plan depends on; heartbeats only matter by their time."""
    spec = node.get("spec") or {}
    conditions = [(c["type"], c["status"]) for c in (node.get("status") or {}).get("conditions") or ()]
    return spec.get("taints"), spec.get("unschedulable"), conditions
