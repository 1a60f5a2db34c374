"""Sockets that are connected to a server."""

from __future__ import annotations

import asyncio
import socket
from asyncio import staggered
from collections.abc import Callable
from functools import partial
from typing import Any

# Of several addresses of a name the next one is tried as well after so long (RFC 8305).
_STAGGER_SECONDS = 0.25
# A peer that is gone without a word is noticed within half a minute (tcp(7)).
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
_SENDING_MILLISECONDS = 15_000


def notice(made: socket.socket) -> None:
    """The socket notices within half a minute that the other side is not there any more."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)


def notice_sending(made: socket.socket) -> None:
    """The same, also when something was sent: the kernel would try for a quarter of an hour."""
    notice(made)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SENDING_MILLISECONDS)


async def connected(host: str, port: int, prepare: Callable[[socket.socket], None]) -> socket.socket:
    """A socket to the first of the host's addresses that answers.

    prepare: called with every socket before it is connected. Raises OSError of the first address when none answers.
    """
    addresses = await _addresses(host, port)
    if len(addresses) == 1:
        return await _open(addresses[0], prepare)
    made: socket.socket | None
    made, _, errors = await staggered.staggered_race(
        [partial(_open, address, prepare) for address in addresses], _STAGGER_SECONDS
    )
    if made is None:
        raise next((error for error in errors if error is not None), OSError(f"{host} has no address"))
    return made


async def _open(address: tuple[Any, ...], prepare: Callable[[socket.socket], None]) -> socket.socket:
    """address: as of getaddrinfo."""
    made = socket.socket(*address[:3])
    try:
        made.setblocking(False)
        prepare(made)
        await asyncio.get_running_loop().sock_connect(made, address[4])
    except BaseException:
        made.close()
        raise
    return made


async def _addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    """Of a name, or of an address, which needs no thread to be found."""
    try:
        return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)]
    except socket.gaierror:
        return [*await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)]
