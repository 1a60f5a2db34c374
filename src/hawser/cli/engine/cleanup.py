"""Leaving nothing behind: containers, shims, mounts, network, cgroups of an engine that is down.

Order matters: processes first (they hold mounts and cgroups), then mounts, then directories. Each step finds what is
there by looking at the host, so it works after any crash and may be repeated. What is not the engine's is left alone:
a filesystem of the user's that the data directory lies on, files beside the engine's own, other engines.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from hawser.cli.engine import processes
from hawser.cli.engine.containerd import RUNTIME_NOTES, cni_bin_dir, cni_conf_dir, runc_dir
from hawser.cli.engine.settings import Settings
from hawser.node.network.agent import NetworkAgent
from hawser.node.network.config import NetworkConfig
from hawser.runtime import host, trees

CGROUP_MOUNT = Path("/sys/fs/cgroup")
KILL_SECONDS = 60.0
"""What is killed has memory and mounts to give back, for which a busy machine gives it little time."""
_STATISTICS = "hawser.rich.view.statistics"
_PROGRAMS = {"containerd", "runc", "crun", "lxcfs"}
_MODULES = {"hawser.apiserver", "hawser.controllers", "hawser.node", "hawser.cli.engine.supervisor", _STATISTICS}


def sweep(settings: Settings) -> list[str]:
    """Removes every trace of a stopped engine but its data; returns what could not be removed, in words."""
    sockets = shim_sockets(settings)
    _kill_processes(settings)
    unmount_below(*mount_dirs(settings))
    left = asyncio.run(_remove_network(settings))
    remove_cgroups(settings.cgroup_root)
    left += [f"cgroup {c}" for c in cgroups(settings.cgroup_root)]
    left += told(engine_pids(settings))
    mounted = mounts_below(*mount_dirs(settings))
    left += [f"mount {m}" for m in mounted]
    if not mounted:
        # What is mounted there may be the user's own: never walk into it.
        for folder in (settings.run_dir, settings.ledger):
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            settings.run_dir.parent.rmdir()
    for socket in sockets:
        socket.unlink(missing_ok=True)
    remove_notes(RUNTIME_NOTES / str(runc_dir(settings)).lstrip("/"))
    return left


def remove_notes(folder: Path) -> None:
    """Removes the notes on one engine's containers, and what was above them when nobody else has notes."""
    unmount_below(folder)
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        while folder != RUNTIME_NOTES:
            folder = folder.parent
            if folder.is_dir():
                folder.rmdir()


_OWN = ("agent", "bin", "containerd", "demo", "images", "kubeconfig", "logs", "nodes", "pki", "store", "volumes")
_OWN_FILES = ("config.tmp", "nodes.tmp", "nodes.json", "config.json")


def purge(settings: Settings) -> list[Path]:
    """Removes a stopped engine's data; returns what stays in the directory because it is not the engine's.

    config.json goes last: until then this can be repeated. Raises OSError.
    """
    data = settings.data_dir
    if mounted := mounts_below(data):
        raise OSError(errno.EBUSY, "a filesystem is mounted there; unmount it first", mounted[0])
    for name in _OWN:
        if (data / name).exists():
            trees.remove(data / name)
    foreign = [p for p in data.iterdir() if p.name not in _OWN_FILES]
    for name in _OWN_FILES:
        (data / name).unlink(missing_ok=True)
    if not foreign:
        # A mount point, or a directory that a process stands in, stays and is empty.
        with contextlib.suppress(OSError):
            data.rmdir()
    return foreign


def mount_dirs(settings: Settings) -> tuple[Path, ...]:
    """Where an engine mounts things: strictly below these."""
    return (settings.run_dir, settings.data_dir / "agent", settings.data_dir / "containerd" / "root")


def shim_sockets(settings: Settings) -> list[Path]:
    """Sockets of shims, which containerd keeps outside of its own directories and a killed shim leaves behind."""
    bundles = settings.cri_socket.parent / "state" / "io.containerd.runtime.v2.task"
    found = []
    for address in bundles.glob("*/*/address"):
        with contextlib.suppress(OSError):
            found.append(Path(address.read_text().strip().removeprefix("unix://")))
    return [path for path in found if path.is_socket()]


def engine_pids(settings: Settings) -> list[int]:
    """Processes of this engine that are not the caller: roles, containerd, shims, and all in its cgroups."""
    own = {os.getpid(), os.getppid()}
    found = _cgroup_pids(settings.cgroup_root) | {p for p in processes.all_pids() if _is_of(settings, p)}
    return sorted(found - own)


def node_pids(cgroup_root: str, directories: Sequence[Path]) -> list[int]:
    """Processes of one node: all in its cgroups, and roles, shims and runtime calls that name its directories."""
    found = _cgroup_pids(cgroup_root)
    for pid in processes.all_pids():
        arguments = processes.argv(pid)
        if is_role(arguments) and any(names(a, *directories) for a in arguments):
            found.add(pid)
    return sorted(found - {os.getpid(), os.getppid()})


def told(pids: Iterable[int]) -> list[str]:
    """Processes in words, without those that have ended. One that is ending has a name and no command line."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            before, _, after = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
            waits = Path(f"/proc/{pid}/wchan").read_text().strip("0")
            words = " ".join(processes.argv(pid))[:80]
            words = words or f"{before.partition('(')[2]}, which is ending: {after.split()[0]} {waits}".strip()
            found.append(f"process {pid} {words}")
    return found


def _is_of(settings: Settings, pid: int) -> bool:
    """Whether a process is a role, containerd, shim or runtime call of this engine, by its command line."""
    arguments = processes.argv(pid)
    return is_role(arguments) and any(names(a, settings.run_dir, settings.data_dir) for a in arguments)


def names(argument: str, *directories: Path) -> bool:
    """Whether an argument, or what follows its ``=`` or ``unix://``, is one of the directories or lies below it."""
    path = argument.rpartition("=")[2].removeprefix("unix://")
    return any(path == str(d) or path.startswith(f"{d}/") for d in directories)


def is_role(arguments: list[str]) -> bool:
    """Whether a command line is one of an engine's own processes, a shim, lxcfs or a runtime call (of any engine)."""
    if not arguments:
        return False
    if any(Path(a).name == "hawser-runtime" for a in arguments[:4]):
        return True
    name = Path(arguments[0]).name
    return name in _PROGRAMS or name.startswith("containerd-shim") or bool(_MODULES & {*arguments})


def serves_view(arguments: list[str]) -> bool:
    """Whether a command line is that of a server of the containers' own view, which goes on without an agent."""
    return bool(arguments) and (Path(arguments[0]).name == "lxcfs" or _STATISTICS in arguments)


def mounts_below(*directories: Path) -> list[str]:
    """Mount points strictly below the directories, newest first (proc(5), /proc/self/mounts)."""
    marks = tuple(str(d) + "/" for d in directories)
    points = []
    for row in host.mounts():
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), row[1])
        if point.startswith(marks):
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
    deadline = time.monotonic() + KILL_SECONDS
    while (pids := engine_pids(settings)) and time.monotonic() < deadline:
        for pid in pids:
            processes.kill(pid, lambda p: _is_of(settings, p) or p in _cgroup_pids(settings.cgroup_root))
        time.sleep(0.02)


def unmount_below(*directories: Path) -> None:
    for _ in range(8):  # stacked mounts show one below the other
        points = mounts_below(*directories)
        if not points:
            break
        for point in points:
            subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


async def _remove_network(settings: Settings) -> list[str]:
    """Links, nftables tables and records of the pod network, whatever state they are in; what stays, in words."""
    try:
        await NetworkAgent(network_config(settings)).teardown()
    except Exception as e:
        return [f"the pod network: {e or type(e).__name__}"]
    return []


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
        pod_cidr6=IPv6Network(settings.pod_cidr6) if settings.pod_cidr6 else None,
        service_cidr6=IPv6Network(settings.service_cidr6) if settings.service_cidr6 else None,
    )


def remove_cgroups(root: str) -> None:
    deadline = time.monotonic() + 5
    while (left := cgroups(root)) and time.monotonic() < deadline:
        for directory in left:
            with contextlib.suppress(OSError):
                directory.rmdir()
        if cgroups(root):
            time.sleep(0.02)
