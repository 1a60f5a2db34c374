"""Keeps the nftables table of Services in step with Services and EndpointSlices."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from hawser.api.types import Obj
from hawser.node.network.nft import NftError
from hawser.node.network.services import EMPTY, SERVICE_NAME, Change, Fragment, commands, fragment, service_table

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


def service_of(one: Obj) -> list[str]:
    """The key of an EndpointSlice's Service, as an index function."""
    metadata = one["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME)
    return [f"{metadata['namespace']}/{name}"] if name else []


class ServiceProxy:
    """Call ``run`` once; changes reach the kernel as fast as nftables takes them, many in one transaction.

    transact: runs nftables commands (``NetworkAgent.transact``), raises NftError.
    services, slices: informers of Services and EndpointSlices. node: the node's name, for local traffic policies.
    """

    def __init__(
        self,
        table: str,
        service_cidr: IPv4Network,
        gateway: IPv4Address,
        transact: Callable[[str], Awaitable[str]],
        services: Source,
        slices: Source,
        node: str = "",
    ) -> None:
        self._table = table
        self._base = service_table(table, service_cidr, gateway)
        self._transact = transact
        self._services = services
        self._slices = slices
        self._node = node
        self._applied: dict[str, Fragment] = {}
        self._hairpin: Counter[str] = Counter()
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        slices.add_index(BY_SERVICE, service_of)

    async def run(self) -> None:
        """Apply changes until cancelled. The table of an earlier process stays until everything is known."""
        await self._services.synced()
        await self._slices.synced()
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)
        whole = True
        while True:
            try:
                await self._apply(whole)
                whole = not await self._wait()
            except NftError as error:
                log.error("the table of Services is made anew: %s", error)
                whole = True
                await asyncio.sleep(1)

    async def _wait(self) -> bool:
        """Wait for a change; False when the table is found gone meanwhile."""
        try:
            # Not wait_for: it may swallow a cancellation that comes together with a change (CPython issue 86296).
            async with asyncio.timeout(_CHECK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            try:
                await self._transact(f"list chain ip {self._table} prerouting\n")
            except NftError:
                log.warning("somebody removed the table of Services")
                return False
        return True

    async def _apply(self, whole: bool) -> None:
        self._wake.clear()
        keys = self._dirty
        self._dirty = set()
        if whole:
            self._applied.clear()
            self._hairpin.clear()
            keys = {f"{s['metadata']['namespace']}/{s['metadata']['name']}" for s in self._services.list()}
        changes: dict[str, Change] = {}
        for key in sorted(keys):
            old, new = self._applied.get(key, EMPTY), self._fragment(key)
            if old != new:
                changes[key] = Change(old, new)
        hairpin = self._hairpin.copy()
        for change in changes.values():
            hairpin.update(change.new.hairpin)
            hairpin.subtract(change.old.hairpin)
        hairpin = +hairpin
        text = commands(
            self._table, changes.values(), hairpin.keys() - self._hairpin.keys(), self._hairpin.keys() - hairpin.keys()
        )
        if whole:
            text = self._base + text
        if text:
            await self._transact(text)
        for key, change in changes.items():
            self._applied[key] = change.new
            if change.new == EMPTY:
                del self._applied[key]
        self._hairpin = hairpin

    def _fragment(self, key: str) -> Fragment:
        namespace, _, name = key.partition("/")
        service = self._services.get(namespace, name)
        if service is None:
            return EMPTY
        try:
            return fragment(service, self._slices.by_index(BY_SERVICE, key), self._node)
        except (KeyError, TypeError, ValueError) as error:
            log.error("Service %s cannot be served: %r", key, error)
            return EMPTY

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        if obj is not None:
            self._mark(f"{obj['metadata']['namespace']}/{obj['metadata']['name']}")

    def _slice_changed(self, old: Obj | None, new: Obj | None) -> None:
        for one in (old, new):
            for key in service_of(one) if one is not None else ():
                self._mark(key)

    def _mark(self, key: str) -> None:
        self._dirty.add(key)
        self._wake.set()
