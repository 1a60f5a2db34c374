"""What the runtime's tests share: specifications as containerd writes them, a root file system, running containers."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hawser.cli.images import description
from hawser.cli.images.local import build_busybox
from hawser.cli.images.rich import alone, build_base
from hawser.cli.images.sources import host_sources
from hawser.runtime.install import install

EXAMPLE = Path(__file__).parents[2] / "examples/legacy-app/image.yaml"
CACHE = Path(os.environ.get("HAWSER_CACHE", "/var/cache/hawser"))
DEFAULT_CAPABILITIES = [
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID"),
    *("CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL"),
    "CAP_AUDIT_WRITE",
]
PATIENCE = float(os.environ.get("HAWSER_TEST_PATIENCE", "1"))
"""How much longer than elsewhere anything may take: more in an emulated machine."""
_BASE: dict[str, Any] = {
    "ociVersion": "1.0.2-dev",
    "process": {
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/true"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "cwd": "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), DEFAULT_CAPABILITIES),
    },
    "root": {"path": "rootfs"},
    "annotations": {},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
        },
    ],
    "linux": {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
        "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/sys/firmware"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
}


@pytest.fixture
def spec() -> dict[str, Any]:
    """An ordinary container's specification, as containerd's CRI plugin writes it on cgroup v1."""
    return copy.deepcopy(_BASE)


@pytest.fixture(scope="session")
def debian() -> Path:
    """A root file system with systemd, cron, rsyslog and sshd; made once, kept in the cache."""
    if os.getuid() != 0 or not shutil.which("mmdebstrap") or not shutil.which("runc"):
        pytest.skip("needs root, mmdebstrap and runc")
    # The example's, as tests with containerd want that, too: it takes a minute to make.
    base = build_base(description.load(EXAMPLE), CACHE / "images")
    root = CACHE / "test-roots" / base.stem
    root.parent.mkdir(exist_ok=True)
    with alone(root):
        if not root.exists():
            partial = root.with_suffix(".new")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            subprocess.run(["tar", "-C", partial, "-xf", base], check=True)
            partial.rename(root)
    return root


@pytest.fixture(scope="session")
def debian_with(debian: Path) -> Callable[..., Path]:
    """Root file systems of Debian with some packages alone, of the host's release or another one; made once each,
    kept in the cache."""

    def make(packages: str, release: str = "") -> Path:
        suite, sources = host_sources()
        if release:
            plain = [line for line in sources if f" {suite} " in line]
            suite, sources = release, [line.replace(f" {suite} ", f" {release} ") for line in plain]
        key = hashlib.sha256(f"{packages} {suite} {sources}".encode()).hexdigest()[:12]
        root = CACHE / "test-roots" / f"debian-{key}"
        with alone(root):
            if not root.exists():
                partial = root.with_suffix(".new")
                shutil.rmtree(partial, ignore_errors=True)
                listed = root.with_suffix(".list")
                listed.write_text("\n".join(sources) + "\n")
                options = ["--quiet", "--mode=root", "--variant=minbase", "--format=directory", f"--include={packages}"]
                # As the host's apt has it: a mirror may be one of a day.
                validity = ["apt-config", "dump", '--format=%f "%v"', "Acquire::Check-Valid-Until"]
                told = subprocess.run(validity, capture_output=True, text=True, check=True).stdout
                options += [f"--aptopt={told}"] if told else []
                subprocess.run(["mmdebstrap", *options, suite, partial, listed], check=True, capture_output=True)
                partial.rename(root)
        return root

    return make


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system that is busybox alone, its init included."""
    if not shutil.which("busybox"):
        pytest.skip("needs busybox-static")
    directory = tmp_path_factory.mktemp("busybox")
    _unpack(build_busybox(directory), directory / "image")
    layers = sorted((directory / "image/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    _unpack(layers[-1], directory / "root")
    return directory / "root"


def _unpack(archive: Path, directory: Path) -> None:
    directory.mkdir()
    subprocess.run(["tar", "-C", str(directory), "-xf", str(archive)], check=True)


@dataclass
class Container:
    """One container of the wrapper, on an overlay above a root file system."""

    name: str
    directory: Path
    runtime: Path
    upper: Path = field(init=False)

    def __post_init__(self) -> None:
        self.upper = self.directory / "upper"
        self._global = [
            "--root",
            str(self.directory / "state"),
            "--log",
            str(self.directory / "log"),
            "--log-format",
            "json",
        ]

    def command(self, *words: str) -> list[str]:
        return [str(self.runtime), *self._global, *words]

    def shares(self, other: Container) -> None:
        """Has the directory of the runtime that another one has."""
        self._global = other._global

    def run(self, seconds: float = 120) -> subprocess.CompletedProcess[bytes]:
        """Runs the container to its end."""
        words = self.command("run", "--bundle", str(self.directory), self.name)
        return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds * PATIENCE)

    def start(self) -> None:
        """Starts the container; its output goes to the files out and err."""
        with (self.directory / "out").open("wb") as out, (self.directory / "err").open("wb") as err:
            words = self.command("run", "--detach", "--bundle", str(self.directory), self.name)
            subprocess.run(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=True, timeout=120 * PATIENCE)

    def exec(self, *words: str) -> str:
        ran = subprocess.run(
            self.command("exec", self.name, *words), capture_output=True, text=True, timeout=120 * PATIENCE
        )
        return (ran.stdout + ran.stderr).strip()

    def kill(self, signal: str) -> None:
        subprocess.run(self.command("kill", self.name, signal), check=True, timeout=120 * PATIENCE)

    def status(self) -> str:
        ran = subprocess.run(self.command("state", self.name), capture_output=True, text=True, timeout=120 * PATIENCE)
        return str(json.loads(ran.stdout)["status"]) if ran.returncode == 0 else "gone"

    def until(self, check: str, *words: str, seconds: float = 120) -> None:
        """Waits until a command in the container prints `check`."""
        end = time.monotonic() + seconds * PATIENCE
        while (printed := self.exec(*words)) != check:
            assert time.monotonic() < end, f"{words} still prints {printed!r}"
            time.sleep(0.05)

    def until_stopped(self, seconds: float = 120) -> None:
        end = time.monotonic() + seconds * PATIENCE
        while self.status() not in ("stopped", "gone"):
            assert time.monotonic() < end, "the container does not stop"
            time.sleep(0.05)

    def until_output(self, text: str, seconds: float = 120, name: str = "out") -> None:
        end = time.monotonic() + seconds * PATIENCE
        while text not in self.output(name):
            assert time.monotonic() < end, f"the application has not written {text!r}"
            time.sleep(0.05)

    def output(self, name: str = "out") -> str:
        return (self.directory / name).read_text()


class Containers:
    """Makes containers, and leaves nothing of them behind."""

    def __init__(self, directory: Path, runtime: Path) -> None:
        self._directory, self._runtime = directory, runtime
        self._made: list[Container] = []

    def make(self, root: Path, spec: dict[str, Any]) -> Container:
        number = len(self._made)
        container = Container(f"hawser-test-{os.getpid()}-{number}", self._directory / str(number), self._runtime)
        for part in ("rootfs", "upper", "work", "state"):
            (container.directory / part).mkdir(parents=True)
        layers = f"lowerdir={root},upperdir={container.upper},workdir={container.directory / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, container.directory / "rootfs"], check=True)
        self._made.append(container)
        spec["linux"]["cgroupsPath"] = f"/hawser-test-{os.getpid()}/{container.name}"
        (container.directory / "config.json").write_text(json.dumps(spec))
        return container

    def close(self) -> None:
        for container in self._made:
            subprocess.run(container.command("delete", "--force", container.name), capture_output=True)
            subprocess.run(["umount", container.directory / "rootfs"], check=True)
        for place in Path("/sys/fs/cgroup").glob(f"*/hawser-test-{os.getpid()}"):
            with contextlib.suppress(OSError):
                place.rmdir()


@pytest.fixture
def containers(debian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Containers]:
    """Real containers by runc, through the installed wrapper."""
    monkeypatch.setenv("HAWSER_RUNTIME_STATE", str(tmp_path / "records"))
    # Not below tmp_path: an overlay can not lie on another overlay, and /tmp may be one.
    directory = CACHE / "test-containers" / str(os.getpid())
    made = Containers(directory, install(tmp_path / "hawser-runtime"))
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(directory, ignore_errors=True)
