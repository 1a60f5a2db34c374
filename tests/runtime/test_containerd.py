"""Rich pods through a private containerd, as a kubelet starts them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import CACHE

from hawser.cli.images import description, local
from hawser.cli.images.importer import image_names, import_archive
from hawser.cli.images.rich import build_rich
from hawser.cli.installing.dropins import containerd_tables
from hawser.node.cri.client import Runtime
from hawser.node.cri.errors import CRIError
from hawser.runtime.install import install

pytestmark = pytest.mark.containerd
EXAMPLE = Path(__file__).parents[2] / "examples/legacy-app/image.yaml"
CGROUP = "/hawser-containerd-test"


class Pods:
    """Pods of one private containerd."""

    def __init__(self, runtime: Runtime, logs: Path) -> None:
        self.runtime, self.logs = runtime, logs
        self.sandboxes: list[str] = []
        self.containers: list[str] = []

    async def start(self, image: str, annotations: dict[str, str], **container: Any) -> str:
        """Starts a pod of one rich container; returns the container's id."""
        name = f"pod-{len(self.sandboxes)}"
        sandbox = {
            "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "attempt": 0},
            "log_directory": str(self.logs / name),
            "annotations": annotations,
            "linux": {
                "cgroup_parent": CGROUP,
                "security_context": {"namespace_options": {"network": 2, "pid": 1}},
            },
        }
        self.sandboxes.append(await self.runtime.run_pod_sandbox(sandbox, "rich"))
        config = {
            "metadata": {"name": "app", "attempt": 0},
            "image": {"image": image},
            "log_path": "app.log",
            "linux": {"security_context": {"namespace_options": {"network": 2, "pid": 1}}},
            **container,
        }
        row = await self.runtime.call(
            "CreateContainer", {"pod_sandbox_id": self.sandboxes[-1], "config": config, "sandbox_config": sandbox}
        )
        self.containers.append(str(row.container_id))
        await self.runtime.start_container(row.container_id)
        return str(row.container_id)

    def log(self, number: int = -1) -> list[str]:
        """The lines of a pod's application, by stream."""
        path = self.logs / f"pod-{number % len(self.sandboxes)}" / "app.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [" ".join(line.split(" ", 3)[1::2]) for line in lines]

    async def until(self, check: str, container: str, *words: str, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(CRIError):
                result = await self.runtime.exec_sync(container, words, 60)
                if check in result.stdout.decode():
                    return
            assert time.monotonic() < end, f"{words} does not print {check!r}"
            await asyncio.sleep(0.05)

    async def until_logged(self, text: str, seconds: float = 120) -> None:
        async with asyncio.timeout(seconds):
            while not any(text in line for line in self.log()):  # noqa: ASYNC110 - a file that another process writes
                await asyncio.sleep(0.05)

    async def read(self, container: str, *words: str) -> str:
        return (await self.runtime.exec_sync(container, words, 60)).stdout.decode().strip()

    async def exit_code(self, container: str, seconds: float = 120) -> int:
        end = time.monotonic() + seconds
        while True:
            row = (await self.runtime.call("ContainerStatus", {"container_id": container})).status
            if row.state == 2:  # CONTAINER_EXITED
                return int(row.exit_code)
            assert time.monotonic() < end, "the container does not end"
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def socket(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a private containerd that has the images."""
    if not shutil.which("containerd"):
        pytest.skip("needs containerd")
    directory = CACHE / "test-containerd" / str(os.getpid())
    directory.mkdir(parents=True)
    socket = Path(f"/run/hawser-test-{os.getpid()}/containerd.sock")
    config = directory / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{directory}/root"\nstate = "{socket.parent}/state"\n[grpc]\naddress = "{socket}"\n'
        f'[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "{local.PAUSE}"\nrestrict_oom_score_adj = true\n'
        f'[plugins."io.containerd.internal.v1.opt"]\npath = "{directory}/opt"\n'
        + containerd_tables(2, str(install(directory / "hawser-runtime")), runc=True)
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(["containerd", "--config", config], stdout=log, stderr=log)
    try:
        while not socket.exists():
            assert process.poll() is None, (directory / "log").read_text()
            time.sleep(0.05)
        archives = tmp_path_factory.mktemp("images")
        legacy = build_rich(description.load(EXAMPLE), archives / "legacy.tar", CACHE / "images")
        for archive in (local.build_pause(archives), local.build_busybox(archives), legacy):
            import_archive(archive, socket)
        yield socket
    finally:
        process.terminate()
        process.wait(120)
        mounts = [line.split(" ")[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith((str(directory), str(socket.parent)))), reverse=True):
            # A shim that ends takes its own away meanwhile.
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
        for place in (directory, socket.parent):
            shutil.rmtree(place, ignore_errors=True)
        for group in Path("/sys/fs/cgroup").glob(f"*{CGROUP}"):
            with contextlib.suppress(OSError):
                group.rmdir()


@pytest.fixture
async def pods(socket: Path, tmp_path: Path) -> AsyncIterator[Pods]:
    async with Runtime(f"unix://{socket}") as runtime:
        await runtime.ready()
        made = Pods(runtime, tmp_path / "logs")
        try:
            yield made
        finally:
            for sandbox in made.sandboxes:
                await runtime.stop_pod_sandbox(sandbox)
                await runtime.remove_pod_sandbox(sandbox)
            # A node keeps what containers told for whoever reports it.
            for name in made.containers:
                # Not by pathlib, which fails where somebody else removes a directory meanwhile.
                for folder, _, files in os.walk("/run/hawser-runtime"):
                    for path in (Path(folder, file) for file in files if file.startswith(name)):
                        if path.suffix == ".jsonl":
                            path.unlink(missing_ok=True)


def test_the_images_keep_their_names(socket: Path) -> None:
    assert {local.PAUSE, local.BUSYBOX, "localhost/legacy-app:1"} <= set(image_names(socket))


async def test_the_legacy_application_lives_as_on_its_machine(pods: Pods) -> None:
    annotations = {"rich.hawser.dev/app-policy": "keep", "rich.hawser.dev/app-restarts": "1/600"}
    container = await pods.start("localhost/legacy-app:1", annotations, envs=[{"key": "MODE", "value": b"a 'b'"}])
    await pods.until("running", container, "systemctl", "is-system-running")
    await pods.until("pid 1: systemd", container, "bash", "-c", GET.replace("PATH", "/"))
    await pods.until("ok", container, "bash", "-c", GET.replace("PATH", "/healthz"))
    await pods.until("""MODE="a 'b'\"""", container, "cat", "/dev/hawser/environment")
    await pods.until("legacy-app", container, "cat", "/var/log/syslog")
    await pods.until("/healthz", container, "cat", "/var/log/legacy-app/access.log")
    assert pods.log() == ["stdout legacy-app: listening on port 8080"]
    # systemd restarts it once; the second end is the container's.
    first = await pods.read(container, "systemctl", "show", "--value", "--property=MainPID", "hawser-app")
    await pods.read(container, "kill", "-9", first)
    again = "systemctl show --value --property=MainPID hawser-app | grep -vx -e 0 -e " + first
    await pods.until("", container, "sh", "-c", f"until pid=$({again}); do sleep .1; done; kill -9 $pid")
    assert await pods.exit_code(container) == 137
    assert (
        pods.log()[-1]
        == "stderr hawser: the application ended with code 137 after 1 restarts in 600s; the container ends"
    )


async def test_a_pod_stops_in_order(pods: Pods) -> None:
    container = await pods.start("localhost/legacy-app:1", {})
    await pods.until("running", container, "systemctl", "is-system-running")
    await pods.until_logged("listening")
    await pods.runtime.stop_container(container, 30)
    assert await pods.exit_code(container) == 0
    assert pods.log()[-2:] == ["stdout legacy-app: SIGTERM, stopping", "stdout legacy-app: stopped"]


async def test_an_image_without_systemd_gets_a_minimal_init(pods: Pods) -> None:
    container = await pods.start(local.BUSYBOX, {}, command=["sh", "-c", "cat /proc/1/comm; exit 5"])
    assert await pods.exit_code(container) == 5
    assert pods.log() == ["stdout hawser-init"]


async def test_hooks_run_around_the_application_and_write_to_its_log(pods: Pods) -> None:
    annotations = {
        "rich.hawser.dev/prestart": "echo before; ip -o link",
        "rich.hawser.dev/poststop": 'echo "$HAWSER_POD/$HAWSER_CONTAINER: $HAWSER_EXIT_CODE" after',
    }
    container = await pods.start(local.BUSYBOX, annotations, command=["sh", "-c", "echo app; exit 6"])
    assert await pods.exit_code(container) == 6
    log = [line for line in pods.log() if "prestart-1: 1: lo" not in line]
    assert log[0] == "stderr hawser: prestart prestart-1: before"
    assert log[-2:] == ["stdout app", "stderr hawser: poststop poststop-1: pod-0/app: 6 after"]


async def test_poststop_is_not_cut_short_by_the_grace_period(pods: Pods) -> None:
    annotations = {"rich.hawser.dev/poststop": "sleep 6; echo done"}
    script = "trap 'exit 4' TERM; echo ready; while :; do sleep 0.1; done"
    container = await pods.start(local.BUSYBOX, annotations, command=["sh", "-c", script])
    await pods.until_logged("ready")
    await pods.runtime.stop_container(container, 4)
    assert await pods.exit_code(container) == 4
    assert pods.log()[-1] == "stderr hawser: poststop poststop-1: done"


async def test_poststop_runs_after_a_forced_end(pods: Pods) -> None:
    annotations = {"rich.hawser.dev/poststop": "sleep 1; echo $HAWSER_EXIT_SIGNAL"}
    container = await pods.start("localhost/legacy-app:1", annotations)
    await pods.runtime.stop_container(container, 0)
    assert await pods.exit_code(container) == 137
    assert pods.log()[-1] == "stderr hawser: poststop poststop-1: SIGKILL"


@pytest.mark.parametrize(
    ("annotations", "command", "text"),
    [
        ({"rich.hawser.dev/init": "upstart"}, ["sh"], '"upstart" is not one of systemd, init, minimal'),
        ({"rich.hawser.dev/init": "systemd"}, ["sh"], "the image has no systemd"),
        ({}, ["no-such-command"], 'exec: "no-such-command": executable file not found'),
        ({"rich.hawser.dev/prestart": "echo no; exit 7"}, ["sh"], "prestart hook prestart-1: exit code 7: no"),
        (
            {"rich.hawser.dev/prestart": '[{"name": "a", "script": "true", "capabilities": ["NET_ADMIN"]}]'},
            ["sh"],
            "hook a: the capability NET_ADMIN is not the container's own, and only a RichProfile may give it",
        ),
    ],
)
async def test_what_can_not_be_reaches_the_pods_events(
    pods: Pods, annotations: dict[str, str], command: list[str], text: str
) -> None:
    with pytest.raises(CRIError, match=text):
        await pods.start(local.BUSYBOX, annotations, command=command)


# bash speaks enough HTTP to ask the application.
GET = "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET PATH HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
