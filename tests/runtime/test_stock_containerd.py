"""Containerd 1.6 and 2.1 with the configurations they come with, prepared as `hawser rich install` prepares a node."""

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
from tests.runtime.environments import newer
from tests.runtime.test_containerd import CGROUP, GET, Pods

from hawser.cli.images import local
from hawser.cli.images.description import load
from hawser.cli.images.importer import import_archive
from hawser.cli.images.rich import build_rich
from hawser.cli.installing import dropins, node
from hawser.node.agentlayers import AgentLayers
from hawser.node.cri.client import Runtime
from hawser.rich.profiles import merge
from hawser.rich.profiles.server import Server

pytestmark = pytest.mark.containerd
EXAMPLE = Path(__file__).parents[2] / "examples/legacy-app/image.yaml"
PAUSES = (
    "registry.k8s.io/pause:3.6",
    "registry.k8s.io/pause:3.10",
)  # what containerd wants unless it is told otherwise
_SECTION = '[plugins."io.containerd.grpc.v1.cri"]\n'
_SETTING = "restrict_oom_score_adj"


def stock_of(kind: str) -> tuple[Path, str]:
    """A containerd and the text of its configuration; `debian` as packaged, `default` as it prints its own."""
    if kind == "1.6 debian":
        found = shutil.which("containerd")
        text = Path(dropins.CONTAINERD)
        if not found or not text.exists():
            pytest.skip("needs Debian's containerd")
        return Path(found), text.read_text()
    program = newer("containerd")
    if kind == "2.1 debian":
        return program, (program.parents[1] / dropins.CONTAINERD[1:]).read_text()
    told = subprocess.run([program, "config", "default"], capture_output=True, text=True, check=True)
    return program, told.stdout


def restricted(text: str) -> str:
    """With the one line that this kind of machine needs.

    A process without CAP_SYS_RESOURCE may not lower oom_score_adj.
    """
    if _SETTING in text:
        return text.replace(f"{_SETTING} = false", f"{_SETTING} = true")
    assert text.count(_SECTION) == 1
    return text.replace(_SECTION, f"{_SECTION}    {_SETTING} = true\n")


@pytest.fixture(scope="module", params=["1.6 debian", "2.1 debian", "2.1 default"])
def stock(request: pytest.FixtureRequest, debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a containerd that sees a node's /etc/containerd and /usr/local/bin where they always are."""
    containerd, text = stock_of(request.param)
    directory = CACHE / "test-stock" / str(os.getpid())
    root = directory / "node"
    for name in ("etc/containerd", "usr/local/bin", "usr/bin", "usr/sbin"):
        (root / name).mkdir(parents=True)
    for name in ("usr/bin/python3", "usr/bin/containerd", "usr/sbin/runc", "usr/bin/catatonit"):
        (root / name).symlink_to("/" + name)
    (root / "etc/containerd/config.toml").write_text(restricted(text))
    socket = Path(f"/run/hawser-stock-{os.getpid()}/containerd.sock")
    for restart in (("containerd",), ()):  # what is there already is left alone
        assert node.prepare(root, profiles=str(socket.parent / "profiles.sock")).restart == restart
    binds = "".join(f"mount --bind {root / name} /{name}; " for name in ("etc/containerd", "usr/local/bin"))
    flags = f"--root {directory}/root --state {socket.parent}/state --address {socket}"
    command = ["unshare", "--mount", "sh", "-ec", f"{binds} exec {containerd} {flags}"]
    # containerd starts its shim by name.
    env = {**os.environ, "PATH": f"{containerd.parent}:{containerd.parents[1]}/usr/bin:{os.environ['PATH']}"}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
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
        for pause in PAUSES:
            tag = ["ctr", "--address", str(socket), "--namespace", "k8s.io", "images", "tag", local.PAUSE, pause]
            subprocess.run(tag, check=True, capture_output=True)
        yield socket
    finally:
        # What it has mounted goes with its mount namespace.
        process.terminate()
        process.wait(120)
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
