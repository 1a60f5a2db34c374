"""Keeps the nftables tables of Services in step with Services and EndpointSlices."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from hawser.api.types import Obj
from hawser.node.network.conntrack import Flow
from hawser.node.network.endpoints import SERVICE_NAME, Place, local_ready, proxied
from hawser.node.network.healthchecks import HealthChecks
from hawser.node.network.nft import NftError
from hawser.node.network.proxystatus import ProxyStatus
from hawser.node.network.servicestate import ServiceState
from hawser.node.network.servicetable import ServiceTable

log = logging.getLogger(__name__)

BY_SERVICE = "service"
_CHECK_SECONDS = 30.0

Handler = Callable[[Obj | None, Obj | None], None]


Objects = list[Obj]


class Source(Protocol):
    """What the proxy needs of an informer."""

    def get(self, namespace: str | None, name: str) -> Obj | None: ...
    def list(self, namespace: str | None = None) -> Objects: ...
    def by_index(self, index: str, value: str) -> Objects: ...
    def add_index(self, index: str, function: Callable[[Obj], Iterable[str]]) -> None: ...
    def on_change(self, handler: Handler) -> None: ...
    async def synced(self) -> None: ...


class Kernel(Protocol):
    """What the proxy needs of the network (``NetworkAgent``)."""

    async def transact(self, commands: str) -> str:
        """Run nftables commands as one transaction. Raises NftError."""
        ...

    async def forget_flows(self, version: int, flows: Mapping[Flow, frozenset[str]]) -> None:
        """Forget UDP flows that go elsewhere than they may."""
        ...


def service_of(one: Obj) -> list[str]:
    """The key of an EndpointSlice's Service, as an index function."""
    metadata = one["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME)
    return [f"{metadata['namespace']}/{name}"] if name else []


class ServiceProxy:
    """Call ``run`` once; changes reach the kernel as fast as nftables takes them, many in one transaction.

    tables: one an address family. services, slices: informers of Services and EndpointSlices. place: where the node is
    now. checks: the health checks of load balancers. status: what is told of the proxy itself.
    """

    def __init__(
        self,
        tables: Sequence[ServiceTable],
        kernel: Kernel,
        services: Source,
        slices: Source,
        place: Callable[[], Place] = Place,
        checks: HealthChecks | None = None,
        status: ProxyStatus | None = None,
    ) -> None:
        self._states = [ServiceState(table) for table in tables]
        self._kernel = kernel
        self._services = services
        self._slices = slices
        self._where = place
        self._place = place()
        self._checks = checks or HealthChecks()
        self._status = status or ProxyStatus()
        self._checked: dict[str, tuple[int, int]] = {}
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        slices.add_index(BY_SERVICE, service_of)

    async def run(self) -> None:
        """Apply changes until cancelled. The tables of an earlier process stay until everything is known."""
        await self._services.synced()
        await self._slices.synced()
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)
        whole = True
        try:
            while True:
                try:
                    await self._apply(whole)
                    whole = not await self._wait()
                except NftError as error:
                    self._status.failed()
                    log.error("the table of Services is made anew: %s", error)
                    whole = True
                    await asyncio.sleep(1)
        finally:
            self._checks.close()

    async def settled(self) -> None:
        """Until everything that is known by now is in the kernel."""
        while self._wake.is_set() or not self._idle.is_set():
            await self._idle.wait()
            await asyncio.sleep(0)

    async def _wait(self) -> bool:
        """Wait for a change; False when a table is found gone meanwhile."""
        try:
            # Not wait_for: it may swallow a cancellation that comes together with a change (CPython issue 86296).
            async with asyncio.timeout(_CHECK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            try:
                for state in self._states:
                    await self._kernel.transact(f"list chain {state.table.name} prerouting\n")
            except NftError:
                log.warning("somebody removed the table of Services")
                return False
        if self._where() != self._place:
            self._dirty.update(self._keys())
        return True

    def _keys(self) -> set[str]:
        return {f"{s['metadata']['namespace']}/{s['metadata']['name']}" for s in self._services.list()}

    async def _apply(self, whole: bool) -> None:
        self._wake.clear()
        self._idle.clear()
        keys, self._dirty = self._dirty, set()
        self._place = self._where()
        begun = time.perf_counter()
        if whole:
            keys = self._keys()
        known = {key: (self._service(key), self._slices.by_index(BY_SERVICE, key)) for key in sorted(keys)}
        text = "".join(state.plan(known, self._place, whole) for state in self._states)
        if text:
            await self._kernel.transact(text)
        for state in self._states:
            flows = state.commit()
            if flows:
                await self._kernel.forget_flows(state.table.family.version, flows)
            for key in state.waiting():
                self._mark(key)
        await self._check(known, whole)
        self._idle.set()
        self._status.applied(time.perf_counter() - begun)

    def _service(self, key: str) -> Obj | None:
        namespace, _, name = key.partition("/")
        return self._services.get(namespace, name)

    async def _check(self, known: Mapping[str, tuple[Obj | None, Objects]], whole: bool) -> None:
        """Bring the health checks of load balancers in line."""
        wanted = {} if whole else dict(self._checked)
        for key, (service, slices) in known.items():
            wanted.pop(key, None)
            port = service["spec"].get("healthCheckNodePort") if service is not None else None
            if service is not None and port and proxied(service):
                wanted[key] = port, local_ready(service, slices, self._place.node)
        if wanted != self._checked:
            await self._checks.sync(wanted)
            self._checked = wanted

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        if obj is not None:
            self._status.changed(service=True)
            self._mark(f"{obj['metadata']['namespace']}/{obj['metadata']['name']}")

    def _slice_changed(self, old: Obj | None, new: Obj | None) -> None:
        self._status.changed(service=False)
        for one in (old, new):
            for key in service_of(one) if one is not None else ():
                self._mark(key)

    def _mark(self, key: str) -> None:
        self._dirty.add(key)
        self._wake.set()
