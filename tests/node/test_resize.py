"""Resizing pods in place, on a real containerd: amounts in the cgroups, status, conditions and events."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from hawser.api.kinds import POD
from hawser.client.client import Client
from hawser.node.cgroups import Cgroups

from .engine import Engine
from .images import BUSYBOX
from .running import FOREVER, Obj, pod, ready, reason, seen, state, until

pytestmark = pytest.mark.containerd


def resources(cpu: str, memory: str, cpu_limit: str = "", memory_limit: str = "") -> Obj:
    limits = {k: v for k, v in (("cpu", cpu_limit), ("memory", memory_limit)) if v}
    return {"requests": {"cpu": cpu, "memory": memory}, **({"limits": limits} if limits else {})}


def group(engine: Engine, obj: Obj, container_id: str = "") -> list[Path]:
    """The cgroup of a pod or one of its containers in every hierarchy."""
    cgroups = Cgroups(engine.cgroup_root)
    parent = cgroups.pods()[obj["metadata"]["uid"]].strip("/")
    return [h.path / parent / container_id for h in cgroups.hierarchies]


def setting(paths: list[Path], v1: str, v2: str) -> str:
    found = next(p / name for p in paths for name in (v1, v2) if (p / name).exists())
    return found.read_text().strip()


def quota(paths: list[Path]) -> str:
    return setting(paths, "cpu.cfs_quota_us", "cpu.max").split()[0]


def memory(paths: list[Path]) -> int:
    return int(setting(paths, "memory.limit_in_bytes", "memory.max"))


def conditions(obj: Obj) -> dict[str, Obj]:
    return {c["type"]: c for c in obj["status"]["conditions"]}


def has(wanted: Obj) -> Any:
    """Whether the container has these resources, and nothing is left to do."""
    return lambda obj: (
        state(obj).get("resources") == wanted and not any("Resize" in c for c in conditions(obj)) and ready(obj)
    )


async def resize(client: Client, name: str, wanted: Obj) -> None:
    body = {"spec": {"containers": [{"name": "c", "resources": wanted}]}}
    await client.patch(POD, name, "default", body, "application/strategic-merge-patch+json", "resize")


SMALL, LARGE = resources("50m", "32Mi", "100m", "64Mi"), resources("100m", "64Mi", "200m", "128Mi")


async def test_a_running_container_gets_other_limits(client: Client, engine: Engine) -> None:
    made = await client.create(POD, pod("grows", container={"resources": SMALL}))
    before = state(await seen(client, "grows", ready))
    container_id = before["containerID"].removeprefix("containerd://")
    for wanted, cpu, size in ((LARGE, "20000", 128 << 20), (SMALL, "10000", 64 << 20)):
        await resize(client, "grows", wanted)
        obj = await seen(client, "grows", has(wanted))
        assert (state(obj)["containerID"], state(obj)["restartCount"]) == (before["containerID"], 0)
        assert state(obj)["allocatedResources"] == wanted["requests"]
        assert obj["status"]["observedGeneration"] == obj["metadata"]["generation"]
        for paths in (group(engine, made, container_id), group(engine, made)):
            assert (quota(paths), memory(paths)) == (cpu, size)
    await reason(client, "grows", "ResizeStarted", "Pod resize started: ")
    await reason(client, "grows", "ResizeCompleted", "Pod resize completed: ")


async def test_a_policy_may_ask_for_a_restart(client: Client, engine: Engine) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    own = {"resources": SMALL, "resizePolicy": policy}
    made = await client.create(POD, pod("anew", container=own, restartPolicy="Never"))
    await seen(client, "anew", ready)
    await resize(client, "anew", resources("50m", "32Mi", "100m", "80Mi"))
    obj = await seen(client, "anew", lambda p: ready(p) and state(p)["restartCount"] == 1)
    container_id = state(obj)["containerID"].removeprefix("containerd://")
    assert memory(group(engine, made, container_id)) == 80 << 20
    await reason(client, "anew", "Killing", "Container c resize requires restart")


async def test_what_does_not_fit_waits_or_never_will(client: Client, engine: Engine) -> None:
    cpu = os.cpu_count() or 1
    small, most = resources("100m", "1Mi"), resources(f"{cpu * 1000 - 300}m", "1Mi")
    await client.create(POD, pod("first", container={"resources": small}))
    await client.create(POD, pod("second", container={"resources": resources("400m", "1Mi")}))
    await asyncio.gather(seen(client, "first", ready), seen(client, "second", ready))
    await resize(client, "first", resources(str(cpu + 1), "1Mi"))
    obj = await seen(client, "first", lambda p: "PodResizePending" in conditions(p))
    pending = conditions(obj)["PodResizePending"]
    wanted = f"Node didn't have enough capacity: cpu, requested: {cpu + 1}000, capacity: {cpu}000"
    assert (pending["status"], pending["reason"], pending["message"]) == ("True", "Infeasible", wanted)
    assert state(obj)["resources"] == small
    await resize(client, "first", most)
    obj = await seen(client, "first", lambda p: conditions(p)["PodResizePending"]["reason"] == "Deferred")
    assert "Node didn't have enough resource: cpu" in conditions(obj)["PodResizePending"]["message"]
    # The agent of the next moment knows no more than the API does.
    engine.stop_agent(9)
    engine.start_agent()
    await client.delete(POD, "second", "default", grace_period=1)
    obj = await seen(client, "first", has(most))
    assert state(obj)["restartCount"] == 0


async def test_a_pod_may_have_resources_as_a_whole(client: Client, engine: Engine) -> None:
    whole = resources("100m", "32Mi", "200m", "64Mi")
    containers = [box("c"), box("d", resources("20m", "8Mi"))]
    made = await client.create(POD, pod("whole", resources=whole, containers=containers))
    obj = await seen(client, "whole", ready)
    paths = group(engine, made)
    assert (quota(paths), memory(paths)) == ("20000", 64 << 20)
    # A container without limits of its own has the pod's.
    container_id = state(obj)["containerID"].removeprefix("containerd://")
    assert memory(group(engine, made, container_id)) == 64 << 20
    more = resources("100m", "32Mi", "400m", "96Mi")
    body = {"spec": {"resources": more}}
    await client.patch(POD, "whole", "default", body, "application/strategic-merge-patch+json", "resize")

    async def widened() -> bool:
        return (quota(paths), memory(paths)) == ("40000", 96 << 20)

    await until(widened)
    obj = await seen(
        client, "whole", lambda p: p["status"]["resources"] == more and not conditions(p).get("PodResizeInProgress")
    )
    assert obj["status"]["allocatedResources"] == more["requests"]
    assert memory(group(engine, made, container_id)) == 96 << 20


def box(name: str, wanted: Obj | None = None) -> Obj:
    return {"name": name, "image": BUSYBOX, "command": ["/bin/sh", "-c", FOREVER], "resources": wanted or {}}
