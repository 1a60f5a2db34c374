"""Network tests run in a network namespace of their own; pods are namespaces held by a descriptor, no processes."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from hawser.node.network.agent import NetworkAgent
from hawser.node.network.netns import call_in, enter

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)
_NEWNET = 0x40000000


def _unshare() -> int:
    if _libc.unshare(_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Pod:
    """A network namespace; path is good for as long as this object lives."""

    def __init__(self) -> None:
        made: list[int] = []
        thread = threading.Thread(target=lambda: made.append(_unshare()))
        thread.start()
        thread.join()
        self.descriptor = made[0]
        self.path = f"/proc/{os.getpid()}/fd/{self.descriptor}"
        self.closing: list[socket.socket] = []

    def run(self, work: Callable[[], T]) -> T:
        return call_in(self.descriptor, work)

    def close(self) -> None:
        for opened in self.closing:
            opened.close()
        os.close(self.descriptor)


@pytest.fixture
def host() -> Iterator[None]:
    """The test's thread, and those it starts, are on a fresh machine's network with a route to elsewhere."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    fresh = _unshare()
    os.system("ip link set lo up")
    try:
        yield
    finally:
        enter(home)
        os.close(home)
        os.close(fresh)


@pytest.fixture
def new_pod(host: None) -> Iterator[Callable[[], Pod]]:
    pods: list[Pod] = []

    def make() -> Pod:
        pods.append(Pod())
        return pods[-1]

    yield make
    for pod in pods:
        pod.close()


@pytest.fixture
def short_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("net")


@pytest.fixture
async def agent(host: None, short_path: Path) -> AsyncIterator[NetworkAgent]:
    from .support import config

    agent = NetworkAgent(config(short_path))
    await agent.start()
    yield agent
    await agent.teardown()
