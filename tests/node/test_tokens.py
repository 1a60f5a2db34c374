"""Service account tokens in volumes: renewed before they expire, against a real API server, with our own clock."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from hawser.api.errors import APIError
from hawser.api.kinds import POD
from hawser.client.client import Client
from hawser.client.events import EventRecorder
from hawser.node.cri.client import Runtime
from hawser.node.csi.plugins import CSIDrivers
from hawser.node.objects import Objects
from hawser.node.pod.configs import Machine
from hawser.node.volumes import mounts
from hawser.node.volumes.folders import Folders
from hawser.node.volumes.setup import Volumes

from .batch import one
from .engine import Engine

pytestmark = pytest.mark.containerd
SOURCES = [
    {"serviceAccountToken": {"path": "short", "expirationSeconds": 600, "audience": "vault"}},
    {"serviceAccountToken": {"path": "long", "expirationSeconds": 3607}},
]


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    loaded: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return loaded


async def test_tokens_are_replaced_in_their_files(client: Client, engine: Engine, tmp_path: Path) -> None:
    waiting = one("renewed", "true", {"projected": {"sources": SOURCES}}, spec_nodeName="nowhere")
    pod = await client.create(POD, waiting)
    late = 0.0
    objects = Objects(client, lambda *_: None, now=lambda: time.time() + late, jitter=lambda: 0.0)
    folders = Folders(tmp_path)
    async with Runtime(engine.containerd.endpoint) as runtime:
        drivers, recorder = CSIDrivers(client, dict), EventRecorder(client, "test")
        volumes = Volumes(client, runtime, folders, objects, Machine("", "", 0), dict, drivers, recorder)
        folder = folders.volume(pod, pod["spec"]["volumes"][0])

        async def read(after: float) -> tuple[str, str]:
            nonlocal late
            late = after
            await volumes.refresh(pod)
            return (folder / "short").read_text(), (folder / "long").read_text()

        try:
            short, long = await read(0)
            uid = pod["metadata"]["uid"]
            assert claims(short)["aud"] == ["vault"]
            assert claims(short)["kubernetes.io"]["pod"]["uid"] == uid
            renewal = objects.renewal(uid)
            assert renewal is not None and abs(renewal - claims(short)["iat"] - 480) < 2
            assert await read(470) == (short, long), "nothing is due yet"
            newer, same = await read(490)
            assert newer != short and same == long, "after 80 % of its life the short one is another"
            assert claims(newer)["kubernetes.io"] == claims(short)["kubernetes.io"]
            await client.delete(POD, "renewed", "default", grace_period=0)
            assert (await read(550))[0] == newer, "without a pod there is no other one: the old one serves"
            with pytest.raises(APIError):
                late = 2000
                await objects.token(pod, "vault", 600)
        finally:
            mounts.unmount_below(tmp_path)
            objects.close()
