"""Numbers of which each is used at most once: cluster addresses and node ports.

Source: Service documentation, "Avoiding collisions" (the lower band of a range is for static choices); "Extend Service
IP Ranges".
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network
_TRIES = 64
_LARGEST = 1 << 16
# In smaller networks no addresses are kept for static choices.
_SMALLEST = 16


class Pool:
    """Numbers of a range, each used at most once. first, last: inclusive.

    static: so many at the start are the last choice. used: shared with other pools.
    """

    def __init__(self, first: int, last: int, static: int, used: set[int] | None = None) -> None:
        self.first = first
        self.last = last
        self._static = static
        self._used: set[int] = set() if used is None else used

    def take(self, number: int) -> bool:
        """Reserve this number; False when it is used already."""
        if number in self._used:
            return False
        self._used.add(number)
        return True

    def holds(self, number: int) -> bool:
        """Whether the number is in the range."""
        return self.first <= number <= self.last

    def pick(self) -> int | None:
        """Reserve any free number, of the upper band first; None when there is none."""
        start = min(self.first + self._static, self.last)
        for _ in range(_TRIES):
            number: int = random.randint(start, self.last)
            if self.take(number):
                return number
        for number in (*range(start, self.last + 1), *range(self.first, start)):
            if self.take(number):
                return number
        return None

    def give_back(self, number: int) -> None:
        """The number is free again."""
        self._used.discard(number)


class Addresses:
    """The addresses of several networks of one family, which may overlap; the first network is always there."""

    def __init__(self, network: Network) -> None:
        self._used: set[int] = set()
        self._first = network
        self._pools = {network: self._pool(network)}

    def serve(self, networks: Iterable[Network]) -> None:
        """Pick from these networks, too, and from no others. What is used stays used."""
        version = self._first.version
        wanted = dict.fromkeys((self._first, *(network for network in networks if network.version == version)))
        self._pools = {network: self._pools.get(network) or self._pool(network) for network in wanted}

    def take(self, number: int) -> bool:
        """Reserve this address; False when it is used already."""
        if number in self._used:
            return False
        self._used.add(number)
        return True

    def holds(self, number: int) -> bool:
        """Whether the address is of one of the networks."""
        return any(pool.holds(number) for pool in self._pools.values())

    def pick(self) -> int | None:
        """Reserve any free address; None when there is none."""
        for pool in self._pools.values():
            if (number := pool.pick()) is not None:
                return number
        return None

    def give_back(self, number: int) -> None:
        """The address is free again."""
        self._used.discard(number)

    def _pool(self, network: Network) -> Pool:
        size = network.num_addresses
        first = int(network.network_address) + 1
        if size <= 2:
            # A network of one or two addresses has no others to give.
            return Pool(first - 1, first + size - 2, 0, self._used)
        last = int(network.network_address) + size - 2 if network.version == 4 else first + min(size, _LARGEST) - 2
        return Pool(first, last, min(max(16, size // 16), 256) if size > _SMALLEST else 0, self._used)
