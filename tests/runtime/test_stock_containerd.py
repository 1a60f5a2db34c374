"""Debian's containerd with its default configuration, prepared as `hawser rich install` prepares a node."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import CACHE
from tests.runtime.test_containerd import CGROUP, GET, Pods

from hawser.cli.images import local
from hawser.cli.images.description import load
from hawser.cli.images.importer import import_archive
from hawser.cli.images.rich import build_rich
from hawser.cli.installing import node
from hawser.node.agentlayers import AgentLayers
from hawser.node.cri.client import Runtime
from hawser.rich.profiles import merge
from hawser.rich.profiles.server import Server

pytestmark = pytest.mark.containerd
EXAMPLE = Path(__file__).parents[2] / "examples/legacy-app/image.yaml"
PAUSE = "registry.k8s.io/pause:3.6"  # what containerd 1.6 wants unless it is told otherwise
STOCK = Path("/etc/containerd/config.toml")


@pytest.fixture(scope="module")
def stock(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a containerd that sees a node's /etc/containerd and /usr/local/bin where they always are."""
    if not shutil.which("containerd") or not STOCK.exists():
        pytest.skip("needs Debian's containerd")
    directory = CACHE / "test-stock" / str(os.getpid())
    root = directory / "node"
    for name in ("etc/containerd", "usr/local/bin", "usr/bin", "usr/sbin"):
        (root / name).mkdir(parents=True)
    for name in ("usr/bin/python3", "usr/bin/containerd", "usr/sbin/runc", "usr/bin/catatonit"):
        (root / name).symlink_to("/" + name)
    # The one line that this kind of machine needs: a process without CAP_SYS_RESOURCE may not lower oom_score_adj.
    section = '[plugins."io.containerd.grpc.v1.cri"]\n'
    assert STOCK.read_text().count(section) == 1
    text = STOCK.read_text().replace(section, section + "    restrict_oom_score_adj = true\n")
    (root / "etc/containerd/config.toml").write_text(text)
    socket = Path(f"/run/hawser-stock-{os.getpid()}/containerd.sock")
    assert node.prepare(root, profiles=str(socket.parent / "profiles.sock")).restart == ("containerd",)
    binds = "".join(f"mount --bind {root / name} /{name}; " for name in ("etc/containerd", "usr/local/bin"))
    flags = f"--root {directory}/root --state {socket.parent}/state --address {socket}"
    command = ["unshare", "--mount", "sh", "-ec", f"{binds} exec containerd {flags}"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while not socket.exists():
            assert process.poll() is None, (directory / "log").read_text()
            time.sleep(0.05)
        archives = tmp_path_factory.mktemp("images")
        for archive in (
            build_rich(load(EXAMPLE), archives / "legacy.tar", CACHE / "images"),
            local.build_pause(archives),
            local.build_busybox(archives),
        ):
            import_archive(archive, socket)
        tag = ["ctr", "--address", str(socket), "--namespace", "k8s.io", "images", "tag", local.PAUSE, PAUSE]
        subprocess.run(tag, check=True, capture_output=True)
        yield socket
    finally:
        # What it has mounted goes with its mount namespace.
        process.terminate()
        process.wait(30)
        for place in (directory, socket.parent):
            shutil.rmtree(place, ignore_errors=True)
        for group in Path("/sys/fs/cgroup").glob(f"*{CGROUP}"):
            with contextlib.suppress(OSError):
                group.rmdir()


class Agents:
    """Answers for RichProfiles: operation agents of these images, by name."""

    def __init__(self, layers: AgentLayers, images: dict[str, str]) -> None:
        self._layers, self._images = layers, images

    async def answer(self, _asked: dict[str, Any]) -> dict[str, Any]:
        agents = []
        for name, image in self._images.items():
            entry = {"name": name, "image": image, "command": ["sh", "-c", f"{LOOK}; exec sleep 1000"]}
            agents.append(merge.agent(entry, await self._layers.files(image, "Never")))
        return {"agents": agents}

    async def close(self) -> None:
        await self._layers.close()


LOOK = "ls /etc/debian_version; ls /proc/1/root/etc/debian_version; touch /x; touch /tmp/x && echo over"


async def test_a_rich_pod_with_agents_of_images_runs_beside_an_ordinary_one(stock: Path, tmp_path: Path) -> None:
    async with Runtime(f"unix://{stock}") as runtime:
        layers = AgentLayers(runtime, stock.parent / "agents")
        # One layer, and several.
        images = {"small": "docker.io/library/busybox:1.36", "large": "localhost/legacy-app:1"}
        server = Server(stock.parent / "profiles.sock", lambda: Agents(layers, images))
        await server.start()
        await runtime.ready()
        pods = Pods(runtime, tmp_path / "logs")
        try:
            container = await pods.start("localhost/legacy-app:1", {"rich.hawser.dev/init": "systemd"})
            await pods.until("running", container, "systemctl", "is-system-running")
            await pods.until("pid 1: systemd", container, "bash", "-c", GET.replace("PATH", "/"))
            assert pods.log() == ["stdout legacy-app: listening on port 8080"]
            for name, own in (
                ("small", "/etc/debian_version: No such file or directory"),
                ("large", "/etc/debian_version"),
            ):
                journal = ["journalctl", "-o", "cat", "-u", f"hawser-agent-{name}"]
                await pods.until("over", container, *journal)
                told = await pods.read(container, *journal)
                for line in (own, "/proc/1/root/etc/debian_version", "Read-only file system"):
                    assert f"{line}\n" in told
            await aged(layers, stock.parent / "agents")
            assert len(list((stock.parent / "agents/used").iterdir())) == 2
            sandbox = {"metadata": {"name": "plain", "namespace": "default", "uid": "plain", "attempt": 0}}
            sandbox["linux"] = {"security_context": {"namespace_options": {"network": 2, "pid": 1}}}
            pods.sandboxes.append(await runtime.run_pod_sandbox(sandbox))  # the default runtime is still there
        finally:
            for one in pods.sandboxes:
                await runtime.stop_pod_sandbox(one)
                await runtime.remove_pod_sandbox(one)
            await server.close()
        await aged(layers, stock.parent / "agents")
        assert list((stock.parent / "agents/used").iterdir()) == []


async def aged(layers: AgentLayers, folder: Path) -> None:
    """Tidies as if the containers' starts were long ago."""
    for note in (folder / "used").iterdir():
        os.utime(note, (0, 0))
    await layers.tidy()
