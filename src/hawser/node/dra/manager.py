"""Claims of pods, prepared by their drivers before a pod's containers start and given back when they have ended.

Source: Kubernetes documentation, "Dynamic Resource Allocation"; KEP-4381; words are kubelet's.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from hawser.api.errors import APIError
from hawser.api.kinds import RESOURCE_CLAIM
from hawser.api.types import Obj
from hawser.client.client import Client
from hawser.node.dra import claims
from hawser.node.dra.claims import NotPrepared
from hawser.node.dra.drivers import Drivers
from hawser.node.dra.state import Device, Key, Prepared, State
from hawser.node.metrics.devices import DeviceCounters
from hawser.node.pod import view


class ClaimManager:
    """Prepares claims. file: where it is written down what was. changed: called when a device's health is another."""

    def __init__(
        self, file: Path, client: Client, node: str, changed: Callable[[], None], counters: DeviceCounters
    ) -> None:
        self.drivers = Drivers(client, node, changed, counters)
        self._counters = counters
        self.state = State(file)
        self._client = client
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    async def close(self) -> None:
        """Leaves all as it is and ends."""
        await self.drivers.close()

    @contextmanager
    def _counted(self, operation: str) -> Iterator[None]:
        began, failed = time.perf_counter(), True
        try:
            yield
            failed = False
        finally:
            self._counters.operation(operation, time.perf_counter() - began, failed=failed)

    def in_use(self) -> dict[str, int]:
        """How many claims there are of each driver, and of any."""
        found = Counter(driver for claim in self.state.claims.values() for driver in claim.drivers)
        return {"<any>": len(self.state.claims), **found}

    async def prepare(self, pod: Obj) -> None:
        """Has everything prepared that a pod claims. Raises NotPrepared, OSError.

        All is looked at before anything is done, so that a pod that fails here has nothing to give back.
        """
        with self._counted("PrepareResources"):
            await self._prepare(pod)

    async def _prepare(self, pod: Obj) -> None:
        found = [await self._fetch(pod, name, owned=owned) for _, name, owned in claims.names(pod)]
        for claim in found:
            for driver in claims.drivers(claim):
                self.drivers.find(driver)
        keys = [(claim["metadata"]["namespace"], claim["metadata"]["name"]) for claim in found]
        async with self._locked(keys):
            entries = [self._enter(claim, view.uid(pod)) for claim in found]
            # Written first: whatever is cut short is given back at the end.
            self.state.save()
            fresh = [entry for entry in entries if not entry.called]
            for driver, rows in _by_driver(fresh).items():
                answers = await self.drivers.call(driver, "NodePrepareResources", [_row(row) for row in rows])
                for entry in rows:
                    entry.devices[driver] = [_device(device) for device in _devices(answers[entry.uid])]
            for entry in fresh:
                entry.prepared = entry.called = True
            if fresh:
                self.state.save()

    def devices(self, pod: Obj, spec: Obj) -> list[str] | None:
        """The CDI names of what a container has; None when not all of it is prepared. Raises NotPrepared."""
        found: dict[str, None] = {}
        for name, requests in claims.requests(pod, spec).items():
            entry = self.state.claims.get((view.key(pod)[0], name))
            if entry is None or not entry.prepared or view.uid(pod) not in entry.pods:
                return None
            found.update(dict.fromkeys(device for request in requests for device in entry.of(request)))
        return list(found)

    def of(self, pod: Obj, spec: Obj) -> list[Prepared]:
        """The claims of a container that are prepared."""
        try:
            wanted = claims.requests(pod, spec)
        except NotPrepared:
            return []
        found = (self.state.claims.get((view.key(pod)[0], name)) for name in wanted)
        return [claim for claim in found if claim is not None and view.uid(pod) in claim.pods]

    def health(self, pod: Obj, spec: Obj) -> Iterator[tuple[str, str, str]]:
        """The devices of a container's claims: name of the claim as a resource, the device's, and its health."""
        asked = (spec.get("resources") or {}).get("claims") or ()
        try:
            objects = {name: claim for name, claim, _ in claims.names(pod)} if asked else {}
        except NotPrepared:
            return
        for row in asked:
            entry = self.state.claims.get((view.key(pod)[0], objects.get(row["name"], "")))
            request = row.get("request") or ""
            for driver, device in entry.found(request) if entry is not None else ():
                named = device.cdi[0] if device.cdi else f"{driver}/{device.pool}/{device.device}"
                resource = f"claim:{row['name']}" + (f"/{request}" if request else "")
                yield resource, named, self.drivers.health.of(driver, device.pool, device.device)

    async def release(self, uid: str) -> None:
        """Gives back what a pod had, unless others use it, too. Raises NotPrepared, OSError."""
        with self._counted("UnprepareResources"):
            await self._release(uid)

    async def _release(self, uid: str) -> None:
        keys = [(entry.namespace, entry.name) for entry in self.state.of(uid)]
        async with self._locked(keys):
            mine = self.state.of(uid)
            last = [entry for entry in mine if entry.pods == [uid]]
            for driver, rows in _by_driver(last).items():
                await self.drivers.call(driver, "NodeUnprepareResources", [_row(row) for row in rows])
            for entry in mine:
                entry.pods.remove(uid)
                if not entry.pods:
                    del self.state.claims[entry.namespace, entry.name]
            self.state.save()

    async def _fetch(self, pod: Obj, name: str, *, owned: bool) -> Obj:
        try:
            claim = await self._client.get(RESOURCE_CLAIM, name, view.key(pod)[0])
        except APIError as err:
            raise NotPrepared(f"fetch ResourceClaim {name}: {err.message}") from err
        if problem := claims.problem(pod, claim, owned=owned):
            raise NotPrepared(problem)
        return claim

    def _enter(self, claim: Obj, uid: str) -> Prepared:
        """A claim's entry, with the pod among those that use it. Raises NotPrepared."""
        metadata = claim["metadata"]
        key = metadata["namespace"], metadata["name"]
        entry = self.state.claims.get(key)
        if entry is None:
            entry = self.state.claims[key] = Prepared(*key, metadata["uid"], claims.drivers(claim))
        elif entry.uid != metadata["uid"]:
            text = f"old ResourceClaim with same name {key[1]} and different UID {entry.uid} still exists"
            raise NotPrepared(f"{text} (previous pod force-deleted?!)")
        if uid not in entry.pods:
            entry.pods.append(uid)
        return entry

    @asynccontextmanager
    async def _locked(self, keys: Iterable[Key]) -> AsyncIterator[None]:
        """Whoever prepares a claim, or gives it back, does so alone."""
        async with AsyncExitStack() as stack:
            for key in sorted(set(keys)):
                await stack.enter_async_context(self._locks.setdefault(key, asyncio.Lock()))
            yield


def _by_driver(entries: Iterable[Prepared]) -> dict[str, list[Prepared]]:
    found = defaultdict(list)
    for entry in entries:
        for driver in entry.drivers:
            found[driver].append(entry)
    return found


def _row(entry: Prepared) -> dict[str, str]:
    return {"namespace": entry.namespace, "uid": entry.uid, "name": entry.name}


def _devices(answer: Any) -> Iterable[Any]:
    rows: Iterable[Any] = answer.devices
    return rows


def _device(row: Any) -> Device:
    return Device(row.pool_name, row.device_name, list(row.request_names), list(row.cdi_device_ids))
