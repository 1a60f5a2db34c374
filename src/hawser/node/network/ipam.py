"""Which address a pod gets: a pool hands addresses out in turn, so a freed one is reused as late as possible.

Pure: the caller keeps the state and writes it down.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network


class PoolError(Exception):
    """No address can be given; the message says why."""


class Pool:
    """The addresses of one pod range.

    network: the range; its first address, its gateway (the second) and its last are never given to pods.
    Owners are sandbox ids; an owner has at most one address.
    """

    def __init__(self, network: IPv4Network) -> None:
        if network.num_addresses < 8:
            raise PoolError(f"pod range {network} is too small: it needs at least 8 addresses")
        self.network = network
        self.gateway = network[1]
        self._first = int(network[2])
        self._last = int(network[-2])
        self._next = self._first
        self._owner_of: dict[int, str] = {}
        self._address_of: dict[str, int] = {}

    def adopt(self, owner: str, address: IPv4Address) -> None:
        """Take over an address that was given out before a restart."""
        number = int(address)
        self._owner_of[number] = owner
        self._address_of[owner] = number
        # Continue behind the newest known address, so that a restart does not reuse what was freed just before.
        if self._first <= number <= self._last:
            self._next = max(self._next, number + 1)

    def allocate(self, owner: str, wanted: IPv4Address | None = None) -> IPv4Address:
        """The owner's address: the one it has, else the wanted one, else the next free one.

        Raises PoolError when the pool is exhausted, or the wanted address is another's or outside the range.
        """
        held = self._address_of.get(owner)
        if held is not None:
            return IPv4Address(held)
        number = self._take_wanted(wanted) if wanted is not None else self._take_next()
        self._owner_of[number] = owner
        self._address_of[owner] = number
        return IPv4Address(number)

    def _take_wanted(self, wanted: IPv4Address) -> int:
        number = int(wanted)
        if not self._first <= number <= self._last:
            raise PoolError(f"address {wanted} is not in the pod range {self.network}")
        holder = self._owner_of.get(number)
        if holder is not None:
            raise PoolError(f"address {wanted} is in use by sandbox {holder[:13]}")
        return number

    def _take_next(self) -> int:
        size = self._last - self._first + 1
        if len(self._owner_of) >= size:
            raise PoolError(f"no free address in the pod range {self.network}: all {size} are in use")
        number = self._next
        for _ in range(size):
            if number > self._last:
                number = self._first
            if number not in self._owner_of:
                self._next = number + 1
                return number
            number += 1
        raise PoolError(f"no free address in the pod range {self.network}")

    def release(self, owner: str) -> IPv4Address | None:
        """Free an owner's address; None when it had none."""
        number = self._address_of.pop(owner, None)
        if number is None:
            return None
        del self._owner_of[number]
        return IPv4Address(number)

    def owners(self) -> set[str]:
        """All sandboxes that hold an address."""
        return set(self._address_of)
