"""A node that shuts down ends its pods in good order."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from hawser.api.kinds import NODE, POD
from hawser.client.client import Client
from hawser.node.shutdown import Turn, turns
from hawser.node.shutdown_request import DONE, REQUEST, Request

from . import batch
from . import engine as engines
from .private_containerd import Containerd
from .running import Obj, events, phase, ready, seen, until

CRITICAL = 2_000_000_000


def made(uid: str, grace: int, priority: int = 0, done: str = "Running") -> Obj:
    spec = {"terminationGracePeriodSeconds": grace, "priority": priority}
    return {"metadata": {"name": uid, "uid": uid}, "spec": spec, "status": {"phase": done}}


def test_critical_pods_end_last_and_nobody_gets_more_than_is_left() -> None:
    pods = [made("slow", 60), made("quick", 1), made("vital", 60, CRITICAL), made("over", 5, done="Succeeded")]
    assert turns(pods, Request(30, 10)) == [Turn(20, {"slow": 20, "quick": 1}), Turn(10, {"vital": 10})]
    assert turns(pods[:1], Request(30, 0)) == [Turn(30, {"slow": 30})]
    assert turns([], Request(30, 10)) == []


@pytest.mark.parametrize("text", ["", "{", "{}", '{"grace": "x", "critical": 1}', "[]"])
def test_what_is_no_request_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / REQUEST).write_text(text)
    with pytest.raises(ValueError, match="no request to shut down"):
        Request.read(tmp_path / REQUEST)


@pytest.mark.containerd
def test_pods_are_told_and_end_before_the_node_does(tmp_path: Path, containerd: Containerd) -> None:
    with batch.running(tmp_path, containerd) as engine:
        asyncio.run(_shut_down(engine, tmp_path))


async def _shut_down(engine: batch.Engine, folder: Path) -> None:
    (folder / "said").mkdir()
    volumes = [{"name": "said", "hostPath": {"path": str(folder / "said")}}]
    mounts = [{"name": "said", "mountPath": "/said"}]

    def says(name: str, **spec: object) -> Obj:
        """Writes its name when it ends, after its hook."""
        script = f"trap 'echo {name} >> /said/all; exit 0' TERM; sleep 3600 & wait"
        hook = {"preStop": {"exec": {"command": ["/bin/sh", "-c", f"echo hook-{name} >> /said/all"]}}}
        container = {"volumeMounts": mounts, "lifecycle": hook}
        spec = {"hostNetwork": True, "volumes": volumes, "terminationGracePeriodSeconds": 10, **spec}
        return batch.pod(name, script, container, **spec)

    async with Client.from_kubeconfig(engine.kubeconfig) as client:
        await client.create(POD, says("vital", priorityClassName="system-node-critical"))
        await client.create(POD, says("plain"))
        for name in ("vital", "plain"):
            await seen(client, name, ready)
        run_dir = folder / "run"
        Request(20, 10).write(run_dir)
        assert engine.agent is not None
        os.kill(engine.agent.pid, signal.SIGUSR1)

        async def done() -> bool:
            return (run_dir / DONE).exists()

        await until(done)
        assert (folder / "said" / "all").read_text().split() == ["hook-plain", "plain", "hook-vital", "vital"]
        for name in ("vital", "plain"):
            ended = await seen(client, name, phase("Failed"))
            assert ended["status"]["reason"] == "Terminated"
            message = "Pod was terminated in response to imminent node shutdown."
            assert ended["status"]["message"] == message
            conditions = {c["type"]: c for c in ended["status"]["conditions"]}
            assert (conditions["DisruptionTarget"]["reason"], conditions["DisruptionTarget"]["message"]) == (
                "TerminationByKubelet",
                message,
            )

        async def leaving() -> bool:
            node = await client.get(NODE, engines.NODE)
            state = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
            return (state["status"], state["message"]) == ("False", "node is shutting down")

        await until(leaving)
        # Nothing more is taken, also by an agent that is started again.
        engine.stop_agent(signal.SIGKILL)
        engine.start_agent()
        await client.create(POD, says("late"))
        late = await seen(client, "late", phase("Failed"))
        assert late["status"]["reason"] == "NodeShutdown"
        assert "NodeShutdown" in {reason for reason, _ in await events(client, "late")}
