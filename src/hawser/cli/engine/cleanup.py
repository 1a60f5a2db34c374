"""Leaving nothing behind: containers, shims, mounts, network, cgroups of an engine that is down.

Order matters: processes first (they hold mounts and cgroups), then mounts, then directories. Each step finds what is
there by looking at the host, so it works after any crash and may be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

from hawser.cli.engine import processes
from hawser.cli.engine.containerd import cni_bin_dir, cni_conf_dir
from hawser.cli.engine.settings import Settings
from hawser.node.network.agent import NetworkAgent, NetworkConfig

CGROUP_MOUNT = Path("/sys/fs/cgroup")
_MODULES = {"hawser.apiserver", "hawser.controllers", "hawser.node", "hawser.cli.engine.supervisor"}


def sweep(settings: Settings) -> list[str]:
    """Removes every trace of a stopped engine but its data; returns what could not be removed, in words."""
    _kill_processes(settings)
    _unmount_below(settings.run_dir, settings.data_dir)
    asyncio.run(_remove_network(settings))
    _remove_cgroups(settings.cgroup_root)
    shutil.rmtree(settings.run_dir, ignore_errors=True)
    with contextlib.suppress(OSError):
        settings.run_dir.parent.rmdir()
    left = [f"cgroup {c}" for c in cgroups(settings.cgroup_root)]
    left += [f"mount {m}" for m in mounts_below(settings.run_dir, settings.data_dir)]
    left += [f"process {p} {' '.join(processes.argv(p))[:80]}" for p in engine_pids(settings)]
    return left


def engine_pids(settings: Settings) -> list[int]:
    """Processes of this engine that are not the caller: roles, containerd, shims, and all in its cgroups."""
    own = {os.getpid(), os.getppid()}
    marks = (str(settings.run_dir) + "/", str(settings.data_dir) + "/")
    found = set(_cgroup_pids(settings.cgroup_root))
    for pid in processes.all_pids():
        arguments = processes.argv(pid)
        if is_role(arguments) and any(m in a + "/" for a in arguments for m in marks):
            found.add(pid)
    return sorted(found - own)


def is_role(arguments: list[str]) -> bool:
    """Whether a command line is one of an engine's own processes, a shim or a runtime call (of any engine)."""
    if not arguments:
        return False
    name = Path(arguments[0]).name
    return name in ("containerd", "runc", "crun") or name.startswith("containerd-shim") or bool(_MODULES & {*arguments})


def mounts_below(*directories: Path) -> list[str]:
    """Mount points below the directories, newest first (proc(5), /proc/self/mounts)."""
    marks = tuple(str(d) + "/" for d in directories)
    points = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        point = line.split()[1].encode().decode("unicode_escape")
        if (point + "/").startswith(marks):
            points.append(point)
    return points[::-1]


def cgroups(root: str) -> list[Path]:
    """An engine's cgroup directories in every hierarchy, the deepest first."""
    found = []
    for top in _cgroup_tops(root):
        for directory, _, _ in os.walk(top, topdown=False):
            found.append(Path(directory))
    return found


def _cgroup_tops(root: str) -> Iterator[Path]:
    if (CGROUP_MOUNT / "cgroup.controllers").exists():
        candidates = [CGROUP_MOUNT / root]
    else:
        candidates = [hierarchy / root for hierarchy in CGROUP_MOUNT.iterdir()]
    yield from (c for c in candidates if c.is_dir())


def _cgroup_pids(root: str) -> set[int]:
    pids: set[int] = set()
    for directory in cgroups(root):
        with contextlib.suppress(OSError):
            pids.update(int(p) for p in (directory / "cgroup.procs").read_text().split())
    return pids - {0}


def _kill_processes(settings: Settings) -> None:
    deadline = time.monotonic() + 10
    while (pids := engine_pids(settings)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _unmount_below(*directories: Path) -> None:
    for _ in range(8):  # stacked mounts show one below the other
        points = mounts_below(*directories)
        if not points:
            break
        for point in points:
            subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


async def _remove_network(settings: Settings) -> None:
    """Links, nftables tables and records of the pod network, whatever state they are in."""
    network = NetworkAgent(network_config(settings))
    await network.start()
    await network.teardown()


def network_config(settings: Settings) -> NetworkConfig:
    """The pod network as the node agent has it."""
    return NetworkConfig(
        instance=settings.instance,
        pod_cidr=IPv4Network(settings.pod_cidr),
        service_cidr=IPv4Network(settings.service_cidr),
        state_dir=settings.run_dir / "network",
        socket=settings.run_dir / "cni.sock",
        cni_bin_dir=cni_bin_dir(settings),
        cni_conf_dir=cni_conf_dir(settings),
    )


def _remove_cgroups(root: str) -> None:
    deadline = time.monotonic() + 5
    while (left := cgroups(root)) and time.monotonic() < deadline:
        for directory in left:
            with contextlib.suppress(OSError):
                directory.rmdir()
        if cgroups(root):
            time.sleep(0.02)
