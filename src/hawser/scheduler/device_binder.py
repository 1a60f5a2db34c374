"""The devices of pods that are placed: kept at once, written to the API as allocations, and waited for if need be.

Source: "Dynamic Resource Allocation"; KEP-4381; KEP-5007 (device binding conditions).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

from hawser.api.errors import APIError
from hawser.api.kinds import DEVICE_CLASS, POD, RESOURCE_CLAIM, RESOURCE_SLICE
from hawser.api.types import Obj
from hawser.client.client import STRATEGIC
from hawser.client.clock import timestamp
from hawser.client.controller import Manager
from hawser.client.informer import Informer, key_of
from hawser.scheduler.cache import Cache
from hawser.scheduler.devices import claims as of
from hawser.scheduler.devices.extended import Extended
from hawser.scheduler.devices.plan import ELSEWHERE, LEFTOVER, PLUGIN, Devices, Reservation, Stock
from hawser.scheduler.hints import Concerns, refused_by
from hawser.scheduler.placement import Decision
from hawser.scheduler.preparing import Preparation, Preparations, Unbound
from hawser.scheduler.shapes import PodInfo
from hawser.scheduler.volume_binder import ByKey

if TYPE_CHECKING:
    from hawser.scheduler.counts import Counts
    from hawser.scheduler.writing import Writer

FREED = "deallocation of ResourceClaim completed"
DELETED = "deletion of ResourceClaim completed"
PROTECTION = "resource.kubernetes.io/delete-protection"
_TRIES = 5

Wake = Callable[[Concerns, str], None]


class _LateError(Unbound):
    """The devices were not ready in time."""


class DeviceBinder:
    """Watches devices and claims from the first pod on that wants some; until then it costs nothing.

    pods: the informer of all pods. wake: called with whom a change may help, and what kube-scheduler calls the change.
    preparations: what is told of every change of a claim.
    """

    def __init__(
        self,
        manager: Manager,
        cache: Cache,
        pods: Informer,
        wake: Wake,
        writer: Writer,
        counts: Counts,
        preparations: Preparations,
    ) -> None:
        self._manager = manager
        self._client = manager.client
        self._clock = manager.clock
        self._pods = pods
        self._wake = wake
        self._writer = writer
        self._counts = counts
        self._claims = manager.informer(RESOURCE_CLAIM)
        self._classes = manager.informer(DEVICE_CLASS)
        self._slices = manager.informer(RESOURCE_SLICE)
        self._started = False
        self._preparations = preparations
        stock = Stock(ByKey(self._claims), ByKey(self._classes))
        self.devices = Devices(stock, cache, pods.get_key, self._clock.now, lambda: str(uuid4()))

    async def start(self) -> None:
        """Begins to watch, and returns when everything is known."""
        for informer in (self._claims, self._classes, self._slices):
            await informer.synced()
        if self._started:
            return
        self._started = True
        self._claims.on_change(self._claim_changed)
        self._classes.on_change(self._class_changed)
        self._slices.on_change(self._slice_changed)

    # What happens

    def _slice_changed(self, old: Obj | None, new: Obj | None) -> None:
        inventory = self.devices.stock.inventory
        if new is None:
            assert old is not None
            inventory.remove(old["metadata"]["name"])
        elif old is None or old["spec"] != new["spec"]:
            inventory.put(new)
            self._wake(refused_by(PLUGIN), "ResourceSliceUpdate" if old else "ResourceSliceAdd")

    def _class_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None and (old is None or old["spec"] != new["spec"]):
            self._wake(refused_by(PLUGIN), "DeviceClassUpdate" if old else "DeviceClassAdd")

    def _claim_changed(self, old: Obj | None, new: Obj | None) -> None:
        self._preparations.stir()
        self.devices.changed(old, new)
        if old is not None and of.allocation(old) is not None and (new is None or of.allocation(new) is None):
            self._wake(refused_by(PLUGIN), "ResourceClaimUpdate")
        elif new is not None and (old is None or old.get("status") != new.get("status")):
            self._wake(self._used_by(new), "ResourceClaimUpdate" if old else "ResourceClaimAdd")

    def _used_by(self, claim: Obj) -> Concerns:
        """Pods that wait for this very claim."""
        key = key_of(claim)

        def concerns(pod: PodInfo, plugins: frozenset[str]) -> bool:
            obj = self._pods.get_key(pod.key) if PLUGIN in plugins else None
            if obj is None:
                return False
            try:
                return any(f"{pod.namespace}/{name}" == key for name, _ in of.names(obj))
            except of.NotUsableError:
                return False

        return concerns

    # Writing

    async def bind(
        self, reservation: Reservation, pod: PodInfo, node: str, preparation: Preparation, seconds: float
    ) -> None:
        """Writes what was decided, and waits until the devices can be bound, so long at most.

        Raises Unbound, APIError.
        """
        for claim in reservation.claims:
            if not of.is_reserved(claim, pod.uid):
                preparation.go_on()
                allocation = reservation.allocations.get(key_of(claim))
                self._claims.observe(await self._reserve(claim, allocation, pod))
                self.devices.settle(claim)
        if reservation.extended is not None:
            preparation.go_on()
            await self._provide(reservation, reservation.extended, pod)
        if drivers := {driver for claim in self._current(reservation) for driver in of.slow_drivers(claim)}:
            message = f"waiting for binding conditions for device on node {node}"
            self._writer.event(pod, "Normal", "BindingConditionsPending", message)
            began, status = self._clock.monotonic(), "failure"
            try:
                await self._ready(reservation, preparation, seconds)
                status = "success"
            except _LateError:
                status = "timeout"
                raise
            finally:
                for driver in drivers:
                    self._counts.slow_devices.add(pod.shape.scheduler, driver, status)
                    waits = self._counts.device_waits.of(pod.shape.scheduler, driver, status)
                    waits.observe(self._clock.monotonic() - began)

    async def _provide(self, reservation: Reservation, extended: Extended, pod: PodInfo) -> None:
        """Makes the claim for extended resources, allocated and reserved, and tells the pod's node of it."""
        key, metadata = key_of(extended.claim), dict(extended.claim["metadata"])
        for field in ("name", "uid"):
            del metadata[field]
        wanted = {"apiVersion": RESOURCE_CLAIM.api_version, "kind": "ResourceClaim", **extended.claim}
        try:
            made = await self._client.create(RESOURCE_CLAIM, {**wanted, "metadata": metadata})
        except APIError as err:
            self._counts.claims.add("failure")
            raise Unbound(f"create claim for extended resources {key}: {err.message}") from None
        self._counts.claims.add("success")
        self._claims.observe(made)
        made = await self._reserve(made, reservation.allocations[key], pod)
        self._claims.observe(made)
        self.devices.settle(extended.claim)
        status = {"requestMappings": [*extended.mappings], "resourceClaimName": made["metadata"]["name"]}
        body = {"metadata": {"uid": pod.uid}, "status": {"extendedResourceClaimStatus": status}}
        try:
            await self._client.patch(POD, pod.name, pod.namespace, body, STRATEGIC, "status")
        except APIError as err:
            raise Unbound(f"update pod {pod.key} ExtendedResourceClaimStatus: {err.message}") from None

    async def _reserve(self, claim: Obj, allocation: Obj | None, pod: PodInfo) -> Obj:
        """The claim with its allocation, if it gets one, and reserved for the pod."""
        key, verb = key_of(claim), "add reservation"
        name, namespace = claim["metadata"]["name"], claim["metadata"]["namespace"]
        for left in reversed(range(_TRIES)):
            try:
                if "deletionTimestamp" in claim["metadata"]:
                    raise Unbound(f"claim {key} got deleted in the meantime")
                if allocation is not None:
                    verb = "add finalizer"
                    claim = await self._protect(claim, key)
                    verb = "add allocation and reservation"
                return await self._client.update(RESOURCE_CLAIM, self._reserved(claim, allocation, pod), "status")
            except APIError as err:
                if err.reason != "Conflict" or not left:
                    raise Unbound(f"{verb} to claim {key}: {err.message}") from None
            claim = await self._client.get(RESOURCE_CLAIM, name, namespace)
        raise AssertionError("unreachable")

    async def _protect(self, claim: Obj, key: str) -> Obj:
        """The claim with the finalizer that keeps it as long as it is allocated."""
        if of.allocation(claim) is not None:
            raise Unbound(f"claim {key} got allocated elsewhere in the meantime")
        metadata = claim["metadata"]
        finalizers = metadata.get("finalizers") or []
        if PROTECTION in finalizers:
            return claim
        changed = {**claim, "metadata": {**metadata, "finalizers": [*finalizers, PROTECTION]}}
        return await self._client.update(RESOURCE_CLAIM, changed)

    def _reserved(self, claim: Obj, allocation: Obj | None, pod: PodInfo) -> Obj:
        status = dict(claim.get("status") or {})
        if allocation is not None:
            status["allocation"] = {**allocation, "allocationTimestamp": timestamp(self._clock.now())}
        consumer = {"resource": "pods", "name": pod.name, "uid": pod.uid}
        status["reservedFor"] = [*(status.get("reservedFor") or ()), consumer]
        return {**claim, "status": status}

    async def _ready(self, reservation: Reservation, preparation: Preparation, seconds: float) -> None:
        """Waits until all devices say that they can be bound."""
        try:
            await preparation.until(
                lambda: all(self._is_ready(claim, seconds) for claim in self._current(reservation)), seconds
            )
        except TimeoutError:
            raise _LateError("device binding timeout") from None

    def _is_ready(self, claim: Obj, seconds: float) -> bool:
        if of.allocation(claim) is None:
            raise Unbound(f"claim {claim['metadata']['name']} got deallocated in the meantime")
        if why := of.binding_failure(claim):
            raise Unbound(why)
        if of.is_ready(claim):
            return True
        if of.is_late(claim, self._clock.now(), seconds):
            raise _LateError(f"claim {claim['metadata']['name']} binding timeout")
        return False

    def _current(self, reservation: Reservation) -> list[Obj]:
        """The claims as they are now."""
        found = []
        for claim in reservation.claims:
            known = self._claims.get_key(key_of(claim))
            if known is None or known["metadata"]["uid"] != claim["metadata"]["uid"]:
                raise Unbound(f'resourceclaim.resource.k8s.io "{claim["metadata"]["name"]}" not found')
            found.append(known)
        return found

    async def release(self, reservation: Reservation, pod: PodInfo) -> None:
        """The pod is not bound after all: others may have its claims; what is allocated stays so."""
        if reservation.extended is not None:
            await self._withdraw(pod)
        for claim in reservation.claims:
            known = self._claims.get_key(key_of(claim))
            if known is None or not of.is_reserved(known, pod.uid):
                continue
            metadata = known["metadata"]
            body = {
                "metadata": {"uid": metadata["uid"]},
                "status": {"reservedFor": [{"$patch": "delete", "uid": pod.uid}]},
            }
            try:
                changed = await self._client.patch(
                    RESOURCE_CLAIM, metadata["name"], metadata["namespace"], body, STRATEGIC, "status"
                )
            except APIError:
                # The next attempt for the pod comes here again; when the pod goes, the claim's controller sees to it.
                continue
            self._claims.observe(changed)

    async def _withdraw(self, pod: PodInfo) -> bool:
        """Deletes the claim that was made for the pod's extended resources; whether there was one."""
        claim = self.devices.leftover(pod)
        if claim is None:
            return False
        name, namespace = claim["metadata"]["name"], claim["metadata"]["namespace"]
        try:
            claim = await self._client.get(RESOURCE_CLAIM, name, namespace)
            finalizers = [one for one in claim["metadata"].get("finalizers") or () if one != PROTECTION]
            await self._client.update(
                RESOURCE_CLAIM, {**claim, "metadata": {**claim["metadata"], "finalizers": finalizers}}
            )
            await self._client.delete(RESOURCE_CLAIM, name, namespace)
        except APIError:
            # As long as it is there, attempts for the pod come here.
            return False
        return True

    async def deallocate(self, pod: PodInfo, decision: Decision, seconds: float) -> str:
        """Takes its devices from a claim that keeps the pod from its place and that nobody uses.

        seconds: in which devices have to be ready to be bound.
        Returns what was done, in kube-scheduler's words; nothing if there was no such claim. Raises APIError.
        """
        if LEFTOVER in decision.refusals:
            return DELETED if await self._withdraw(pod) else ""
        claim = self.devices.idle(pod, seconds) if ELSEWHERE in decision.refusals else None
        if claim is None:
            return ""
        gone = ("reservedFor", "allocation", "devices")
        status = {name: value for name, value in (claim.get("status") or {}).items() if name not in gone}
        self._claims.observe(await self._client.update(RESOURCE_CLAIM, {**claim, "status": status}, "status"))
        return FREED
