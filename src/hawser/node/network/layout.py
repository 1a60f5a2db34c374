"""Which part of an engine's pod range is which node's. Pure; the same for both families.

The first node, the machine itself, has the lower half; every further one a piece of the upper half. The last 256
addresses are the nodes' own. A pod may also be given an address of another node's part (``ledger``).
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from hawser.node.network.netlink import Address

Network = IPv4Network | IPv6Network

MOST = 32
"""Nodes of an engine, at most."""
_NODES = 256
_SMALLEST = {4: 22, 6: 0}


def part(whole: Network, number: int) -> Network:
    """The range of the pods of a node; number: 1 is the machine itself."""
    lower, upper = whole.subnets()
    if number == 1:
        return lower
    size = max(_SMALLEST[whole.version], upper.prefixlen + (MOST - 1).bit_length())
    first = int(upper[0]) + ((number - 2) << (whole.max_prefixlen - size))
    return type(whole)((first, size))


def node_address(whole: Network, number: int) -> Address:
    """A further node's own address."""
    return whole[number - _NODES]


def reserved(whole: Network, address: Address) -> bool:
    """Whether an address of the range can be no pod's: a node's own, or the first two or the last one of a part."""
    if int(whole[-1]) - int(address) < _NODES:
        return True
    parts = (part(whole, number) for number in range(1, MOST + 1))
    return any(int(address) in (int(found[0]), int(found[1]), int(found[-1])) for found in parts if address in found)
