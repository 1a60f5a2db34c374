"""The sockets that the server listens on."""

from __future__ import annotations

import socket

from hawser.apiserver.options import Config

BACKLOG = 1024
_IP_FREEBIND = 15
"""ip(7): an address may be bound before it exists; the one towards pods comes with the node's agent."""


class ListenError(Exception):
    """An address that cannot be had; the message says why."""


def bind(config: Config) -> list[socket.socket]:
    """The sockets, the main one first. ListenError."""
    main = _bound(config.host, config.port, free=False)
    if not config.further_host:
        return [main]
    try:
        return [main, _bound(config.further_host, main.getsockname()[1], free=True)]
    except ListenError:
        main.close()
        raise


def _bound(host: str, port: int, *, free: bool) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if free:
            made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise ListenError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return made
