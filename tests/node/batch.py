"""Pods run many at a time: created together, each looked at once it has come to its end, or to its event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hawser.api.errors import APIError
from hawser.api.kinds import EVENT, NODE, POD
from hawser.client.client import Client

from . import engine as engines
from .engine import Engine
from .images import BUSYBOX
from .private_containerd import Containerd

Obj = dict[str, Any]
SLEEP = "trap exit TERM; sleep 3600 & wait"


def pod(name: str, script: str | None = None, container: Obj | None = None, **spec: Any) -> Obj:
    """A pod that runs a script of busybox's shell once."""
    one: Obj = {"name": "c", "image": BUSYBOX, **(container or {})}
    if script is not None:
        one["command"] = ["/bin/sh", "-c", script]
    spec = {"nodeName": engines.NODE, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, **spec}
    spec.setdefault("containers", [one])
    metadata = {"name": name, "namespace": "default", "labels": {"app": name[:60]}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


async def until(check: Callable[[], Awaitable[Any]], seconds: float = 40) -> Any:
    """Waits until ``await check()`` is true; its result."""
    end = time.monotonic() + seconds
    while not (result := await check()):
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.05)
    return result


async def events(client: Client, name: str) -> list[tuple[str, str]]:
    """Reason and message of a pod's events."""
    listed = await client.list(EVENT, "default", field_selector=f"involvedObject.name={name}")
    return [(e["reason"], e["message"]) for e in listed.items]


async def said(client: Client, name: str, reason: str, words: str) -> str:
    """The message of a pod's event with this reason and these words, once it is there."""

    async def look() -> str:
        return next((m for r, m in await events(client, name) if r == reason and words in m), "")

    try:
        return str(await until(look, 20))
    except AssertionError:
        raise AssertionError(f"{name}: no {reason} with {words!r} in {await events(client, name)}") from None


async def phase(client: Client, name: str, *wanted: str) -> Obj:
    """The pod, once it is in one of these phases."""
    last: Obj = {}

    async def look() -> bool:
        nonlocal last
        last = await client.get(POD, name, "default")
        return (last.get("status") or {}).get("phase") in wanted

    try:
        await until(look)
    except AssertionError:
        raise AssertionError(f"{name}: {last.get('status')} {await events(client, name)}") from None
    return last


def log_of(engine: Engine, obj: Obj, container: str = "c", count: int = 0) -> str:
    """What a container wrote."""
    meta = obj["metadata"]
    folder = engine.folder / "agent/logs/pods" / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"
    file = folder / container / f"{count}.log"
    lines = file.read_text().splitlines() if file.exists() else []
    return "\n".join(line.split(" ", 3)[3] for line in lines)


def volume_of(engine: Engine, obj: Obj, plugin: str, name: str) -> Path:
    """Where a volume of a pod lies."""
    return engine.folder / "agent/pods" / obj["metadata"]["uid"] / "volumes" / f"kubernetes.io~{plugin}" / name


async def outputs(client: Client, engine: Engine, pods: list[Obj]) -> dict[str, str]:
    """What each of these pods wrote, by name: all run at the same time, to their end."""
    await asyncio.gather(*(client.create(POD, one) for one in pods))
    ended = await asyncio.gather(*(phase(client, one["metadata"]["name"], "Succeeded", "Failed") for one in pods))
    return {one["metadata"]["name"]: log_of(engine, one) for one in ended}


async def registered(client: Client) -> bool:
    """Whether the node is there."""
    try:
        await client.get(NODE, engines.NODE)
    except APIError:
        return False
    return True


@contextmanager
def running(folder: Path, containerd: Containerd, *, network: bool = False) -> Iterator[Engine]:
    """An engine whose pods are removed at the end."""
    with engines.running(folder, containerd, network=network) as engine:
        try:
            yield engine
            asyncio.run(_remove_pods(engine))
        finally:
            root = engine.cgroup_root
    engines.remove_cgroups(root)


async def _remove_pods(engine: Engine) -> None:
    async with Client.from_kubeconfig(engine.kubeconfig) as client:
        await client.delete_collection(POD, "default", grace_period=0)
        folder = engine.folder / "agent/pods"

        async def none_left() -> bool:
            return not (await client.list(POD, "default")).items and not (folder.is_dir() and [*folder.iterdir()])

        await until(none_left)
