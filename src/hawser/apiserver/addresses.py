"""IPAddresses and ServiceCIDRs: an object for every cluster address, and ranges that may be added and taken away.

Services are served from memory (``strategies.pools``); what is written here follows their commits, and who wrote a
Service is answered after it. Whatever a crash leaves undone is made good at the next start. Source: KEP-1880; "Extend
Service IP Ranges"; API reference, IPAddress and ServiceCIDR.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

import orjson

from hawser.api.errors import APIError
from hawser.api.kinds import IP_ADDRESS, SERVICE, SERVICE_CIDR
from hawser.api.types import Obj
from hawser.apiserver import index
from hawser.apiserver.deletion import DeleteOptions
from hawser.apiserver.resources import Resources
from hawser.apiserver.strategies.pools import Network
from hawser.apiserver.writes import Options, timestamp
from hawser.store.base import EventType, Record, StoreEvent, StoreUnavailable

log = logging.getLogger("hawser.apiserver")
FINALIZER = "networking.k8s.io/service-cidr-finalizer"
MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
FAMILY = "ipaddress.kubernetes.io/ip-family"
MANAGER = "ipallocator.k8s.io"
DEFAULT = "kubernetes"
_IN_USE = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
_AT_ONCE = 64
_AGAIN = 1.0


class AddressKeeper:
    """Made when the store is open and nothing is served yet; ``run`` writes what is due."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._store = resources.store
        self._addresses = resources[IP_ADDRESS]
        self._cidrs = resources[SERVICE_CIDR]
        self._services = resources[SERVICE]
        self._allocator = resources.allocator
        # Whose an address is, and which addresses a Service has, as committed.
        self._owners: dict[str, str] = {}
        self._held: dict[str, tuple[str, ...]] = {}
        self._taken: set[str] = set()
        self._due: set[str] = set()
        self._cidrs_due = True
        self._wake = asyncio.Event()
        # Rounds of writing: how many there were, and the end of the one that is under way or comes next.
        self._begun = self._ended = 0
        self._end = asyncio.Event()
        for record in self._store.list(self._services.prefix):
            self._note(record)
        for record in self._store.list(self._addresses.prefix):
            self._seen(record.key.removeprefix(self._addresses.prefix))
        self._serve_ranges()
        self._store.follow(self._services.prefix, self._on_services)
        self._store.follow(self._addresses.prefix, self._on_addresses)
        self._store.follow(self._cidrs.prefix, self._on_cidrs)

    def _note(self, record: Record) -> None:
        """A Service as it is committed."""
        key = record.key.removeprefix(self._services.prefix)
        addresses = self._addresses_of(record)
        before = self._held.get(key, ())
        if addresses == before:
            return
        self._lose(key, *(address for address in before if address not in addresses))
        if addresses:
            self._held[key] = addresses
        for address in addresses:
            if self._owners.get(address) != key:
                self._owners[address] = key
                self._due.add(address)

    def _addresses_of(self, record: Record) -> tuple[str, ...]:
        if len(self._allocator.networks) > 1:
            spec = orjson.loads(record.value)["spec"]
            listed = spec.get("clusterIPs") or [spec.get("clusterIP")]
        else:
            listed = [index.of(SERVICE, record).field("spec.clusterIP")]
        return tuple(address for address in listed if address and address != "None")

    def _lose(self, key: str, *addresses: str) -> None:
        self._held.pop(key, None)
        for address in addresses:
            if self._owners.get(address) == key:
                del self._owners[address]
            self._due.add(address)

    def _seen(self, name: str) -> None:
        """An IPAddress that is nobody's here is taken all the same: Services must not get it."""
        if name in self._owners:
            return
        self._due.add(name)
        pool = self._allocator.pool(name)
        if pool is not None and pool.take(int(ip_address(name))):
            self._taken.add(name)

    def _on_services(self, events: Sequence[StoreEvent]) -> None:
        for event in events:
            if event.type is EventType.DELETED:
                key = event.record.key.removeprefix(self._services.prefix)
                self._lose(key, *self._held.get(key, ()))
            else:
                self._note(event.record)
        if self._due:
            self._wake.set()

    def _on_addresses(self, events: Sequence[StoreEvent]) -> None:
        for event in events:
            name = event.record.key.removeprefix(self._addresses.prefix)
            if event.type is not EventType.DELETED:
                self._seen(name)
                continue
            if name in self._owners:
                self._due.add(name)
            if name in self._taken:
                # Only what was taken here: a Service that is about to be written may have it meanwhile.
                self._taken.discard(name)
                self._allocator.give_back(name)
            self._cidrs_due = True
        self._wake.set()

    def _on_cidrs(self, events: Sequence[StoreEvent]) -> None:
        self._serve_ranges()
        self._cidrs_due = True
        self._wake.set()

    def _all_cidrs(self) -> list[Obj]:
        return [orjson.loads(record.value) for record in self._store.list(self._cidrs.prefix)]

    def _serve_ranges(self) -> None:
        networks = _networks(cidr for cidr in self._all_cidrs() if not _ending(cidr))
        for pool in self._allocator.pools.values():
            pool.serve(networks)

    async def run(self) -> None:
        """Until it is cancelled."""
        self._wake.set()
        self._services.after_write = self.settled
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if not await self._round():
                    await asyncio.sleep(_AGAIN)
        finally:
            self._services.after_write = None
            self._end.set()

    async def settled(self) -> None:
        """Wait until what is due now has been written, or could not be."""
        wanted = self._begun + bool(self._due)
        while self._ended < wanted and not self._end.is_set():
            await self._end.wait()

    async def _round(self) -> bool:
        """Write what is due; False when that failed and is due still."""
        self._begun += 1
        due, self._due = self._due, set()
        cidrs_due, self._cidrs_due = self._cidrs_due, False
        try:
            await self._settle(due)
            if cidrs_due:
                await self._settle_cidrs()
        except (APIError, StoreUnavailable) as error:
            log.warning("IPAddresses and ServiceCIDRs were not written: %s", error)
            if (task := asyncio.current_task()) is not None and task.cancelling():
                # The failure of a part came before its cancellation, and took its place.
                raise asyncio.CancelledError from error
            self._due |= due
            self._cidrs_due = self._cidrs_due or cidrs_due
            self._wake.set()
            return False
        finally:
            self._ended = self._begun
            self._end.set()
            self._end = asyncio.Event()
        return True

    async def _settle(self, due: Iterable[str]) -> None:
        """Bring the objects of some addresses in line with who has them."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(address: str) -> None:
            async with gate:
                await self._settle_one(address)

        await asyncio.gather(*map(one, due))

    async def _settle_one(self, address: str) -> None:
        owner = self._owners.get(address)
        record = self._store.get(self._addresses.prefix + address)
        found: Obj | None = orjson.loads(record.value) if record is not None else None
        wanted = _object(address, owner) if owner is not None else None
        if found is not None:
            if wanted is not None and found.get("spec") == wanted["spec"]:
                return
            managed = (found["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER
            if not managed:
                # Somebody else's, who came first.
                return
            await self._delete(found)
        if wanted is not None:
            try:
                await self._addresses.create("", wanted, Options())
            except APIError as error:
                if error.reason != "AlreadyExists":
                    raise
                self._due.add(address)

    async def _delete(self, found: Obj) -> None:
        metadata = found["metadata"]
        try:
            await self._addresses.delete("", metadata["name"], DeleteOptions(uid=metadata["uid"]), Options())
        except APIError as error:
            if error.reason not in ("NotFound", "Conflict"):
                raise

    async def _settle_cidrs(self) -> None:
        cidrs = self._all_cidrs()
        if not any(cidr["metadata"]["name"] == DEFAULT for cidr in cidrs):
            networks = [str(network) for network in self._allocator.networks]
            await self._cidrs.create("", {"metadata": {"name": DEFAULT}, "spec": {"cidrs": networks}}, Options())
            cidrs = self._all_cidrs()
        for cidr in cidrs:
            try:
                await self._settle_cidr(cidr, cidrs)
            except APIError as error:
                if error.reason not in ("NotFound", "Conflict"):
                    raise

    async def _settle_cidr(self, cidr: Obj, cidrs: list[Obj]) -> None:
        name = cidr["metadata"]["name"]
        held = FINALIZER in (cidr["metadata"].get("finalizers") or ())
        if not _ending(cidr):
            if not held:
                await self._cidrs.update("", name, lambda old: _finalizers(old, True), Options())
            what = "Kubernetes default Service CIDR" if name == DEFAULT else "Kubernetes Service CIDR"
            await self._condition(cidr, "True", "", f"{what} is ready")
        elif self._in_use(cidr, cidrs):
            await self._condition(cidr, "False", "Terminating", _IN_USE)
        elif held:
            await self._cidrs.update("", name, lambda old: _finalizers(old, False), Options())

    def _in_use(self, cidr: Obj, cidrs: list[Obj]) -> bool:
        """Whether there are addresses of a range that no other range has."""
        mine = _networks([cidr])
        others = _networks(c for c in cidrs if c is not cidr and not _ending(c))
        for record in self._store.list(self._addresses.prefix):
            if index.of(IP_ADDRESS, record).labels.get(MANAGED_BY) != MANAGER:
                continue
            ip = ip_address(record.key.removeprefix(self._addresses.prefix))
            if any(ip in network for network in mine) and not any(ip in network for network in others):
                return True
        return False

    async def _condition(self, cidr: Obj, status: str, reason: str, message: str) -> None:
        ready: Obj = {"type": "Ready", "status": status, "reason": reason, "message": message}
        now = timestamp(self._resources.now())

        def change(old: Obj) -> Obj:
            conditions = (old.get("status") or {}).get("conditions") or []
            found = next((c for c in conditions if c.get("type") == "Ready"), None)
            if found is not None and all(found.get(key, "") == value for key, value in ready.items()):
                return old
            since = found["lastTransitionTime"] if found is not None and found.get("status") == status else now
            others = [c for c in conditions if c.get("type") != "Ready"]
            listed = [*others, {**ready, "lastTransitionTime": since}]
            return {**old, "metadata": dict(old["metadata"]), "status": {"conditions": listed}}

        await self._cidrs.update("", cidr["metadata"]["name"], change, Options(subresource="status"), status=True)


def _ending(obj: Obj) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def _networks(cidrs: Iterable[Obj]) -> list[Network]:
    return [ip_network(text) for cidr in cidrs for text in cidr["spec"]["cidrs"]]


def _finalizers(obj: Obj, held: bool) -> Obj:
    """The object with the finalizer, or without it."""
    left = [name for name in obj["metadata"].get("finalizers") or () if name != FINALIZER]
    return {**obj, "metadata": {**obj["metadata"], "finalizers": [*left, FINALIZER] if held else left}}


def _object(address: str, owner: str) -> Obj:
    namespace, _, name = owner.partition("/")
    return {
        "metadata": {
            "name": address,
            "labels": {FAMILY: f"IPv{ip_address(address).version}", MANAGED_BY: MANAGER},
        },
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
    }
