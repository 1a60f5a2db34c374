#!/usr/bin/env python3
"""What a rich container's own view costs: lxcfs, the preloaded library, and each container's start.

    sudo .venv/bin/python bench/view.py [--runs 20]

Needs root, lxcfs, runc and busybox-static; no engine. Of times the smallest tenth is told, and the processor time of a
start, because both mind a busy machine least.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hawser.rich.view.manager import Manager
from hawser.runtime.install import install
from hawser.runtime.view import LIBRARY

FILES = ("proc/meminfo", "proc/stat", "proc/loadavg", "sys/devices/system/cpu/online")
ASK = "import os, time; t = time.perf_counter(); [os.cpu_count() for _ in range(20000)]; print(time.perf_counter() - t)"
LIMITS = {"memory": {"limit": 300 << 20}, "cpu": {"quota": 100_000, "period": 100_000}}


def quick(work: Callable[[], Any], runs: int) -> float:
    """Seconds that the quickest tenth takes at most."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return sorted(times)[runs // 10]


def spawn(env: dict[str, str]) -> None:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], env), 0)


def read(path: Path) -> None:
    path.read_bytes()


def ask(env: dict[str, str]) -> float:
    """Seconds that a program takes to ask for the processors 20,000 times."""
    return float(subprocess.run(["/usr/bin/python3", "-c", ASK], env=env, capture_output=True, check=True).stdout)


def spec(view: str) -> dict[str, Any]:
    """A container of busybox that sleeps."""
    mounts = [{"destination": f"/{kind}", "type": kind, "source": kind} for kind in ("proc", "sysfs")]
    mounts[1]["destination"] = "/sys"
    mounts.append({"destination": "/dev", "type": "tmpfs", "source": "tmpfs"})
    kinds = ("pid", "ipc", "uts", "mount", "network")
    return {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/sleep", "1000"], "env": ["PATH=/bin"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "annotations": {"rich.hawser.dev/init": "minimal", "rich.hawser.dev/view": view},
        "mounts": mounts,
        "linux": {"namespaces": [{"type": kind} for kind in kinds], "resources": LIMITS},
    }


class Bundles:
    """Containers by hawser-runtime, without a container runtime above it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._command = [str(install(folder / "hawser-runtime")), "--root", str(folder / "state")]
        self._names: list[str] = []

    def start(self, view: str) -> float:
        """Starts one; the processor time that took, in seconds."""
        name = f"bench-view-{os.getpid()}-{len(self._names)}"
        bundle = self._folder / name
        (bundle / "rootfs/bin").mkdir(parents=True)
        shutil.copy("/bin/busybox", bundle / "rootfs/bin/sleep")
        content = spec(view)
        content["linux"]["cgroupsPath"] = f"/bench-view/{name}"
        (bundle / "config.json").write_text(json.dumps(content))
        self._names.append(name)
        before = os.times()
        command = [*self._command, "run", "--detach", "--bundle", str(bundle), name]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    def close(self) -> None:
        for name in self._names:
            subprocess.run([*self._command, "delete", "--force", name], check=True)
        for place in Path("/sys/fs/cgroup").glob("*/bench-view"):
            place.rmdir()


def tell(name: str, value: float, unit: str) -> None:
    print(f"{name} {value:.4g} {unit}", flush=True)


def processor(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(folder: Path, runs: int) -> None:
    os.environ |= {"HAWSER_VIEW": str(folder / "view"), "HAWSER_RUNTIME_STATE": str(folder / "records")}
    manager, bundles = Manager(folder / "view"), Bundles(folder)
    began = time.perf_counter()
    try:
        if why := await manager.ensure():
            raise SystemExit(why)
        tell("lxcfs_start", (time.perf_counter() - began) * 1e3, "ms")
        views = ("host", "container")
        used = {view: [] for view in views}  # type: dict[str, list[float]]
        for _ in range(runs):
            for view in views:
                used[view].append(await asyncio.to_thread(bundles.start, view))
        for view in views:
            tell(f"start_{view}_cpu", sorted(used[view])[runs // 10] * 1e3, "ms")
        pid = int((manager.home / "lxcfs.pid").read_text())
        before = processor(pid)
        await asyncio.sleep(20)
        tell("lxcfs_idle_cpu", (processor(pid) - before) / 20 * 100, "%")
        status = Path(f"/proc/{pid}/status").read_text()
        tell("lxcfs_rss", int(status.partition("VmRSS:")[2].split()[0]) / 1024, "MiB")
        for name in FILES:
            for source, base in (("kernel", Path("/")), ("lxcfs", manager.home / "lxcfs")):
                seconds = quick(lambda path=base / name: read(path), 500)  # type: ignore[misc]
                tell(f"read_{source}_{Path(name).name}", seconds * 1e6, "us")
        for name, env in (("plain", {}), ("preloaded", {"LD_PRELOAD": str(manager.home / "lib" / LIBRARY)})):
            tell(f"exec_{name}", quick(lambda env=env: spawn(env), 500) * 1e6, "us")  # type: ignore[misc]
            tell(f"cpu_count_{name}", ask(env) / 20000 * 1e6, "us")
    finally:
        bundles.close()
        await manager.retire()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="containers of each kind (default: %(default)s)")
    runs = parser.parse_args().runs
    folder = Path(tempfile.mkdtemp(prefix="bench-view-", dir="/var/tmp"))
    try:
        asyncio.run(measure(folder, runs))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
