"""The cgroups of pods: one below each hierarchy's root for every pod, holding its containers' cgroups.

Works on cgroup v1 (also "hybrid") and on the unified hierarchy; the runtime's driver is cgroupfs. Source: Linux
Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst; weight from shares as in runc.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from hawser.api.types import Obj

_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")
_NEEDED = frozenset({"cpu", "memory", "pids"})
_TIERS = ("besteffort", "burstable")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted cgroup hierarchy. controllers: empty for v2."""

    path: Path
    controllers: frozenset[str]

    @property
    def unified(self) -> bool:
        return not self.controllers


def hierarchies(mounts: str) -> list[Hierarchy]:
    """From /proc/mounts: every v1 hierarchy, and the unified one; both where a host is "hybrid".

    There the unified one limits nothing, but the runtime makes the same groups in it.
    """
    v1: list[Hierarchy] = []
    v2: list[Hierarchy] = []
    known = {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "pids", "blkio", "hugetlb", "perf_event"}
    known |= {"net_cls", "net_prio", "rdma", "misc"}
    for line in mounts.splitlines():
        _, point, kind, options, *_ = line.split()
        if kind == "cgroup":
            controllers = known & set(options.split(","))
            if "name=systemd" in options:
                controllers.add("name=systemd")
            v1.append(Hierarchy(Path(point), frozenset(controllers)))
        elif kind == "cgroup2":
            v2.append(Hierarchy(Path(point), frozenset()))
    return v1 + v2[:1]


class Cgroups:
    """Makes and removes the cgroups below ``/<root>`` in every hierarchy."""

    def __init__(self, root: str, found: list[Hierarchy] | None = None) -> None:
        self.root = root.strip("/")
        self.hierarchies = hierarchies(Path("/proc/mounts").read_text()) if found is None else found

    @property
    def unified(self) -> bool:
        """Whether the host has nothing but cgroup v2."""
        return all(hierarchy.unified for hierarchy in self.hierarchies)

    def prepare(self) -> None:
        """Makes the tiers; on v2 hands the controllers down to them."""
        for hierarchy in self.hierarchies:
            for part in (self.root, *(f"{self.root}/{tier}" for tier in _TIERS)):
                self._make(hierarchy, hierarchy.path / part)
        if missing := self.missing():
            log.error(
                "pods can not be limited: %s has no control of %s. Where Hawser itself runs in a container, its own "
                "processes have to leave the root group first (cgroups(7), no internal processes)",
                self.hierarchies[0].path / self.root,
                ", ".join(sorted(missing)),
            )

    def missing(self) -> frozenset[str]:
        """The controllers that cgroup v2 did not hand down to the pods; on v1 every hierarchy has its own."""
        if not self.unified or not self.hierarchies:
            return frozenset()
        given = (self.hierarchies[0].path / self.root / "cgroup.subtree_control").read_text()
        return _NEEDED - {name.removeprefix("+") for name in given.split()}

    def create(self, parent: str, limits: Obj) -> None:
        """Makes a pod's cgroup with its limits (LinuxContainerResources)."""
        for hierarchy in self.hierarchies:
            folder = hierarchy.path / parent.strip("/")
            self._make(hierarchy, folder)
            for name, value in _settings(hierarchy, limits):
                try:
                    (folder / name).write_text(value)
                except OSError:
                    # A kernel without this file still gets the containers' own limits, which the runtime sets.
                    continue

    def memory_usage(self, group: str) -> int:
        """Bytes that a cgroup uses; 0 when that is not known."""
        for hierarchy in self.hierarchies:
            name = "memory.current" if hierarchy.unified else "memory.usage_in_bytes"
            try:
                return int((hierarchy.path / group.strip("/") / name).read_text())
            except (OSError, ValueError):
                continue
        return 0

    def remove(self, parent: str) -> bool:
        """Removes a pod's empty cgroups; whether all are gone."""
        gone = True
        for hierarchy in self.hierarchies:
            gone = _remove(hierarchy.path / parent.strip("/")) and gone
        return gone

    def pods(self) -> dict[str, str]:
        """The pods that have cgroups: cgroup path by uid."""
        found: dict[str, str] = {}
        for hierarchy in self.hierarchies:
            for tier in ("", *_TIERS):
                base = hierarchy.path / self.root / tier
                for entry in base.glob("pod*") if base.is_dir() else ():
                    found[entry.name.removeprefix("pod")] = "/" + str(entry.relative_to(hierarchy.path))
        return found

    def _make(self, hierarchy: Hierarchy, folder: Path) -> None:
        if folder.is_dir():
            return
        if folder.parent != hierarchy.path:
            self._make(hierarchy, folder.parent)
        folder.mkdir(exist_ok=True)
        if "cpuset" in hierarchy.controllers:
            # A v1 cpuset takes no process before its cpus and mems are set.
            for name in ("cpuset.cpus", "cpuset.mems"):
                (folder / name).write_text((folder.parent / name).read_text())
        if hierarchy.unified:
            for controller in _CONTROLLERS:
                try:
                    (folder.parent / "cgroup.subtree_control").write_text(f"+{controller}")
                    (folder / "cgroup.subtree_control").write_text(f"+{controller}")
                except OSError:
                    continue


def weight(shares: int) -> int:
    """cgroup v2's cpu.weight for v1's shares."""
    return 1 + ((max(shares, 2) - 2) * 9999) // 262142


def _settings(hierarchy: Hierarchy, limits: Obj) -> list[tuple[str, str]]:
    shares, period, quota = limits.get("cpu_shares"), limits.get("cpu_period"), limits.get("cpu_quota")
    memory = limits.get("memory_limit_in_bytes")
    result: list[tuple[str, str]] = []
    if hierarchy.unified:
        if shares:
            result.append(("cpu.weight", str(weight(shares))))
        if quota:
            result.append(("cpu.max", f"{quota} {period}"))
        if memory:
            result.append(("memory.max", str(memory)))
        return result
    if "cpu" in hierarchy.controllers:
        if shares:
            result.append(("cpu.shares", str(shares)))
        if quota:
            result += [("cpu.cfs_period_us", str(period)), ("cpu.cfs_quota_us", str(quota))]
    if memory and "memory" in hierarchy.controllers:
        result.append(("memory.limit_in_bytes", str(memory)))
    return result


def _remove(folder: Path) -> bool:
    # Most often the runtime has removed what was inside, and a walk would only be reading.
    if _rmdir(folder):
        return True
    # Only empty cgroups can be removed, innermost first; a process still in one keeps it.
    gone = True
    for base, names, _ in os.walk(folder, topdown=False):
        for name in names:
            gone = _rmdir(Path(base) / name) and gone
    return _rmdir(folder) and gone


def _rmdir(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
