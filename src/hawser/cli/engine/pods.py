"""Stopping all pods of an engine whose processes are down, and keeping the data for its next start."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator

from hawser.cli.engine import containerd, processes
from hawser.cli.engine.settings import Settings
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError
from hawser.node.cri.model import Sandbox

_START_SECONDS = 20.0


async def stop_pods(engine: Settings, grace: float) -> int:
    """Stops and removes every pod sandbox of the engine; returns how many there were.

    grace: seconds between the stop signal and SIGKILL. What cannot be stopped this way is left to the sweep.
    """
    if not engine.runtime_endpoint and not containerd.config_path(engine).exists():
        return 0
    async with _runtime(engine) as runtime:
        if runtime is None:
            return 0
        sandboxes = await runtime.list_pod_sandboxes()
        await asyncio.gather(*(_stop(runtime, s, grace) for s in sandboxes))
        return len(sandboxes)


@contextlib.asynccontextmanager
async def _runtime(engine: Settings) -> AsyncIterator[Runtime | None]:
    """The CRI runtime, its containerd started for the time being when it is private; None when it does not come up."""
    process = None
    if not engine.runtime_endpoint:
        try:
            process = await asyncio.to_thread(_start_containerd, engine)
        except OSError:
            yield None
            return
    try:
        async with Runtime(engine.cri_endpoint, engine.instance) as runtime:
            try:
                await runtime.ready(_START_SECONDS)
            except CRIError:
                yield None
            else:
                yield runtime
    finally:
        if process is not None:
            await asyncio.to_thread(processes.terminate, process.pid, 10.0, reap=True)
            process.returncode = 0


def _start_containerd(engine: Settings) -> subprocess.Popen[bytes]:
    with (engine.log_dir / "containerd.log").open("ab") as log:
        return subprocess.Popen(
            containerd.command(engine), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


async def _stop(runtime: Runtime, sandbox: Sandbox, grace: float) -> None:
    with contextlib.suppress(CRIError):
        containers = [c for c in await runtime.list_containers(sandbox_id=sandbox.id) if c.running]
        await asyncio.gather(*(_stop_container(runtime, c.id, grace) for c in containers))
        await runtime.stop_pod_sandbox(sandbox.id)
        await runtime.remove_pod_sandbox(sandbox.id)


async def _stop_container(runtime: Runtime, container_id: str, grace: float) -> None:
    with contextlib.suppress(CRIError):
        await runtime.stop_container(container_id, grace)
