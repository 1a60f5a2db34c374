"""A private containerd for tests: own root, state and socket; leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hawser.cli.engine import crun
from hawser.cli.engine.containerd import installed_version

from .images import PAUSE, archive

_DISABLED = [
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
]


@dataclass(frozen=True)
class Containerd:
    """A running containerd. endpoint: for CRI. folder: holds everything of it."""

    endpoint: str
    folder: Path
    socket: Path
    pid: int


def available() -> bool:
    """Whether tests with a real containerd can run here."""
    return os.geteuid() == 0 and all(map(shutil.which, ("containerd", "ctr", "runc"))) and Path("/bin/busybox").exists()


@contextmanager
def running(folder: Path, *, programs: Path | None = None, cdi: Path | None = None) -> Iterator[Containerd]:
    """Starts containerd with the test images, plain pods by crun where it works; stops it, shims and mounts at the end.

    programs: folder of another containerd than the machine's, which has runc: newer ones ask for versions of the OCI
    specification that crun 1.8 refuses; cdi: of CDI specs that it reads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    socket = folder / "c.sock"
    for part in ("cni/conf", "cni/bin"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    config = folder / "config.toml"
    config.write_text(
        _config(
            folder,
            socket,
            "runc" if programs else crun.find(folder / "bin", installed_version("containerd")[1]).path,
            cdi,
        )
    )
    with (folder / "containerd.log").open("w") as log:
        path = f"{programs}:{os.environ['PATH']}" if programs else os.environ["PATH"]
        command = [shutil.which("containerd", path=path) or "containerd", "--config", str(config)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PATH": path})
    try:
        _wait(socket, process)
        image = folder / "images.tar"
        archive(image)
        subprocess.run(
            ["ctr", "-a", str(socket), "-n", "k8s.io", "images", "import", str(image)], check=True, capture_output=True
        )
        yield Containerd(f"unix://{socket}", folder, socket, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _clean(folder)


def _wait(socket: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end:
        done = subprocess.run(["ctr", "-a", str(socket), "plugins", "ls"], capture_output=True, check=False)
        if done.returncode == 0 and b"cri" in done.stdout:
            return
        time.sleep(0.1)
    raise RuntimeError(f"containerd did not start: see {socket.parent}/containerd.log")


def _config(folder: Path, socket: Path, runtime: str, cdi: Path | None) -> str:
    text = json.dumps
    devices = f"enable_cdi = true\n  cdi_spec_dirs = {text([str(cdi)])}" if cdi else ""
    return f"""version = 2
root = {text(str(folder / "root"))}
state = {text(str(folder / "state"))}
disabled_plugins = {text(_DISABLED)}
[grpc]
  address = {text(str(socket))}
[debug]
  level = "warn"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {text(PAUSE)}
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  {devices}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {text(str(folder / "cni/bin"))}
    conf_dir = {text(str(folder / "cni/conf"))}
    max_conf_num = 1
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "plain"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.plain]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.plain.options]
        BinaryName = {text(runtime)}
"""


def _clean(folder: Path) -> None:
    """Ends shims that containerd left (they name its socket on their command line) and detaches mounts below."""
    mark = str(folder / "c.sock").encode()
    shims = [
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and b"containerd-shim" in (line := _cmdline(entry)) and mark in line
    ]
    for pid in shims:
        for child in _children(int(pid)):
            _kill(child)
        _kill(int(pid))
    time.sleep(0.1)
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(str(folder))), reverse=True):
        subprocess.run(["umount", "-l", mount], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _cmdline(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def _children(pid: int) -> list[int]:
    try:
        return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
