"""Images of operation agents: mounted while a container has them, then given up."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hawser.node import agentimages
from hawser.node.agentimages import AgentImages
from hawser.node.cri.client import Runtime
from hawser.node.images.manager import Images
from hawser.node.images.records import PullRecords
from hawser.node.volumes import mounts

from .images import BUSYBOX
from .private_containerd import Containerd

pytestmark = pytest.mark.containerd


@contextmanager
def namespace(script: str, says: Path) -> Iterator[None]:
    """A process in a mount namespace of its own, after a script that says a line."""
    command = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", f"{script}; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as shell:
        assert shell.stdin is not None and shell.stdout is not None
        assert shell.stdout.readline() == f"{says}\n".encode()
        yield
        shell.stdin.close()


async def test_an_image_stays_mounted_while_a_container_has_it(
    containerd: Containerd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, there, odd = tmp_path / "agents", tmp_path / "there", tmp_path / os.fsdecode(b"\xff\f no\rname")
    there.mkdir()
    odd.mkdir()
    async with Runtime(containerd.endpoint) as runtime:
        image = await runtime.image_status(BUSYBOX)
        assert image is not None

        def fresh() -> AgentImages:
            """As an agent has it that was started anew."""
            return AgentImages(runtime, Images(runtime, PullRecords(tmp_path / "records")), folder)

        first = fresh()
        root = Path((await first.files(BUSYBOX, "IfNotPresent"))["root"])
        assert (root / "bin/busybox").is_file() and (root / "proc").is_dir()
        assert await first.held() == {image.id}, "a container that has asked gets time to start"

        monkeypatch.setattr(agentimages, "STARTING_SECONDS", 0.0)
        odd_mount = f"mount -t tmpfs odd '{odd}'"
        with namespace(f"{odd_mount} && mount --bind {root} {there} && ls {there}/bin/busybox", there / "bin/busybox"):
            assert await fresh().held() == {image.id}
            assert mounts.is_mounted(root)
        # What is mounted at the very same place in another namespace is a copy of the node's own mount.
        with namespace(f"ls {root}/bin/busybox", root / "bin/busybox"):
            assert await fresh().held() == set()
        assert not mounts.points(folder)
        assert list(folder.iterdir()) == []

        again = fresh()
        assert await again.files(BUSYBOX, "IfNotPresent") == {"root": str(root)} and (root / "bin/busybox").is_file()
        await asyncio.gather(first.close(), again.close())
        assert await fresh().held() == set()
