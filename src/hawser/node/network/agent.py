"""The pod network of one engine: answers CNI requests, keeps addresses, links, host ports; cleans up after crashes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from hawser.node.network import bandwidth, cni, netns, plugin
from hawser.node.network.allocator import Allocator, Pods, described
from hawser.node.network.cni import CNIError, Code, Request
from hawser.node.network.config import NetworkConfig
from hawser.node.network.conntrack import Flow, forget_stale
from hawser.node.network.ipam import PoolError
from hawser.node.network.links import Links, PodLink, default_mtu, pod_mac, veth_name
from hawser.node.network.netlink import Address
from hawser.node.network.nft import Nft, NftError
from hawser.node.network.podtable import datagram_flows, drop_table, host_port_commands, pod_table
from hawser.node.network.records import Record, Records
from hawser.node.network.uplink import Announcer

log = logging.getLogger(__name__)
T = TypeVar("T")

# Between making a namespace and asking for its network the runtime does nothing else.
_NAMESPACE_SECONDS = 20.0


class Guard(Protocol):
    """Who says what pods may reach, and who may reach them."""

    async def cover(self, record: Record) -> None:
        """Returns when nothing reaches, or is reached by, the pod but what may. Raises CNIError."""

    def gone(self) -> None:
        """A pod has left the network."""


@dataclass(slots=True)
class _Turn:
    """Requests for one sandbox take turns; users: how many have or wait for the lock."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class NetworkAgent:
    """See the module. ``start`` before use; ``stop`` leaves pods connected; ``teardown`` removes everything.

    guard: to be set before ``start``; no pod runs before it is covered.
    """

    def __init__(self, config: NetworkConfig, pods: Pods | None = None) -> None:
        self.config = config
        self._pods = pods
        self._allocator = Allocator(config, pods, self._describe)
        self._announcer: Announcer | None = None
        self._held: dict[str, Record] = {}
        self._suspects: set[str] = set()
        self._busy: dict[str, _Turn] = {}
        self._unclaimed: dict[str, float] = {}
        # Netlink and nftables block under the kernel's network lock: one thread of their own keeps order and the
        # event loop free.
        self._thread = ThreadPoolExecutor(1, "network")
        self._links: Links
        self._nft: Nft
        self._records: Records
        self._connected = False
        self._server: asyncio.Server | None = None
        self.guard: Guard | None = None

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    async def start(self) -> None:
        """Make or adopt the node's side of the network, then answer plugins. Raises OSError, NftError."""
        config = self.config
        await self._connect()
        await self._run(self._links.ensure_gateway, config.swallowed)
        for record in self._records.load():
            if self._allocator.adopt(record):
                self._held[record.container_id] = record
                self._suspects.add(record.container_id)
            else:
                self._records.forget(record.container_id)
        await self._run(self._settle)
        await self._run(self._nft.run, self._tables(self._held.values()))
        await self._run(self._drop_other_families)
        self._server = await cni.serve(config.socket, self.handle)
        plugin.install(config.cni_bin_dir, config.cni_conf_dir, config.socket, config.network)

    async def _connect(self) -> None:
        if not self._connected:
            await self._run(self._open)
            self._connected = True

    def _open(self) -> None:
        config = self.config
        mtu = config.mtu or default_mtu()
        if config.uplink is not None:
            self._announcer = Announcer(config.uplink)
        self._links = Links(config.link_prefix, config.gateway_link, config.gateways, mtu)
        self._nft = Nft()
        self._records = Records(config.state_dir)

    def _settle(self) -> None:
        """Brings what other nodes are told of this one's addresses in line with its sandboxes."""
        for record in self._held.values():
            if self._announcer is not None:
                self._announcer.announce(self._out_of_range(record))
        self._allocator.settle(self._held.values())

    def _out_of_range(self, record: Record) -> list[Address]:
        return [a for a in record.addresses if not any(a in cidr for cidr in self.config.pod_cidrs)]

    def _drop_other_families(self) -> None:
        """Remove what an engine that had both families left when it went on with one."""
        if 6 in self.config.gateways:
            return
        try:
            for table in (self.config.table, self.config.services_table):
                self._nft.run(drop_table(f"ip6 {table}"))
        except NftError as error:
            log.debug("no tables of IPv6: %s", error)

    def _tables(self, records: Iterable[Record]) -> str:
        listed = list(records)
        return "".join(pod_table(spec, listed) for spec in self.config.table_specs)

    async def stop(self) -> None:
        """Stop answering; pods keep their network."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._connected:
            self._connected = False
            await self._run(self._links.close)
            if self._announcer is not None:
                await self._run(self._announcer.close)
            await self._run(self._nft.close)
        self._thread.shutdown()

    async def teardown(self) -> None:
        """Remove links, tables, records and files of the engine's network, and stop. Needs no start before."""
        await self._connect()
        await self._run(self._links.teardown)
        pods, services = self.config.table_specs, self.config.service_tables
        for name in [
            f"inet {self.config.policies_table}",
            *(table.name for table in pods),
            *(table.name for table in services),
        ]:
            await self._run(self._nft.run, drop_table(name))
        await self._run(self._drop_other_families)
        for record in list(self._records.load()):
            self._forget(record.container_id)
        plugin.forget_results(self.config.network)
        (self.config.cni_conf_dir / plugin.CONFLIST).unlink(missing_ok=True)
        await self.stop()
        self.config.socket.unlink(missing_ok=True)

    async def gc(self, live_ids: Iterable[str]) -> list[str]:
        """Free what sandboxes that are gone still hold; the ids that were freed.

        live_ids: every sandbox that the runtime knows. A sandbox may be added while that list is on its way, so one
        is freed when it is missing in two lists running, or in the first list after a start.
        """
        live = set(live_ids)
        missing = {i for i in self._held if i not in live and i not in self._busy}
        gone = sorted(missing & self._suspects)
        self._suspects = missing
        for container_id in gone:
            await self._delete(container_id)
        known = live | set(self._held) | set(self._busy)
        await self._run(self._links.sweep, known)
        # A boot ends sandboxes without a DEL, which alone would remove these.
        await self._run(plugin.forget_results, self.config.network, known)
        await self._run(self._sweep_namespaces, {record.netns for record in self._held.values()})
        return gone

    def _sweep_namespaces(self, claimed: set[str]) -> None:
        """Lets go of namespaces that a runtime made and, killed at that moment, does not know any more."""
        folder = self.config.namespaces
        if folder is None or self._busy:
            return
        now = time.monotonic()
        unclaimed = [path for path in netns.mounted(folder) if path not in claimed]
        self._unclaimed = {path: self._unclaimed.get(path, now) for path in unclaimed}
        for path, since in list(self._unclaimed.items()):
            if now - since >= _NAMESPACE_SECONDS:
                netns.release(path)
                del self._unclaimed[path]

    async def transact(self, commands: str) -> str:
        """Run nftables commands as one transaction; what they print. Raises NftError."""
        return await self._run(self._nft.run, commands)

    async def forget_flows(self, version: int, flows: Mapping[Flow, frozenset[str]]) -> None:
        """Forget UDP flows that go elsewhere than they may; version: of IP. A failure is logged: they time out."""
        try:
            await self._run(forget_stale, version, flows)
        except OSError as error:
            log.warning("stale UDP flows are left to time out: %s", error)

    def records(self) -> Iterable[Record]:
        """Every sandbox on the network."""
        return self._held.values()

    def record(self, container_id: str) -> Record | None:
        """What the network knows of a sandbox."""
        return self._held.get(container_id)

    async def handle(self, request: Request) -> dict[str, Any] | None:
        """Do one CNI request; the result to print. Raises CNIError."""
        turn = self._busy.setdefault(request.container_id, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                match request.command:
                    case "ADD":
                        return await self._add(request)
                    case "DEL":
                        await self._delete(request.container_id)
                        return None
                    case "CHECK":
                        await self._check(request)
                        return None
            raise CNIError(Code.INVALID_ENVIRONMENT, f"CNI_COMMAND {request.command} is not supported")
        finally:
            turn.users -= 1
            if not turn.users:
                del self._busy[request.container_id]

    async def _add(self, request: Request) -> dict[str, Any]:
        rates = self._rates(request)
        record = self._plan(request)
        self._held[record.container_id] = record
        try:
            # The record goes first: whatever is cut short afterwards can be found and undone.
            self._records.save(record)
            await self._run(self._attach, record, *rates)
            if self.guard is not None:
                await self.guard.cover(record)
        except BaseException as error:
            await self._delete(record.container_id)
            if isinstance(error, NftError):
                raise CNIError(Code.LINK_FAILURE, "cannot set the pod's host ports", str(error)) from error
            if isinstance(error, OSError):
                raise CNIError(Code.LINK_FAILURE, "cannot connect the pod", str(error)) from error
            raise
        link = veth_name(self.config.link_prefix, record.container_id)
        return cni.added(request, record.addresses, self.config.gateways, link, pod_mac(record.address).hex(":"))

    def _plan(self, request: Request) -> Record:
        """The sandbox's record with its addresses taken. Raises CNIError."""
        namespace = request.args.get("K8S_POD_NAMESPACE", "")
        pod, uid = request.args.get("K8S_POD_NAME", ""), request.args.get("K8S_POD_UID", "")
        try:
            addresses = self._allocator.allocate(request.container_id, namespace, pod, uid)
        except PoolError as error:
            raise CNIError(Code.ADDRESS_UNAVAILABLE, str(error)) from error
        return Record(
            request.container_id,
            addresses,
            request.netns,
            request.interface,
            namespace,
            pod,
            uid,
            request.ports,
        )

    def _describe(self, container_id: str) -> str:
        record = self._held.get(container_id)
        return described(record) if record is not None else ""

    def _rates(self, request: Request) -> tuple[int, int]:
        """What the pod may receive and send, in bits a second; 0 for no limit. Raises CNIError."""
        args = request.args
        namespace, name = args.get("K8S_POD_NAMESPACE", ""), args.get("K8S_POD_NAME", "")
        pod = self._pods.get(namespace, name) if self._pods is not None else None
        notes = pod["metadata"].get("annotations") if pod is not None else None
        try:
            return bandwidth.limits(notes) if notes else (0, 0)
        except bandwidth.BandwidthError as error:
            raise CNIError(Code.INVALID_CONFIG, str(error)) from error

    def _attach(self, record: Record, ingress: int = 0, egress: int = 0) -> None:
        link = PodLink(record.container_id, record.netns, record.interface, record.addresses, ingress, egress)
        self._links.attach(link)
        if self._announcer is not None:
            self._announcer.announce(self._out_of_range(record))
        if not record.ports:
            return
        self._nft.run("".join(host_port_commands(spec, record) for spec in self.config.table_specs))
        for spec in self.config.table_specs:
            if flows := datagram_flows(spec, record):
                forget_stale(spec.version, flows)

    async def _delete(self, container_id: str) -> None:
        record = self._held.get(container_id)
        if record is None:
            return
        await self._run(self._detach, record)
        self._forget(container_id)

    def _detach(self, record: Record) -> None:
        self._links.detach(record.container_id, record.addresses)
        if self._announcer is not None:
            self._announcer.withdraw(self._out_of_range(record))
        if record.ports:
            # Rebuilt rather than deleted: a host port that another pod took over is kept.
            others = [r for r in self._held.values() if r.container_id != record.container_id]
            self._nft.run(self._tables(others))

    def _forget(self, container_id: str) -> None:
        self._records.forget(container_id)
        self._allocator.release(container_id, self._held.pop(container_id, None))
        if self.guard is not None:
            self.guard.gone()

    async def _check(self, request: Request) -> None:
        if request.container_id not in self._held:
            raise CNIError(Code.UNKNOWN_CONTAINER, f"sandbox {request.container_id[:13]} has no address")
        if not await self._run(self._links.present, request.container_id):
            raise CNIError(Code.LINK_FAILURE, f"the link of sandbox {request.container_id[:13]} is gone")
