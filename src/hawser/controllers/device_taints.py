"""Taints of devices: pods leave when a device of theirs has a NoExecute taint that they do not tolerate (any longer).

Source: KEP-5055 (device taints and tolerations); API reference, DeviceTaint and DeviceToleration.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from hawser.api.kinds import POD, RESOURCE_CLAIM, RESOURCE_SLICE
from hawser.api.status import has_ended
from hawser.api.taints import NO_EXECUTE, tolerates
from hawser.api.types import Obj
from hawser.client.controller import Controller, Manager
from hawser.client.informer import key_of
from hawser.controllers.pods import evict, is_terminating
from hawser.series import Counters

DeviceID = tuple[str, str, str]
"""Driver, pool and name."""
_MESSAGE = "Device Taint manager: deleting due to NoExecute taint"
_EVENT = "DeviceTaintManagerEviction"
_DELETED = "Total number of Pods deleted by DeviceTaintEvictionController since its start."


def execute_taints(slices: Iterable[Obj]) -> dict[DeviceID, Sequence[Obj]]:
    """The NoExecute taints of devices that have some; of a pool, its newest generation counts."""
    newest: dict[tuple[str, str], int] = {}
    for one in slices:
        pool = one["spec"]["driver"], one["spec"]["pool"]["name"]
        newest[pool] = max(newest.get(pool, 0), one["spec"]["pool"]["generation"])
    found: dict[DeviceID, Sequence[Obj]] = {}
    for one in slices:
        driver, pool_name = one["spec"]["driver"], one["spec"]["pool"]["name"]
        if one["spec"]["pool"]["generation"] < newest[driver, pool_name]:
            continue
        for device in one["spec"].get("devices") or ():
            taints = [taint for taint in device.get("taints") or () if taint.get("effect") == NO_EXECUTE]
            if taints:
                found[driver, pool_name, device["name"]] = taints
    return found


def deadline(claim: Obj, tainted: Mapping[DeviceID, Sequence[Obj]], now: datetime) -> datetime | None:
    """When those who use the claim have to leave; None: never."""
    results = (((claim.get("status") or {}).get("allocation") or {}).get("devices") or {}).get("results") or ()
    found: datetime | None = None
    for result in results:
        for taint in tainted.get((result["driver"], result["pool"], result["device"]), ()):
            seconds = _patience(taint, result.get("tolerations") or ())
            if math.isinf(seconds):
                continue
            since = datetime.fromisoformat(taint["timeAdded"]) if taint.get("timeAdded") else now
            ends = since + timedelta(seconds=seconds)
            found = ends if found is None else min(found, ends)
    return found


def _patience(taint: Obj, tolerations: Sequence[Obj]) -> float:
    """Seconds that a taint is tolerated: none without a toleration, for good if no toleration says how long."""
    matching = [toleration for toleration in tolerations if tolerates(toleration, taint)]
    if not matching:
        return 0.0
    return min(max(0.0, float(one.get("tolerationSeconds", math.inf))) for one in matching)


class DeviceTaintEvictionController(Controller):
    """Keeps, by pod, when it has to leave."""

    name = "device-taint-eviction-controller"
    workers = 4

    def setup(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._recorder = manager.recorder("device-taint-eviction")
        self._tainted: dict[DeviceID, Sequence[Obj]] = {}
        self._leaving: set[tuple[str, str]] = set()
        self._deleted = Counters("device_taint_eviction_controller_pod_deletions_total", _DELETED)
        self._slices = manager.informer(RESOURCE_SLICE)
        self._claims = manager.informer(RESOURCE_CLAIM)
        self._pods = manager.informer(POD)
        self._claims.add_index("consumer", _consumers)
        self._slices.on_change(self._slice_changed)
        self._claims.on_change(self._claim_changed)
        self._pods.on_change(self._pod_changed)

    def exposed(self) -> Iterable[str]:
        yield from self._deleted.lines()

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.get_key(key)
        if pod is None or has_ended(pod) or is_terminating(pod) or not pod["spec"].get("nodeName"):
            self._leaving = {mark for mark in self._leaving if mark[0] != key}
            return None
        now, mark = self._clock.now(), (key, str(pod["metadata"]["uid"]))
        claims = self._claims.by_index("consumer", pod["metadata"]["uid"])
        times = [ends for claim in claims if (ends := deadline(claim, self._tainted, now)) is not None]
        if not times:
            if mark in self._leaving:
                self._leaving.discard(mark)
                self._recorder.event(pod, "Normal", _EVENT, "Cancelling deletion")
            return None
        self._leaving.add(mark)
        left = (min(times) - now).total_seconds()
        if left > 0:
            return left
        await self._evict(pod)
        self._leaving.discard(mark)
        return None

    async def _evict(self, pod: Obj) -> None:
        self._recorder.event(pod, "Normal", _EVENT, "Marking for deletion")
        if await evict(self._client, pod, "DeletionByDeviceTaintManager", _MESSAGE, self._clock.now()):
            self._deleted.add()

    # What the informers tell

    def _slice_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and old["spec"] == new["spec"]:
            return
        if not self._tainted and not any(device.get("taints") for device in _devices(new)):
            return
        tainted = execute_taints(self._slices.list())
        changed = {d for d in {*tainted, *self._tainted} if tainted.get(d) != self._tainted.get(d)}
        self._tainted = tainted
        for claim in self._claims.list() if changed else ():
            if changed & _allocated(claim):
                self._queue(claim)

    def _claim_changed(self, old: Obj | None, new: Obj | None) -> None:
        for claim in (old, new):
            if claim is not None and self._tainted.keys() & _allocated(claim):
                self._queue(claim)

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None or not self._tainted:
            return
        uses = new["spec"].get("resourceClaims") or "extendedResourceClaimStatus" in (new.get("status") or {})
        if uses and (old is None or old["spec"].get("nodeName") != new["spec"].get("nodeName")):
            self.queue.add(key_of(new))

    def _queue(self, claim: Obj) -> None:
        for consumer in (claim.get("status") or {}).get("reservedFor") or ():
            if consumer.get("resource") == "pods" and not consumer.get("apiGroup"):
                self.queue.add(f"{claim['metadata']['namespace']}/{consumer['name']}")


def _consumers(claim: Obj) -> list[str]:
    return [consumer["uid"] for consumer in (claim.get("status") or {}).get("reservedFor") or ()]


def _devices(obj: Obj | None) -> Sequence[Obj]:
    return ((obj or {}).get("spec") or {}).get("devices") or ()


def _allocated(claim: Obj) -> set[DeviceID]:
    results = (((claim.get("status") or {}).get("allocation") or {}).get("devices") or {}).get("results") or ()
    return {(result["driver"], result["pool"], result["device"]) for result in results}
