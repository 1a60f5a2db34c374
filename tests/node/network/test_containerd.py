from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from hawser.node.cri.client import Runtime
from hawser.node.network.agent import NetworkAgent

from .. import private_containerd
from ..images import BUSYBOX
from .support import ask, config, what_is_there

T = TypeVar("T")
pytestmark = pytest.mark.containerd


async def test_containerd_connects_pods_through_the_plugin(host: None, short_path: Path) -> None:
    if not private_containerd.available():
        pytest.skip("needs root, containerd, runc, ctr and a static busybox")
    with private_containerd.running(short_path / "cd") as daemon:
        cni = daemon.folder / "cni"
        agent = NetworkAgent(
            dataclasses.replace(config(short_path), cni_bin_dir=cni / "bin", cni_conf_dir=cni / "conf")
        )
        await agent.start()
        try:
            async with Runtime(daemon.endpoint) as runtime:
                await serves_a_page(agent, runtime)
        finally:
            await agent.teardown()
    assert "hw" not in what_is_there()


async def serves_a_page(agent: NetworkAgent, runtime: Runtime) -> None:
    sandbox_config = {
        "metadata": {"name": "web", "uid": "u1", "namespace": "default", "attempt": 0},
        "log_directory": "/nonexistent",
        "port_mappings": [{"host_port": 8088, "container_port": 80, "protocol": 0}],
        "linux": {},
    }
    # containerd notices the network's configuration file by itself.
    assert await eventually(lambda: ready(runtime), True)
    sandbox = await runtime.run_pod_sandbox(sandbox_config)
    record = agent.record(sandbox)
    assert record is not None
    assert (record.namespace, record.pod, record.uid) == ("default", "web", "u1")
    assert (await runtime.pod_sandbox_status(sandbox)).ips[0] == str(record.address)
    page = "while true; do echo hello | busybox nc -l -p 80; done"
    container = {
        "metadata": {"name": "c"},
        "image": {"image": BUSYBOX},
        "command": ["/bin/sh", "-c", page],
        "linux": {},
    }
    await runtime.start_container(await runtime.create_container(sandbox, container, sandbox_config))
    for address, port in ((str(record.address), 80), ("127.0.0.1", 8088)):
        assert await eventually(lambda a=address, p=port: asyncio.to_thread(answer, a, p), "hello\n") == "hello\n"
    await runtime.stop_pod_sandbox(sandbox)
    assert agent.record(sandbox) is None
    await runtime.remove_pod_sandbox(sandbox)


def answer(address: str, port: int) -> str:
    try:
        return ask(address, port)
    except OSError as error:
        return str(error)


async def ready(runtime: Runtime) -> bool:
    return all(condition.status for condition in await runtime.status())


async def eventually(ask_again: Callable[[], Awaitable[T]], wanted: T) -> T:
    """The last answer: the wanted one, or whatever it was after two minutes."""
    last = await ask_again()
    for _ in range(2400):
        if last == wanted:
            break
        await asyncio.sleep(0.05)
        last = await ask_again()
    return last
