"""Pods run many at a time: created together, each looked at once it has come to its end, or to its event."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hawser.api.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, Kind
from hawser.client.client import Client

from . import engine as engines
from .engine import Engine
from .images import BUSYBOX
from .private_containerd import Containerd
from .running import events, log_of, remove_pods, until

Obj = dict[str, Any]
STAT = "/bin/busybox stat -L -c '%a %u %g'"
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


async def said(client: Client, name: str, reason: str, words: str) -> str:
    """The message of a pod's event with this reason and these words, once it is there."""

    async def look() -> str:
        return next((m for r, m in await events(client, name) if r == reason and words in m), "")

    try:
        return str(await until(look))
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


def volume_of(engine: Engine, obj: Obj, plugin: str, name: str) -> Path:
    """Where a volume of a pod lies."""
    return engine.folder / "agent/pods" / obj["metadata"]["uid"] / "volumes" / f"kubernetes.io~{plugin}" / name


async def outputs(client: Client, engine: Engine, pods: list[Obj]) -> dict[str, str]:
    """What each of these pods wrote, by name: all run at the same time, to their end."""
    await asyncio.gather(*(client.create(POD, one) for one in pods))
    ended = await asyncio.gather(*(phase(client, one["metadata"]["name"], "Succeeded", "Failed") for one in pods))
    return {one["metadata"]["name"]: log_of(engine, one) for one in ended}


@contextmanager
def running(folder: Path, containerd: Containerd, *, network: bool = False) -> Iterator[Engine]:
    """An engine whose pods are removed at the end."""
    with engines.running(folder, containerd, network=network) as engine:
        yield engine
        asyncio.run(remove_pods(engine))


# Volumes


def one(name: str, script: str, source: Obj, container: Obj | None = None, **mount: Any) -> Obj:
    """A pod that mounts one volume at /v. Of ``spec_...`` in mount its spec is made."""
    spec = {key[5:]: mount.pop(key) for key in list(mount) if key.startswith("spec_")}
    mounted = {"volumeMounts": [{"name": "v", "mountPath": "/v", **mount}], **(container or {})}
    return pod(name, script, mounted, hostNetwork=True, volumes=[{"name": "v", **source}], **spec)


def user(uid: int, **more: Any) -> Obj:
    """A security context of this user."""
    return {"runAsUser": uid, "runAsGroup": uid, **more}


def items(*rows: tuple[str, str, int | None]) -> list[Obj]:
    """KeyToPath: key, path and mode of each."""
    return [{"key": k, "path": p, **({"mode": m} if m is not None else {})} for k, p, m in rows]


async def make(client: Client, kind: Kind, name: str, **fields: Any) -> Obj:
    """Creates an object."""
    metadata = {"name": name, **({"namespace": "default"} if kind.namespaced else {})}
    version = f"{kind.group}/{kind.version}".removeprefix("/")
    return await client.create(kind, {"apiVersion": version, "kind": kind.kind, "metadata": metadata, **fields})


async def bound(client: Client, name: str, source: Obj, mode: str = "ReadWriteOnce", **spec: Any) -> None:
    """A PersistentVolume and a claim that are bound to each other, as a controller does."""
    common = {"capacity": {"storage": "1Gi"}, "accessModes": [mode], "storageClassName": "by-hand", **spec}
    volume = await make(client, PERSISTENT_VOLUME, f"pv-{name}", spec={**common, **source})
    await claimed(client, name, volume, mode, **{k: v for k, v in spec.items() if k == "volumeMode"})


async def claimed(client: Client, name: str, volume: Obj, mode: str, **spec: Any) -> None:
    """A claim that a PersistentVolume is bound to."""
    wants = {"accessModes": [mode], "storageClassName": "by-hand", "resources": {"requests": {"storage": "1Gi"}}}
    pv = volume["metadata"]["name"]
    claim = await make(client, PERSISTENT_VOLUME_CLAIM, name, spec={**wants, **spec})
    ref = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": name, "uid": claim["metadata"]["uid"]}
    await client.patch(PERSISTENT_VOLUME, pv, None, {"spec": {"claimRef": ref}})
    await client.patch(PERSISTENT_VOLUME_CLAIM, name, "default", {"spec": {"volumeName": pv}})
    status = {"status": {"phase": "Bound", "accessModes": [mode], "capacity": {"storage": "1Gi"}}}
    await client.patch(PERSISTENT_VOLUME_CLAIM, name, "default", status, subresource="status")
