"""A node whose disk runs full: the agent's folder is a small disk of its own."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hawser.api.kinds import EVENT, NODE, POD
from hawser.api.quantity import milli
from hawser.client.client import Client
from hawser.node.cgroups import Cgroups

from . import engine as engines
from .engine import Engine
from .images import BUSYBOX
from .private_containerd import Containerd
from .running import remove_pods, until

pytestmark = pytest.mark.containerd
Obj = dict[str, Any]
FLAGS = (
    *("--eviction-hard", "nodefs.available<30%", "--eviction-pressure-transition-period", "1s"),
    *("--housekeeping-interval", "300ms", "--pod-max-pids", "77", "--kube-reserved", "cpu=100m,memory=1Mi"),
)


@pytest.fixture(scope="module")
def engine(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = Path(tmp_path_factory.mktemp("pressed"))
    place = folder / "agent"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "small", str(place)], check=True)
    try:
        with engines.running(folder, containerd, agent_flags=FLAGS) as running:
            yield running
            asyncio.run(remove_pods(running))
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


def pod(name: str, megabytes: int, **volume: Any) -> Obj:
    script = f"dd if=/dev/zero of=/scratch/file bs=1048576 count={megabytes} 2>/dev/null; trap exit TERM; "
    container = {
        "name": "main",
        "image": BUSYBOX,
        "command": ["/bin/sh", "-c", f"{script} sleep 3600 & wait"],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    }
    spec = {
        "nodeName": engines.NODE,
        "hostNetwork": True,
        "volumes": [{"name": "scratch", "emptyDir": volume}],
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def seen(client: Client, name: str, check: Callable[[Obj], Any]) -> Obj:
    """The pod, once ``check(pod)`` is true."""
    found: Obj = {}
    for _ in range(2400):
        found = await client.get(POD, name, "default")
        if check(found.get("status") or {}):
            return found
        await asyncio.sleep(0.05)
    pytest.fail(f"pod {name} stayed as {found.get('status')}")


async def events(client: Client, name: str) -> list[tuple[str, str]]:
    listed = await client.list(EVENT, "default", field_selector=f"involvedObject.name={name}")
    return [(e["reason"], e["message"]) for e in listed.items]


async def test_the_pod_that_fills_the_disk_is_evicted(engine: Engine, client: Client) -> None:
    await client.create(POD, pod("modest", 0))
    running = await seen(client, "modest", lambda status: status.get("phase") == "Running")
    group = f"{engine.cgroup_root}/besteffort/pod{running['metadata']['uid']}"
    limits = [h.path / group / "pids.max" for h in Cgroups("").hierarchies if (h.path / group / "pids.max").exists()]
    assert [path.read_text().strip() for path in limits] == ["77"]
    await client.create(POD, pod("greedy", 50))
    status = (await seen(client, "greedy", lambda status: status.get("phase") == "Failed"))["status"]
    assert status["reason"] == "Evicted"
    assert status["message"].startswith("The node was low on resource: ephemeral-storage. Threshold quantity: ")
    condition = next(row for row in status["conditions"] if row["type"] == "DisruptionTarget")
    assert (condition["status"], condition["reason"]) == ("True", "TerminationByKubelet")
    assert condition["message"] == status["message"]

    async def told(name: str, *event: str) -> bool:
        return event in await events(client, name)

    await until(lambda: told("greedy", "Evicted", status["message"]))
    await until(lambda: told(engines.NODE, "EvictionThresholdMet", "Attempting to reclaim ephemeral-storage"))
    left = await client.get(POD, "modest", "default")
    assert left["status"]["phase"] == "Running"
    # What it held is free again, so that others may come.
    await client.create(POD, pod("next", 1))
    for _ in range(600):
        found = await seen(client, "next", lambda status: status.get("phase") in ("Running", "Failed"))
        if found["status"]["phase"] == "Running":
            break
        # The condition lasts a moment longer than its reason.
        assert found["status"]["message"] == "Pod was rejected: The node had condition: [DiskPressure]. "
        await client.delete(POD, "next", "default", grace_period=0)
        await asyncio.sleep(0.1)
        await client.create(POD, pod("next", 1))
    assert found["status"]["phase"] == "Running"


async def test_a_volume_that_outgrows_its_limit_costs_the_pod(engine: Engine, client: Client) -> None:
    await client.create(POD, pod("outgrown", 3, sizeLimit="1Mi"))
    status = (await seen(client, "outgrown", lambda status: status.get("phase") == "Failed"))["status"]
    assert status["reason"] == "Evicted"
    assert status["message"] == 'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". '
    assert not [row for row in status["conditions"] if row["type"] == "DisruptionTarget"]


async def test_the_node_shows_what_is_its_own(engine: Engine, client: Client) -> None:
    status = (await client.get(NODE, engines.NODE))["status"]
    assert status["capacity"]["ephemeral-storage"] == "64Mi"
    assert status["allocatable"]["ephemeral-storage"] == "46976205"
    assert milli(status["allocatable"]["cpu"]) == milli(status["capacity"]["cpu"]) - 100
    assert status["nodeInfo"]["swap"] == {"capacity": 0} or status["nodeInfo"]["swap"]["capacity"] > 0
    assert BUSYBOX in [name for row in status["images"] for name in row["names"]]
