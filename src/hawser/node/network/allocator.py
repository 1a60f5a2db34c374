"""Which addresses a sandbox gets: what its pod asks for, what it had before, what no other node has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from ipaddress import ip_address
from typing import Protocol

from hawser.api.status import has_ended
from hawser.api.types import Obj
from hawser.node.network import ipam
from hawser.node.network.config import NetworkConfig
from hawser.node.network.ipam import Addresses
from hawser.node.network.ledger import Ledger, Taken
from hawser.node.network.netlink import Address
from hawser.node.network.records import Record

log = logging.getLogger(__name__)


class Pods(Protocol):
    """What the network asks about the node's pods: an informer."""

    def get(self, namespace: str | None, name: str) -> Obj | None: ...
    def list(self, namespace: str | None = None) -> list[Obj]: ...


class Allocator:
    """The node's pools (``ipam``), and what other nodes are told of them (``ledger``).

    describe: what a sandbox of the node is called in messages; "" for one that is not known.
    """

    def __init__(self, config: NetworkConfig, pods: Pods | None, describe: Callable[[str], str]) -> None:
        self._pods = pods
        self._describe_own = describe
        self._addresses = Addresses(config.pod_cidrs, config.pools, self._describe, config.cluster_cidrs)
        self._ledger = Ledger(config.ledger, config.node) if config.ledger is not None else None
        self._blocked: set[Address] = set()

    def adopt(self, record: Record) -> bool:
        """Takes over what was given out before a restart; False when an address is in no pool any more."""
        return self._addresses.adopt(record.container_id, record.addresses)

    def settle(self, records: Collection[Record]) -> None:
        """Brings what other nodes are told in line with the node's sandboxes, after a start. Raises OSError."""
        if self._ledger is None:
            return
        self._ledger.open()
        self._ledger.settle(record.container_id for record in records)
        for record in records:
            try:
                self._ledger.claim(record.container_id, record.addresses, described(record))
            except Taken as taken:
                log.error("two pods have one address: %s has it, but %s", described(record), taken)

    def allocate(self, owner: str, namespace: str, name: str, uid: str) -> tuple[Address, ...]:
        """A sandbox's addresses; namespace, name, uid: of its pod, "" for none. Raises PoolError, OSError."""
        if self._ledger is None:
            return self._choose(owner, namespace, name, uid)
        for address in [a for a in self._blocked if self._ledger.holder(a) is None]:
            self._blocked.remove(address)
            self._addresses.release(ipam.blocked(address))
        while True:
            addresses = self._choose(owner, namespace, name, uid)
            try:
                self._ledger.claim(owner, addresses, f"pod {namespace}/{name}" if name else "")
            except Taken as taken:
                # With each turn there is one less to choose from.
                self._addresses.release(owner)
                self._addresses.block(taken.address)
                self._blocked.add(taken.address)
            except OSError:
                self._addresses.release(owner)
                raise
            else:
                return addresses

    def release(self, owner: str, record: Record | None) -> None:
        """Frees what a sandbox has; record: None when it never came to one."""
        self._addresses.release(owner)
        if self._ledger is not None and record is not None:
            self._ledger.release(owner, record.addresses)

    def _choose(self, owner: str, namespace: str, name: str, uid: str) -> tuple[Address, ...]:
        """What the pod asks for, else what it had in an earlier sandbox (before a boot, say)."""
        pod = self._pods.get(namespace, name) if self._pods is not None else None
        if self._pods is None or pod is None:
            return self._addresses.allocate(owner)
        metadata = pod["metadata"]
        wanted = ipam.request(notes) if (notes := metadata.get("annotations")) else None
        before = _addresses_of(pod) if metadata.get("uid") == uid else ()
        # What others had and will want again is given to nobody else as long as there is anything else.
        avoid = {int(address) for other in self._pods.list() if other is not pod for address in _addresses_of(other)}
        return self._addresses.allocate(owner, wanted, before, avoid)

    def _describe(self, owner: str) -> str:
        if owner.startswith("@") and self._ledger is not None:
            return str(self._ledger.holder(ip_address(owner[1:])) or "another node")
        return self._describe_own(owner) or f"sandbox {owner[:13]}"


def described(record: Record) -> str:
    """What a sandbox is called in messages."""
    return f"pod {record.namespace}/{record.pod}" if record.pod else f"sandbox {record.container_id[:13]}"


def _addresses_of(pod: Obj) -> list[Address]:
    """The addresses in the status of a pod that is still to run and has a network of its own."""
    if has_ended(pod) or pod["spec"].get("hostNetwork"):
        return []
    return [ip_address(row["ip"]) for row in (pod.get("status") or {}).get("podIPs") or () if row.get("ip")]
