"""Fixtures of the node agent's tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hawser.client.client import Client
from hawser.node.volumes.mounts import unmount_below

from . import engine as engines
from . import private_containerd
from .engine import Engine
from .private_containerd import Containerd
from .running import node_is_there, remove_pods, until


@pytest.fixture(scope="session")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """One private containerd for the whole run, with the test images."""
    if not private_containerd.available():
        pytest.skip("needs root, containerd, runc, ctr and a static busybox")
    # What runs left that were killed: pytest takes their folders away, but not what is mounted in them.
    base = tmp_path_factory.getbasetemp().parent
    for dead in (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base).glob("garbage-*"):
        unmount_below(dead)
    folder = Path(tmp_path_factory.mktemp("cd"))
    with private_containerd.running(folder) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def engine(
    request: pytest.FixtureRequest, containerd: Containerd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """An API server and an agent, with the flags AGENT_FLAGS of the module; its pods have the node's network."""
    folder = Path(tmp_path_factory.mktemp("engine"))
    flags = getattr(request.module, "AGENT_FLAGS", ())
    with engines.running(folder, containerd, agent_flags=flags) as running:
        yield running
        asyncio.run(remove_pods(running))


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[Client]:
    """An administrator of the engine whose node is there."""
    async with Client.from_kubeconfig(engine.kubeconfig) as made:
        await until(lambda: node_is_there(made))
        yield made
