"""Which addresses a pod gets: pools hand addresses out in turn, so a freed one is reused as late as possible.

Pure: the caller keeps the state and writes it down. The annotations are Calico's ("Use a specific IP address with a
pod", "Migrate from one IP pool to another"): what is written for such a cluster means the same here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from hawser.node.network import layout
from hawser.node.network.netlink import Address

Network = IPv4Network | IPv6Network

ADDRESSES = "cni.projectcalico.org/ipAddrs"
POOLS = {4: "cni.projectcalico.org/ipv4pools", 6: "cni.projectcalico.org/ipv6pools"}
NO_IPAM = "cni.projectcalico.org/ipAddrsNoIpam"


class PoolError(Exception):
    """No address can be given; the message says why."""


class Pool:
    """The addresses of one range.

    first, last: offsets of the addresses that pods get, the last one from the end. Of the pod range of a node its first
    address, the gateway (the second) and the last are never given to pods.
    Owners are sandbox ids; an owner has at most one address.
    """

    def __init__(self, network: Network, first: int = 2, last: int = -2) -> None:
        least = 2 * (first - last)
        if network.num_addresses < least:
            raise PoolError(f"pod range {network} is too small: it needs at least {least} addresses")
        self.network = network
        self._first = int(network[first])
        self._last = int(network[last])
        self._next = self._first
        self._owner_of: dict[int, str] = {}
        self._address_of: dict[str, int] = {}

    def adopt(self, owner: str, address: Address) -> None:
        """Take over an address that was given out before a restart."""
        number = int(address)
        self._owner_of[number] = owner
        self._address_of[owner] = number
        # Continue behind the newest known address, so that a restart does not reuse what was freed just before.
        if self._first <= number <= self._last:
            self._next = max(self._next, number + 1)

    def allocate(self, owner: str, wanted: Address | None = None, avoid: Collection[int] = ()) -> Address:
        """The owner's address: the one it has, else the wanted one, else the next free one.

        avoid: addresses that are given only when there are no others. Raises PoolError when the pool is exhausted, or
        the wanted address is another's or outside the range.
        """
        held = self._address_of.get(owner)
        if held is not None:
            return self._address(held)
        number = self._take_wanted(wanted) if wanted is not None else self._take_next(avoid)
        self._owner_of[number] = owner
        self._address_of[owner] = number
        return self._address(number)

    def _address(self, number: int) -> Address:
        return self.network[number - int(self.network.network_address)]

    def owner(self, address: Address) -> str | None:
        """Who has an address."""
        return self._owner_of.get(int(address))

    def _take_wanted(self, wanted: Address) -> int:
        number = int(wanted)
        if not self._first <= number <= self._last:
            raise PoolError(f"address {wanted} is not in the pod range {self.network}")
        holder = self._owner_of.get(number)
        if holder is not None:
            raise PoolError(f"address {wanted} is in use by sandbox {holder[:13]}")
        return number

    def _take_next(self, avoid: Collection[int]) -> int:
        size = self._last - self._first + 1
        if len(self._owner_of) >= size:
            raise PoolError(f"no free address in the pod range {self.network}: all {size} are in use")
        number, spare = self._next, 0
        # Whatever is in the way, one of so many in a row is free.
        for _ in range(min(size, len(self._owner_of) + len(avoid) + 1)):
            if number > self._last:
                number = self._first
            if number not in self._owner_of:
                if number not in avoid:
                    self._next = number + 1
                    return number
                spare = spare or number
            number += 1
        return spare

    def release(self, owner: str) -> Address | None:
        """Free an owner's address; None when it had none."""
        number = self._address_of.pop(owner, None)
        if number is None:
            return None
        del self._owner_of[number]
        return self._address(number)

    def owners(self) -> set[str]:
        """All sandboxes that hold an address."""
        return set(self._address_of)


@dataclass(frozen=True, slots=True)
class Request:
    """What a pod asks for. addresses: exactly these; pools: names or ranges to choose from, by IP version."""

    addresses: tuple[Address, ...] = ()
    pools: Mapping[int, tuple[str, ...]] | None = None


def request(annotations: Mapping[str, str]) -> Request | None:
    """What a pod's annotations ask for; None for nothing. Raises PoolError."""
    if text := annotations.get(NO_IPAM):
        raise PoolError(f"annotation {NO_IPAM} is not supported: {text}")
    if text := annotations.get(ADDRESSES):
        return Request(_addresses(text))
    pools = {version: _names(name, annotations[name]) for version, name in POOLS.items() if annotations.get(name)}
    return Request(pools=pools) if pools else None


def blocked(address: Address) -> str:
    """The owner of an address that another node has."""
    return f"@{address}"


def _addresses(text: str) -> tuple[Address, ...]:
    try:
        found = tuple(ip_address(entry) for entry in json.loads(text))
        if found and len({a.version for a in found}) == len(found):
            return found
    except (ValueError, TypeError):
        pass
    raise PoolError(f"annotation {ADDRESSES} must be a JSON list with one address of each family at most: {text}")


def _names(annotation: str, text: str) -> tuple[str, ...]:
    try:
        found = json.loads(text)
        if isinstance(found, list) and found and all(isinstance(name, str) for name in found):
            return tuple(found)
    except ValueError:
        pass
    raise PoolError(f"annotation {annotation} must be a JSON list of names or ranges of pools: {text}")


class Addresses:
    """All pools of a node: one of each family, from which pods get their addresses, and those they may ask for.

    default: the pod ranges of the node, the primary family first. named: further ranges by name.
    describe: how an owner is called in messages. cluster: the ranges of all nodes: a pod may ask for any address there.
    """

    def __init__(
        self,
        default: Sequence[Network],
        named: Mapping[str, Network] | None = None,
        describe: Callable[[str], str] = lambda owner: f"sandbox {owner[:13]}",
        cluster: Sequence[Network] = (),
    ) -> None:
        self._default: dict[int, Pool] = {network.version: Pool(network) for network in default}
        self._named = {name: Pool(network, 0, -1) for name, network in (named or {}).items()}
        for version, pool in self._default.items():
            self._named.setdefault(f"default-ipv{version}-ippool", pool)
        self._elsewhere = [Pool(network) for network in cluster]
        self._describe = describe

    @property
    def _pools(self) -> Iterator[Pool]:
        yield from self._named.values()
        yield from self._elsewhere

    def adopt(self, owner: str, addresses: Iterable[Address]) -> bool:
        """Take over what was given out before a restart; False when one is in no pool any more."""
        found = [(self._of(address), address) for address in addresses]
        if any(pool is None for pool, _ in found):
            return False
        for pool, address in found:
            assert pool is not None
            pool.adopt(owner, address)
        return True

    def allocate(
        self, owner: str, wanted: Request | None = None, before: Iterable[Address] = (), avoid: Collection[int] = ()
    ) -> tuple[Address, ...]:
        """An owner's addresses: what it asks for, else those it had before, else any but those to avoid.

        Raises PoolError; then the owner has none.
        """
        try:
            if wanted is not None and wanted.addresses:
                return tuple(self._exactly(owner, address) for address in wanted.addresses)
            named = (wanted.pools if wanted is not None else None) or {}
            had: dict[int, Address] = {address.version: address for address in before}
            return tuple(
                self._any(owner, self._choice(version, named.get(version)), had.get(version), avoid)
                for version in self._default
            )
        except PoolError:
            self.release(owner)
            raise

    def release(self, owner: str) -> None:
        """Free everything an owner has."""
        for pool in self._pools:
            pool.release(owner)

    def block(self, address: Address) -> None:
        """Give an address to nobody: another node has it. ``release`` of ``blocked(address)`` ends that."""
        for pool in self._pools:
            if address in pool.network and pool.owner(address) is None:
                pool.adopt(blocked(address), address)

    def _of(self, address: Address) -> Pool | None:
        return next((pool for pool in self._pools if address in pool.network), None)

    def _exactly(self, owner: str, address: Address) -> Address:
        pool = self._of(address)
        if pool is None or (pool in self._elsewhere and layout.reserved(pool.network, address)):
            listed = [pool.network for pool in self._elsewhere or self._pools]
            ranges = ", ".join(str(network) for network in listed if network.version == address.version)
            raise PoolError(f"address {address} is not in the pod range {ranges or '(none of its family)'}")
        holder = pool.owner(address)
        if holder is not None and holder != owner:
            raise PoolError(f"address {address} is in use by {self._describe(holder)}")
        return pool.allocate(owner, address)

    def _choice(self, version: int, names: tuple[str, ...] | None) -> list[Pool]:
        if names is None:
            return [self._default[version]]
        found = []
        for name in names:
            ranges = (p for p in self._named.values() if str(p.network) == name)
            pool = self._named.get(name) or next(ranges, None)
            if pool is None or pool.network.version != version:
                known = sorted(n for n, p in self._named.items() if p.network.version == version)
                raise PoolError(f'there is no pool "{name}" for IPv{version}; there are: {", ".join(known)}')
            found.append(pool)
        return found

    def _any(self, owner: str, pools: list[Pool], before: Address | None, avoid: Collection[int]) -> Address:
        for pool in pools:
            if before is not None and before in pool.network and pool.owner(before) is None:
                try:
                    return pool.allocate(owner, before)
                except PoolError:
                    break  # The range has become another one.
        problem = PoolError("no pool")
        for pool in pools:
            try:
                return pool.allocate(owner, None, avoid)
            except PoolError as error:
                problem = error
        raise problem
