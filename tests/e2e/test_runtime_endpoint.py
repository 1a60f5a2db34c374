"""An engine on a containerd of the user's: its pods run there, and what else runs there is not touched."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.node import private_containerd

from hawser.node.cri.client import Runtime

from .conftest import engine_of_its_own, pod


@pytest.fixture
def containerd() -> Iterator[private_containerd.Containerd]:
    with (
        tempfile.TemporaryDirectory(prefix="hawser-user-", dir="/var/tmp") as folder,
        private_containerd.running(Path(folder)) as running,
    ):
        yield running


async def foreign_sandbox(endpoint: str) -> str:
    """A pod that somebody else runs on the same containerd."""
    config = {
        "metadata": {"name": "foreign", "namespace": "elsewhere", "uid": "foreign-uid"},
        "log_directory": "/var/tmp",
        "linux": {"security_context": {"namespace_options": {"network": 2}}},
    }
    async with Runtime(endpoint) as runtime:
        return await runtime.run_pod_sandbox(config)


async def sandboxes(endpoint: str) -> dict[str, bool]:
    async with Runtime(endpoint) as runtime:
        return {s.id: s.ready for s in await runtime.list_pod_sandboxes()}


def test_pods_run_on_the_users_containerd_and_others_are_left_alone(containerd: private_containerd.Containerd) -> None:
    foreign = asyncio.run(foreign_sandbox(containerd.endpoint))
    with engine_of_its_own() as engine:
        engine.hawser("up", "--detach", "--runtime-endpoint", containerd.endpoint)
        engine.apply(pod("a"), "default")
        ready = engine.wait_ready("a", "default")
        assert ready["status"]["podIP"]
        assert len(asyncio.run(sandboxes(containerd.endpoint))) == 2
        engine.hawser("down", "--purge", "--grace", "1")
        assert asyncio.run(sandboxes(containerd.endpoint)) == {foreign: True}


def test_a_runtime_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with engine_of_its_own() as engine:
        done = engine.hawser("up", "--detach", "--runtime-endpoint", "unix:///nowhere/x.sock", check=False)
        assert done.returncode == 1
        assert "no container runtime answers at unix:///nowhere/x.sock" in done.stderr
        engine.hawser("down", "--purge", check=False)
        assert not engine.data_dir.exists()
