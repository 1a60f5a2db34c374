"""How packets find a pod whose address is not of its node's range: by a route of its own on the machine between nodes.

A further node is a network namespace that hangs on the machine's by one link (``hawser.cli.engine.nodenet``). Ranges
are routed there once; an address out of range is announced when its pod comes and withdrawn when it goes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hawser.node.network import netlink, netns
from hawser.node.network.netlink import Address


@dataclass(frozen=True, slots=True)
class Uplink:
    """namespace: the machine's network namespace; link: its end of the node's link; via: the node's addresses there."""

    namespace: Path
    link: str
    via: tuple[Address, ...]


class Announcer:
    """Keeps routes to the node's pods on the machine. Not for use from several threads at once."""

    def __init__(self, uplink: Uplink) -> None:
        self._uplink = uplink
        self._via = {address.version: address for address in uplink.via}
        descriptor = os.open(uplink.namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._socket = netns.call_in(descriptor, netlink.Socket)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        self._socket.close()

    def announce(self, addresses: Iterable[Address]) -> None:
        """Leads packets for addresses to the node; repeating it is no error. Raises OSError."""
        index = self._index()
        requests = [
            netlink.new_route_via(a, a.max_prefixlen, self._via[a.version], index)
            for a in addresses
            if a.version in self._via
        ]
        if requests:
            self._socket.send(requests)

    def withdraw(self, addresses: Iterable[Address]) -> None:
        """Takes the routes back, unless they lead elsewhere by now. Raises OSError."""
        try:
            index = self._index()
            if requests := [netlink.delete_route_via(a, a.max_prefixlen, index) for a in addresses]:
                self._socket.send(requests)
        except OSError as error:
            if error.errno not in (errno.ESRCH, errno.ENODEV):
                raise

    def _index(self) -> int:
        index = self._socket.index(self._uplink.link)
        if not index:
            raise OSError(errno.ENODEV, "the node's link is gone", self._uplink.link)
        return index
